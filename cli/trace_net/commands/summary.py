"""`trace-net summary`: a table of what a model does in its forward pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trace_net import options, report, streams

if TYPE_CHECKING:
    from tracer.extend import Node, Tape

COLUMNS = ("operation", "scope", "shape", ">parameters", ">FLOPs", ">bytes")


def summary(
    target: options.TargetArgument,
    input: options.InputOption = None,
    json: options.JsonOption = False,
) -> None:
    """List the operations of TARGET with shapes and costs.

    The costs are parameters, FLOPs and bytes of the forward pass. Parameters are counted where
    they are first used, and once, frozen ones among them. FLOPs are exact where the operation
    counts them, else one per element of the output; bytes are those of the output.
    """
    from trace_net.inputs import parse_inputs
    from trace_net.run import describe_choices, run
    from trace_net.target import load, parse_target

    parsed = parse_target(target)
    given = parse_inputs(input or ())
    with streams.progress(steps=3) as step:
        step(f"loading {target}")
        subject = load(parsed, given)
        done = run(subject, (), step)
    streams.note(describe_choices(subject))

    rows = list_operations(done.tape)
    totals = {key: sum(row[key] for row in rows) for key in ("parameters", "flops", "bytes")}
    if json:
        report.print_json(
            "summary",
            {
                "target": parsed.where,
                "choices": subject.choices,
                "operations": rows,
                "total": totals,
                "error": done.failure.message if done.failure else None,
            },
        )
    else:
        shown = [
            (row["operation"], row["scope"], report.shape(row["shape"]), *map(row.get, totals))
            for row in rows
        ]
        footer = (f"{len(rows)} operations", "", "", *totals.values())
        streams.console().print(report.table(COLUMNS, shown, total=footer))
    if done.failure is not None:
        raise done.failure


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
