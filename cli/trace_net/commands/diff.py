"""`trace-net diff`: what differs between two models, or between two saved graphs."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trace_net import options, report, streams, write
from trace_net.commands.visualize import about, draw
from trace_net.errors import UsageError

if TYPE_CHECKING:
    import networkx as nx

    from tracer.extend import Change, Comparison

HELP = "A TARGET, or a graph that visualize saved as FILE.json."


def diff(
    first: Annotated[str, typer.Argument(metavar="FIRST", help=HELP)],
    second: Annotated[str, typer.Argument(metavar="SECOND", help=HELP)],
    output: Annotated[
        str | None,
        typer.Option(
            *options.OUTPUT, metavar="FILE", help="Draw both in one picture; - is stdout."
        ),
    ] = None,
    format: options.FormatOption = None,
    theme: options.ThemeOption = options.Theme.auto,
    structure: Annotated[
        bool, typer.Option("--structure", help="Compare no values and no gradients.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="X",
            help="How far numbers may differ, relatively. (default: 1e-5)",
            show_default=False,
        ),
    ] = 1e-5,
    input: options.InputOption = None,
    json: options.JsonOption = False,
) -> None:
    """List what was removed, added and changed from FIRST to SECOND.

    Operations are the same that stand in the same module in the same order; parameters, those of
    one name. What differs in them is their shape, dtype, value or gradient. A model that makes its
    parameters at random has other values each time: seed it, or give --structure.
    """
    from tracer.extend import DrawOptions, compare_graphs, united_graph

    if output == write.STDOUT and json:
        raise UsageError("-o - and --json both write to stdout", hint="give -o a file")
    if format is not None and output is None:
        raise UsageError("--format is of a picture, and none is asked for", hint="give -o FILE")
    form = options.choose_format(output, format) if output is not None else ""
    place = write.writable(output) if output is not None else ""
    with streams.progress(steps=12) as step:
        graphs = [_graph(side, input, step) for side in (first, second)]
        found = compare_graphs(*graphs, rtol=None if structure else tolerance)
        if output is not None:
            step(f"drawing as {form}")
            title = f"{Path(first).name} and {Path(second).name}"
            how = DrawOptions(title=title, depth="auto", theme=theme.value)
            write.write(place, draw(united_graph(*graphs, found), form, how))
    if json:
        report.print_json("diff", {"first": first, "second": second, **_listed(*graphs, found)})
    elif output != write.STDOUT:
        _print(first, second, *graphs, found)
    removed, added = len(found.removed), len(found.added)
    streams.note(f"{removed} removed, {added} added, {len(found.changed)} changed")


#: what a graph's nodes are compared by, and which of it are numbers
NEEDED = {"kind", "label", "op", "shape", "dtype", "scope"}
NUMBERS = {"norm", "min", "max"}


def _graph(side: str, input: list[str] | None, step: streams.Step) -> nx.MultiDiGraph:
    """The graph of a TARGET that is run, or one that was saved."""
    if side.endswith(".json"):
        step(f"reading {side}")
        return _read(side)
    from trace_net.inputs import parse_inputs
    from trace_net.run import describe_choices, run
    from trace_net.target import load, parse_target

    step(f"loading {side}")
    subject = load(parse_target(side), parse_inputs(input or ()))
    done = run(subject, ("grad",), step)
    streams.note(describe_choices(subject))
    if done.failure is not None:
        raise done.failure
    graph = done.tape.graph("both")
    graph.graph |= about(done)
    return graph


def _read(file: str) -> nx.MultiDiGraph:
    """A graph that `visualize -o FILE.json` wrote."""
    import networkx as nx

    try:
        document = json_format.loads(Path(file).read_bytes())
        graph = nx.node_link_graph(document, directed=True, multigraph=True, edges="edges")
        for node, data in graph.nodes(data=True):
            for key in NEEDED - data.keys():
                raise ValueError(f"the node {node} has no {key}")
            for key in NUMBERS & data.keys():
                if isinstance(data[key], str):  # JSON has no NaN and no infinities
                    data[key] = float(data[key])
        return graph
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}",
            hint="`trace-net visualize TARGET -o FILE.json`",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, nx.NetworkXException) as error:
        raise UsageError(
            f"{file} holds no saved graph",
            hint="`trace-net visualize TARGET -o FILE.json` saves one",
        ) from error


# -- as text and as JSON -------------------------------------------------------------------------


def _print(
    first: str, second: str, before: nx.MultiDiGraph, after: nx.MultiDiGraph, found: Comparison
) -> None:
    """One line for each node, marked with -, + or ~ as programs that compare texts do."""
    say = streams.console().print
    if found.same:
        return
    say(f"--- {streams.printable(first)}", style="red")
    say(f"+++ {streams.printable(second)}", style="green")
    for name in found.removed:
        say(f"- {_said(before.nodes[name])}", style="red")
    for name in found.added:
        say(f"+ {_said(after.nodes[name])}", style="green")
    for name, changes in found.changed.items():
        said = "; ".join(_change(change) for change in changes)
        say(f"~ {_said(after.nodes[name])}: {said}", style="yellow")


def _said(data: dict[str, Any]) -> str:
    where = f"{data['scope']}  " if data["scope"] and data["kind"] != "parameter" else ""
    step = f" (step {data['time']})" if data.get("time") is not None else ""
    return streams.printable(f"{where}{data['label']} {report.shape(data['shape'])}{step}")


def _change(change: Change) -> str:
    """`shape [8, 4] -> [16, 4]`, `p 0.1 -> 0.2`, or the norm of what was measured."""
    before, after = change.before, change.after
    if change.of == "hyperparameters":
        return ", ".join(
            f"{'' if name.isdecimal() else f'{name} '}{_text(before[name])} -> {_text(after[name])}"
            for name in after
        )
    if not (isinstance(before, dict) or isinstance(after, dict)):
        return f"{change.of} {_text(before)} -> {_text(after)}"
    keys = [key for key in (before or after) if key in ("norm", "nan", "inf")]
    key = (keys or list(before or after))[0]
    values = (_text(None if side is None else side[key]) for side in (before, after))
    return f"{change.of}'s {key} {' -> '.join(values)}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return report.shape(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _listed(
    before: nx.MultiDiGraph, after: nx.MultiDiGraph, found: Comparison
) -> dict[str, object]:
    def node(graph: nx.MultiDiGraph, name: str) -> dict[str, object]:
        kept = ("kind", "op", "label", "scope", "shape", "dtype", "time", "source")
        return {"id": name, **{key: graph.nodes[name].get(key) for key in kept}}

    return {
        "removed": [node(before, name) for name in found.removed],
        "added": [node(after, name) for name in found.added],
        "changed": [
            {**node(after, name), "changes": [change._asdict() for change in changes]}
            for name, changes in found.changed.items()
        ],
    }
