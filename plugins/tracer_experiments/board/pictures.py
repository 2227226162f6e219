"""The graph of a run as a picture, with values of series laid over it, and that of two runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tracer import registry
from tracer.errors import TracerError
from tracer.extend import DrawOptions, Overlay, compare_graphs, render, united_graph

if TYPE_CHECKING:
    import networkx as nx

    from tracer_experiments.stored_run import StoredRun

__all__ = [
    "SeriesOverlay",
    "difference",
    "graph_of",
    "laid_over",
    "overlays",
    "picture",
    "titled",
    "values_at",
]

#: Graphviz takes memory, and one picture is looked at
DRAWING = threading.Lock()
#: statistics of nodes, which are texts in a saved graph where JSON has no number
NUMBERS = ("norm", "min", "max")
#: of the changes of a comparison, as many are told of each kind
TOLD = 200


class SeriesOverlay(Overlay):
    """Colours parameters by values that a run has logged for each, by the parameter's name."""

    def __init__(self, name: str, step: int, values: Mapping[str, float]):
        self.name, self.label, self.step = name, name, step
        self._values = values

    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, float]:
        return {
            node: self._values[data["label"]]
            for node, data in graph.nodes(data=True)
            if data.get("kind") == "parameter" and data.get("label") in self._values
        }


def graph_of(run: StoredRun) -> nx.MultiDiGraph:
    """The graph of a run that was recorded last; `RecordError` where there is none."""
    named = [name for name, info in run.names().items() if info.kind == "graph"]
    _, graph = run.graphs(*named[:1])[-1]
    for data in graph.nodes.values():
        for key in NUMBERS:
            if isinstance(data.get(key), str):
                data[key] = float(data[key])
    return graph


def overlays(run: StoredRun, graph: nx.MultiDiGraph) -> dict[str, list[str]]:
    """What can be laid over a graph: `GradNorm` -> the parameters of which there is a series.

    A series of numbers `GradNorm/0.weight` is of the parameter `0.weight`.
    """
    parameters = parameters_of(graph)
    names = [name for name, info in run.names().items() if info.kind == "number"]
    found: dict[str, list[str]] = {}
    for name in names:
        for cut in (place for place, sign in enumerate(name) if sign == "/"):
            if name[cut + 1 :] in parameters:
                found.setdefault(name[:cut], []).append(name[cut + 1 :])
    return found


def parameters_of(graph: nx.MultiDiGraph) -> set[str]:
    """The names of the parameters of a graph."""
    nodes = graph.nodes.values()
    return {str(data.get("label")) for data in nodes if data.get("kind") == "parameter"}


def values_at(run: StoredRun, overlay: str, parameters: Iterable[str], step: int) -> dict[str, Any]:
    """The last value of each parameter's series that was logged up to a step."""
    values = {}
    for parameter in parameters:
        steps, numbers = run.series(f"{overlay}/{parameter}")
        place = int(steps.searchsorted(step, side="right")) - 1
        if place >= 0:
            values[parameter] = float(numbers[place])
    return values


def laid_over(run: StoredRun, graph: nx.MultiDiGraph, overlay: str, step: int) -> SeriesOverlay:
    """The overlay of a name at a step; the core's error for one that has no values there."""
    parameters = overlays(run, graph).get(overlay, [])
    return SeriesOverlay(overlay, step, values_at(run, overlay, parameters, step))


def titled(run: StoredRun, overlay: SeriesOverlay | None) -> str:
    """The title of a picture of a run, with the step of what is laid over it."""
    return run.name if overlay is None else f"{run.name}, {overlay.name} at step {overlay.step}"


def picture(
    graph: nx.MultiDiGraph,
    form: str = "svg",
    *,
    title: str = "",
    theme: str = "auto",
    overlay: Overlay | None = None,
) -> tuple[bytes, str]:
    """The picture of a graph in a registered form, and its media type.

    Raises `TracerError` where there is no such renderer, or it cannot draw this.
    """
    if form not in registry.renderers:
        raise TracerError(f"no renderer of {form} is registered: install one, as trace-net[render]")
    values = None if overlay is None else overlay.values(graph, {})
    options = DrawOptions(title=title, depth="auto", theme=theme, overlay=overlay, values=values)
    with DRAWING, _without_hints():
        try:
            drawn = render(form, graph, options)
        except TracerError:
            raise
        except Exception as error:  # whatever a renderer says of what it lacks
            raise TracerError(f"the graph cannot be drawn: {error}") from error
    return drawn, registry.renderers[form].media_type


@contextmanager
def _without_hints() -> Iterator[None]:
    """What a renderer says of `--depth` is not said: who looks here cannot give it."""
    log = logging.getLogger("tracer_render")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def difference(first: nx.MultiDiGraph, second: nx.MultiDiGraph) -> tuple[dict[str, Any], Any]:
    """What differs from one graph to another, as texts, and both of them in one graph."""
    found = compare_graphs(first, second, rtol=None)
    changed = [
        f"{_said(second.nodes[node])}: {'; '.join(map(_change, changes))}"
        for node, changes in found.changed.items()
    ]
    told = {
        "removed": [_said(first.nodes[node]) for node in found.removed],
        "added": [_said(second.nodes[node]) for node in found.added],
        "changed": changed,
    }
    counts = {of: len(texts) for of, texts in told.items()}
    cut = {of: texts[:TOLD] for of, texts in told.items()}
    return {**cut, "counts": counts}, united_graph(first, second, found)


def _said(data: Mapping[str, Any]) -> str:
    where = f"{data['scope']} " if data.get("scope") and data.get("kind") != "parameter" else ""
    return f"{where}{data.get('label', '')} {_text(data.get('shape', ''))}".strip()


def _change(change: Any) -> str:
    if change.of == "hyperparameters":
        return ", ".join(
            f"{'' if name.isdecimal() else f'{name} '}{_text(change.before[name])} to "
            f"{_text(change.after[name])}"
            for name in change.after
        )
    return f"{change.of} {_text(change.before)} to {_text(change.after)}"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return "none" if value is None else str(value)
