"""`trace-net summary`: a table of what a model does in its forward pass."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trace_net import options, report, streams

if TYPE_CHECKING:
    from rich.table import Table

    from trace_net.module_tree import Row
    from tracer.extend import Node, Tape

OPERATIONS = ("operation", "scope", "shape", ">parameters", ">FLOPs", ">bytes")
MODULES = (
    "module", "class", "output", ">calls", ">trainable", ">frozen", ">multiply-adds", ">FLOPs",
    ">bytes", ">kept",
)  # fmt: skip


def summary(
    target: options.TargetArgument,
    depth: Annotated[
        int, typer.Option(min=0, metavar="K", help="How many levels of modules. (default: 3)")
    ] = 3,
    operations: Annotated[
        bool, typer.Option("--operations", help="List the operations, one by one.")
    ] = False,
    input: options.InputOption = None,
    json: options.JsonOption = False,
) -> None:
    """List the modules of TARGET, or its operations, with shapes and costs.

    A line has what a module and all in it cost in the forward pass, over all its calls. Parameters
    are counted where they are first used, and once; the model's are all where its forward pass
    fails. Multiply-adds are those of products and
    convolutions; FLOPs are exact where the operation counts them, else one per element. Bytes are
    those of all values, and those that are kept for a sweep.
    """
    from trace_net.inputs import parse_inputs
    from trace_net.module_tree import module_rows
    from trace_net.run import describe_choices, note_precision, run, tensors_in
    from trace_net.target import load, parse_target

    parsed = parse_target(target)
    given = parse_inputs(input or ())
    with streams.progress(steps=3) as step:
        step(f"loading {target}")
        subject = load(parsed, given)
        done = run(subject, (), step)
    streams.note(describe_choices(subject))
    precision = note_precision(done)

    rows = list_operations(done.tape)
    model = subject.model
    modules = module_rows(done.tape, "" if inspect.isroutine(model) else type(model).__name__)
    first = next(iter(tensors_in(done.output)), None)  # of a model with several outputs
    modules[0].shape = modules[0].shape if first is None else first.shape
    totals = {key: sum(row[key] for row in rows) for key in ("parameters", "flops", "bytes")}
    if counted := done.counted():
        totals["parameters"] = counted["parameters"]
        modules[0].frozen = counted["frozen"]
        modules[0].trainable = counted["parameters"] - counted["frozen"]
    if json:
        report.print_json(
            "summary",
            {
                "target": parsed.where,
                "choices": subject.choices,
                "modules": list(map(_as_json, modules)),
                "operations": rows,
                "total": totals,
                "precision_changes": precision,
                "error": done.failure.message if done.failure else None,
            },
        )
    elif operations or len(modules) == 1:  # plain code has no modules
        shown = [
            (row["operation"], row["scope"], report.shape(row["shape"]), *map(row.get, totals))
            for row in rows
        ]
        footer = (f"{len(rows)} operations", "", "", *totals.values())
        streams.console().print(report.table(OPERATIONS, shown, total=footer))
    else:
        streams.console().print(_module_table([row for row in modules if row.depth <= depth]))
    if done.failure is not None:
        raise done.failure


def _module_table(rows: list[Row]) -> Table:
    """A line for each module, the last part of its path set in by its depth; the model is last."""
    whole = rows[0]
    shown = []
    for row in rows[1:]:
        name = "  " * (row.depth - 1) + row.path
        shown.append((name, row.kind, report.shape(row.shape), row.calls, *_costs(row)))
    footer = ("the model", whole.kind, report.shape(whole.shape), whole.calls, *_costs(whole))
    return report.table(MODULES, shown, total=footer)


def _costs(row: Row) -> tuple[int, ...]:
    return row.trainable, row.frozen, row.multiply_adds, row.flops, row.bytes, row.kept


def _as_json(row: Row) -> dict[str, object]:
    kept = {name: value for name, value in vars(row).items() if name != "numbers"}
    return {**kept, "class": kept.pop("kind"), "shape": list(row.shape), "calls": row.calls}


def list_operations(tape: Tape) -> list[dict[str, Any]]:
    """One row per recorded operation, in the order of recording."""
    seen: set[int] = set()
    rows = []
    for node in tape.recorded():
        if node.op.leaf:
            continue
        rows.append(
            {
                "operation": node.op.name,
                "scope": node.place.scope,
                "shape": list(node.shape),
                "parameters": _count_parameters(node, seen),
                "flops": node.flops,
                "bytes": math.prod(node.shape) * node.dtype.itemsize,
                "source": node.source,
            }
        )
    return rows


def _count_parameters(node: Node, seen: set[int]) -> int:
    """Elements of the parameters that `node` is the first to use; they are added to `seen`."""
    from tracer.extend import PARAMETER, origin_of

    count = 0
    for parent in node.parents:
        if parent is None or parent.op is not PARAMETER or id(origin_of(parent)) in seen:
            continue
        seen.add(id(origin_of(parent)))
        count += math.prod(parent.shape)
    return count
