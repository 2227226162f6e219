"""`trace-net visualize`: draws the graph of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trace_net import options, report, streams, write
from trace_net.blame import blame
from trace_net.errors import CommandError, UsageError

if TYPE_CHECKING:
    import networkx as nx

    from trace_net.run import Run
    from tracer.extensions import DrawOptions, Overlay

#: File suffixes besides the names of the formats.
SUFFIXES = {"gv": "dot", "htm": "html", "mmd": "mermaid"}


class Direction(StrEnum):
    """Which way the drawn edges run."""

    forward = "forward"
    backward = "backward"
    both = "both"


class Time(StrEnum):
    """Whether time steps are drawn one by one or merged."""

    unrolled = "unrolled"
    folded = "folded"


class Theme(StrEnum):
    """Colours of the picture."""

    auto = "auto"
    light = "light"
    dark = "dark"


def visualize(
    target: options.TargetArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to; - is stdout. (default: TARGET.svg)"
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="svg, png, pdf, dot, html, json, mermaid or a plugin's. "
            "(default: the suffix of FILE, else svg)",
            autocompletion=options.renderer_names,
        ),
    ] = None,
    direction: Annotated[Direction, typer.Option(help="What is drawn.")] = Direction.both,
    time: Annotated[Time, typer.Option(help="Steps of recurrent models.")] = Time.unrolled,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Collapse modules nested deeper than this.")
    ] = None,
    overlay: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Colour nodes by a value, as in grad_norm. "
            "(default: the norm of the first --quantity)",
            autocompletion=options.overlay_names,
        ),
    ] = None,
    quantity: options.QuantityOption = None,
    input: options.InputOption = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the layout.")] = 30.0,
    theme: Annotated[Theme, typer.Option(help="Colours of the picture.")] = Theme.auto,
    json: options.JsonOption = False,
) -> None:
    """Draw the forward and backward graph of TARGET.

    A model that fails in its forward pass is drawn as far as it came, with the failing operation
    marked, and the exit code is 1.
    """
    from trace_net.inputs import parse_inputs
    from trace_net.run import describe_choices, run
    from trace_net.target import load, parse_target
    from tracer import registry
    from tracer.errors import TracerError
    from tracer.extensions import DrawOptions

    parsed = parse_target(target)
    form = choose_format(output, format)
    options.look_up(registry.renderers, form)
    quantities = tuple(quantity or ())
    for name in quantities:
        options.look_up(registry.quantities, name)
    colouring = options.look_up(registry.overlays, overlay) if overlay else None
    if colouring is None and quantities:
        colouring = norm_overlay(quantities[0])
    if output == write.STDOUT and json:
        raise UsageError("-o - and --json both write to stdout", hint="give -o a file")
    file = output or f"{parsed.stem}.{form}"
    place = write.writable(file)
    given = parse_inputs(input or ())
    wanted = list(dict.fromkeys([*quantities, *(colouring.quantities if colouring else ())]))
    if not wanted and direction is not Direction.forward:
        wanted = ["grad"]

    with streams.progress(steps=6) as step:
        step(f"loading {target}")
        subject = load(parsed, given)
        done = run(subject, tuple(wanted), step)
        streams.note(describe_choices(subject))
        step("building the graph")
        graph = build_graph(done, direction, time, quantities)
        how = DrawOptions(
            title=parsed.stem,
            depth=depth,
            overlay=colouring,
            values=colour_values(graph, done, colouring),
            timeout=timeout,
            theme=theme.value,
        )
        step(f"drawing {graph.number_of_nodes()} nodes as {form}")
        try:
            write.write(place, draw(graph, form, how))
        except (CommandError, TracerError) as error:
            if done.failure is None:
                raise
            streams.note(f"what ran before the failure is not drawn: {error}")
            raise done.failure from done.failure.__cause__

    shown = "stdout" if file == write.STDOUT else file
    if json:
        report.print_json("visualize", summarise(graph, done, shown, form))
    if done.failure is not None:
        done.failure.hint = f"the graph up to the failure is in {shown}; {done.failure.hint}"
        raise done.failure
    streams.note(f"{graph.number_of_nodes()} nodes drawn as {form} in {shown}")


def build_graph(
    done: Run, direction: Direction, time: Time, quantities: tuple[str, ...]
) -> nx.MultiDiGraph:
    """The graph of a run, with norms of quantities; of a run that failed, its forward part."""
    shown = direction if done.failure is None else Direction.forward
    graph = done.tape.graph(direction=shown.value, time=time.value)
    graph.graph["name"] = done.subject.target.stem
    add_norms(graph, done, quantities)
    return graph


def colour_values(
    graph: nx.MultiDiGraph, done: Run, overlay: Overlay | None
) -> Mapping[str, float] | None:
    """Node id -> number from an overlay; nothing where the run failed before its results."""
    from tracer import registry

    if overlay is None or done.failure is not None:
        return None
    known = overlay.name in registry.overlays
    plugin = registry.overlays.entry(overlay.name).plugin if known else "trace-net"
    with blame(plugin, f"the overlay {overlay.name!r}"):
        return overlay.values(graph, done.results)


def draw(graph: nx.MultiDiGraph, form: str, how: DrawOptions) -> bytes:
    """The picture in a registered format."""
    from tracer import registry

    entry = registry.renderers.entry(form)
    with blame(entry.plugin, f"the renderer {form!r}"):
        return entry.value.render(graph, how)


def choose_format(output: str | None, format: str | None) -> str:
    """The format asked for, else that of the file's suffix, else svg."""
    if format is not None:
        return format
    if output is None or output == write.STDOUT:
        return "svg"
    suffix = Path(output).suffix.removeprefix(".").lower()
    if not suffix:
        raise UsageError(
            f"the file {output!r} has no suffix to choose a format by",
            hint="add one, as in graph.svg, or give --format",
        )
    return SUFFIXES.get(suffix, suffix)


def norm_overlay(quantity: str) -> Overlay:
    """Colours parameters by the norm of one quantity."""
    from tracer.extensions import Overlay

    class QuantityNorm(Overlay):
        name = quantity
        label = f"norm of {quantity}"
        quantities = (quantity,)

        def values(self, graph: nx.MultiDiGraph, results: Any) -> dict[str, float]:
            return parameter_norms(graph, results, quantity)

    return QuantityNorm()


def parameter_norms(graph: nx.MultiDiGraph, results: Any, quantity: str) -> dict[str, float]:
    """Norms of one quantity by the ids of parameter nodes."""
    from trace_net.values import arrays, by_parameter, norm

    computed = by_parameter(results, quantity)
    return {
        node: norm(computed[attributes["label"]])
        for node, attributes in graph.nodes(data=True)
        if attributes["kind"] == "parameter" and arrays(computed.get(attributes["label"]))
    }


def add_norms(graph: nx.MultiDiGraph, done: Run, quantities: tuple[str, ...]) -> None:
    """Give parameter nodes the norms of the quantities that were asked for."""
    for quantity in quantities:
        for node, norm in parameter_norms(graph, done.results, quantity).items():
            graph.nodes[node].setdefault("quantities", {})[quantity] = norm


def summarise(graph: nx.MultiDiGraph, done: Run, file: str, form: str) -> dict[str, Any]:
    """What was drawn, where, and how it was chosen."""
    kinds = Counter(kind for _, kind in graph.nodes(data="kind"))
    return {
        "target": done.subject.target.where,
        "file": file,
        "format": form,
        "direction": graph.graph["direction"],
        "time": graph.graph["time"],
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
        "kinds": dict(sorted(kinds.items())),
        "quantities": sorted(done.results),
        "choices": done.subject.choices,
        "error": done.failure.message if done.failure else None,
    }
