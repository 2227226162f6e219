"""`trace-net visualize`: draws the graph of a model."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trace_net import options, report, streams, write
from trace_net.errors import CommandError, DrawingError, UsageError

if TYPE_CHECKING:
    import networkx as nx

    from trace_net.run import Run
    from tracer.extend import DrawOptions, Overlay


class Direction(StrEnum):
    """Which way the drawn edges run."""

    forward = "forward"
    backward = "backward"
    both = "both"


class Time(StrEnum):
    """Whether time steps are drawn one by one or merged."""

    auto = "auto"
    unrolled = "unrolled"
    folded = "folded"


#: Longer loops than this are folded where the detail of a picture is chosen for its reader.
FEW_STEPS = 3
#: With `--values`, all operations are drawn where there are at most so many.
FEW_OPERATIONS = 60
#: rows and columns of the largest array whose numbers are written
LARGEST_WRITTEN = 6
#: names of parameters that a line on stderr has at most
MOST_NAMES = 6
OTHER = {Time.unrolled: Time.folded, Time.folded: Time.unrolled}


def visualize(
    target: options.TargetArgument,
    output: Annotated[
        str | None,
        typer.Option(
            *options.OUTPUT, metavar="FILE", help="Where to; - is stdout. (default: TARGET.svg)"
        ),
    ] = None,
    format: options.FormatOption = None,
    direction: Annotated[Direction, typer.Option(help="What is drawn.")] = Direction.both,
    time: Annotated[
        Time,
        typer.Option(
            help="Steps of recurrent models. auto folds loops of more than three, unless --depth "
            "or --steps is given.",
        ),
    ] = Time.auto,
    depth: Annotated[
        str | None,
        typer.Option(
            metavar="auto|all|K",
            help="Draw modules nested deeper than K as one box for each call; all draws every "
            "operation, auto opens as many as fit on a page. (default: auto; all with --steps)",
        ),
    ] = None,
    open: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A module to draw open besides, as in h.0. Repeatable."),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Of longer loops, unrolled, this many steps are drawn, the first and the last; "
            "or all. (default: 8)",
        ),
    ] = None,
    overlay: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Colour nodes by grad_norm, flops, bytes of results or measured time, by a "
            "quantity of the parameters, as in kfac, or by its norm, max, min, mean, trace or "
            "condition, as in kfac:trace. "
            "(default: the norm of the first --quantity)",
            autocompletion=options.overlay_names,
        ),
    ] = None,
    values: Annotated[
        bool,
        typer.Option(
            "--values",
            help="Write the numbers of small tensors and cotangents into their boxes. A small "
            "graph is then drawn with --depth all unless a depth is given.",
        ),
    ] = False,
    quantity: options.QuantityOption = None,
    input: options.InputOption = None,
    loss: options.LossOption = None,
    device: options.DeviceOption = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the layout.")] = 30.0,
    theme: options.ThemeOption = options.Theme.auto,
    json: options.JsonOption = False,
) -> None:
    """Draw the forward and backward graph of TARGET.

    A model that fails in its forward pass is drawn as far as it came, with the failing operation
    marked, and the exit code is 1.
    """
    from trace_net.inputs import parse_inputs
    from trace_net.made_loss import check_loss, with_loss
    from trace_net.overlays import QuantityOverlay, find_overlay
    from trace_net.run import describe_choices, note_precision, on_device, run
    from trace_net.target import load, parse_target
    from tracer import registry
    from tracer.extend import DrawOptions, time_operations

    options.check_device(device)
    check_loss(loss)
    parsed = parse_target(target)
    form = options.choose_format(output, format)
    renderer = options.look_up(registry.renderers, form)
    quantities = tuple(quantity or ())
    shown_steps, detail = parse_steps("8" if steps is None else steps), parse_depth(depth, steps)
    if output == write.STDOUT and json:
        raise UsageError("-o - and --json both write to stdout", hint="give -o a file")
    file = output or f"{parsed.stem}.{form}"
    place = write.writable(file)
    given = parse_inputs(input or ())

    with streams.progress(steps=7) as step:
        step(f"loading {target}")
        subject = on_device(with_loss(load(parsed, given), loss), device)
        for name in quantities:  # the file may have registered some
            options.look_up(registry.quantities, name)
        colouring = find_overlay(overlay) if overlay else None
        if colouring is None and quantities:
            colouring = QuantityOverlay(quantities[0])
        done = run(subject, asked(quantities, colouring, direction), step, values)
        streams.note(describe_choices(subject))
        note_precision(done)
        note_unused(done)
        if values and depth is None:
            detail = depth_for_values(done, detail)
        if colouring is not None and colouring.timed and done.failure is None:
            step("timing the operations")
            time_operations(done.tape)
        step("building the graph")
        by_page = renderer.name != "json" and detail == "auto" and steps is None
        time = chosen_time(done, time, by_page)
        graph = build_graph(done, direction, time, quantities)
        note_first_nan(graph)
        if values:
            note_what_is_not_written(graph)
        colours, other = colour_values(graph, done, colouring), None
        if renderer.switches and graph.graph["loops"]:
            twin = build_graph(done, direction, OTHER[time], quantities)
            other = twin, colour_values(twin, done, colouring if colours else None)
        how = DrawOptions(
            title=parsed.stem,
            depth=detail,
            overlay=colouring,
            values=colours,
            timeout=timeout,
            theme=theme.value,
            steps=shown_steps,
            other=other,
            opened=tuple(open or ()),
        )
        step(f"drawing as {form}")
        write_picture(place, graph, form, how, done)

    shown = "stdout" if file == write.STDOUT else file
    if json:
        report.print_json("visualize", summarise(graph, done, shown, form))
    if done.failure is not None:
        done.failure.hint = f"the graph up to the failure is in {shown}; {done.failure.hint}"
        raise done.failure
    streams.note(f"drawn as {form} in {shown}")


def asked(
    quantities: tuple[str, ...], colouring: Overlay | None, direction: Direction
) -> tuple[str, ...]:
    """What the sweep computes: the gradient, if nothing else and more than the forward graph."""
    wanted = (*quantities, *(colouring.quantities if colouring else ()))
    if not wanted and direction is not Direction.forward:
        return ("grad",)
    return tuple(dict.fromkeys(wanted))


def write_picture(
    place: str, graph: nx.MultiDiGraph, form: str, how: DrawOptions, done: Run
) -> None:
    """Write a picture; of a model that failed, its own error is raised where none can be drawn."""
    from tracer.errors import TracerError

    try:
        write.write(place, draw(graph, form, how))
    except (CommandError, TracerError) as error:
        if done.failure is None:
            raise
        streams.note(f"what ran before the failure is not drawn: {error}")
        raise done.failure from done.failure.__cause__


def parse_depth(text: str | None, steps: str | None) -> int | Literal["auto"] | None:
    """Down to which level of modules is drawn; None for every operation."""
    if text == "all" or (text is None and steps is not None):
        return None
    if text is None or text == "auto":
        return "auto"
    if not text.isdecimal():
        raise UsageError(
            f"--depth takes auto, all or a number from 0, got {text!r}", hint="--depth 1"
        )
    return int(text)


def depth_for_values(
    done: Run, detail: int | Literal["auto"] | None
) -> int | Literal["auto"] | None:
    """Every operation where they are few, since closed modules show no numbers; it says so."""
    count = len(done.tape.recorded())
    if detail is None:
        return None
    if count <= FEW_OPERATIONS:
        streams.note(f"every one of {count} operations is drawn, with its numbers (--depth all)")
        return None
    streams.note(
        f"a module in one box shows no numbers: --depth all draws all {count:,} operations, "
        f"--open PATH those of one module"
    )
    return detail


def note_unused(done: Run) -> None:
    """Name the parameters of the model that nothing used, since no box shows them."""
    model = done.subject.model
    if done.failure is not None or not hasattr(model, "named_parameters"):
        return
    used = {parent for node in done.tape.recorded() for parent in node.parents}
    names = [name for name, each in model.named_parameters() if each.node not in used]
    if names:
        shown = ", ".join(names[:MOST_NAMES])
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        streams.note(f"parameters that nothing used, and are not drawn: {shown}{more}")


def note_first_nan(graph: nx.MultiDiGraph) -> None:
    """Say where NaN came up first: in an operation none of whose inputs has any."""
    for node, data in graph.nodes(data=True):
        if data["kind"] != "operation" or not data.get("nan"):
            continue
        if any(graph.nodes[before].get("nan") for before in graph.pred[node]):
            continue
        where = f"{data['source']} ({data['op']})" if data["source"] else data["op"]
        entries = "entry" if math.prod(data["shape"]) == 1 else "entries"
        streams.note(
            f"NaN first at {where}: {data['nan']:,} of {math.prod(data['shape']):,} {entries}"
        )
        return


def note_what_is_not_written(graph: nx.MultiDiGraph) -> None:
    """Say of how many values the numbers are not written, and why."""
    without = [data for _, data in graph.nodes(data=True) if "values" not in data]
    reasons = Counter(map(_why_unwritten, without))
    if len(reasons) == 1:
        (reason,) = reasons
        why = f": they {reason}"
    else:
        why = "".join(f"; {count} {reason}" for reason, count in reasons.most_common())
    if without:
        streams.note(
            f"{len(without)} of {len(graph)} values and gradients are drawn without their "
            f"numbers{why}"
        )


def _why_unwritten(data: Mapping[str, Any]) -> str:
    if (data.get("steps") or 1) > 1:
        return "stand for several steps, which --time unrolled draws one by one"
    *lead, columns = data.get("shape") or (1,)
    if max(math.prod(lead), columns) > LARGEST_WRITTEN:
        return f"have more than {LARGEST_WRITTEN} rows or columns"
    return "hold no real numbers, or were not computed"


def chosen_time(done: Run, time: Time, by_page: bool) -> Time:
    """Loops of more than a few steps are folded where what is drawn is chosen `by_page`."""
    if time is not Time.auto:
        return time
    steps = (max(node.place.times, default=0) for node in done.tape.recorded() if by_page)
    return Time.folded if max(steps, default=0) >= FEW_STEPS else Time.unrolled


def parse_steps(text: str) -> int | None:
    """How many steps of a loop are drawn; None for all of them."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 2:
        raise UsageError(
            f"--steps takes a number of steps from 2, or all, got {text!r}", hint="--steps 8"
        )
    return int(text)


def build_graph(
    done: Run, direction: Direction, time: Time, quantities: tuple[str, ...]
) -> nx.MultiDiGraph:
    """The graph of a run, with norms of quantities; of a run that failed, its forward part."""
    shown = direction if done.failure is None else Direction.forward
    graph = done.tape.graph(direction=shown.value, time=time.value)
    graph.graph["name"] = done.subject.target.stem
    graph.graph |= about(done)
    add_norms(graph, done, quantities)
    return graph


def about(done: Run) -> dict[str, Any]:
    """What a picture says of the model as a whole: its name, its FLOPs and its loss."""
    loss, name = done.loss, model_name(done.subject.model)
    named = {"model": name} if name else {}
    counted = sum(node.flops for node in done.tape.recorded())
    known = {} if loss is None else {"loss": float(loss.item())}
    whole = {"counted": every} if (every := done.counted()) else {}
    return {**named, "flops": counted, **known, **whole}


def model_name(model: object) -> str:
    """A model's class, or the name of a function, also below partials; none of a lambda's."""
    while isinstance(model, functools.partial):
        model = model.func
    if hasattr(model, "named_parameters"):
        return type(model).__name__
    name = str(getattr(model, "__name__", type(model).__name__))
    return "" if name == "<lambda>" else name


def colour_values(
    graph: nx.MultiDiGraph, done: Run, overlay: Overlay | None
) -> Mapping[str, float] | None:
    """Node id -> number from an overlay; nothing where the run failed before its results."""
    from trace_net.overlays import QuantityOverlay
    from tracer.extend import overlay_values

    if overlay is None or done.failure is not None:
        return None
    values = overlay_values(overlay, graph, done.results)
    if values:
        note_undefined(graph, overlay, values)
    else:
        why = f": {overlay.why_none(done.results)}" if isinstance(overlay, QuantityOverlay) else ""
        name = overlay.label or overlay.name
        streams.note(f"no node is coloured: none has a value of {name}{why}")
    return values


def note_undefined(graph: nx.MultiDiGraph, overlay: Overlay, values: Mapping[str, float]) -> None:
    """Tell on the nodes of parameters, and on stderr, for which a quantity's overlay has none."""
    from trace_net.overlays import QuantityOverlay

    if not isinstance(overlay, QuantityOverlay):
        return
    parameters = [n for n, kind in graph.nodes(data="kind") if kind == "parameter"]
    without = [n for n in parameters if n not in values and not graph.nodes[n].get("frozen")]
    for node in without:
        graph.nodes[node]["undefined"] = overlay.label
    names = list(dict.fromkeys(graph.nodes[node]["label"] for node in without))
    if names:
        shown = ", ".join(names[:MOST_NAMES])
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        streams.note(f"without a colour, since {overlay.label} is not defined: {shown}{more}")


def draw(graph: nx.MultiDiGraph, form: str, how: DrawOptions) -> bytes:
    """The picture in a registered format."""
    from tracer.extend import RendererUnavailable, render

    try:
        return render(form, graph, how)
    except RendererUnavailable as error:
        raise DrawingError(
            str(error), hint="--format dot and --format json always work; see `trace-net doctor`"
        ) from error


def add_norms(graph: nx.MultiDiGraph, done: Run, quantities: tuple[str, ...]) -> None:
    """Give parameter nodes the norms of the quantities that were asked for."""
    from trace_net.overlays import QuantityOverlay

    for quantity in quantities:
        for node, norm in QuantityOverlay(quantity).values(graph, done.results).items():
            if graph.nodes[node]["kind"] == "parameter":
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
