"""Pictures of a tape in Python: what a notebook shows, and what is saved to a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tracer import registry
from tracer.errors import GraphError, PluginError, TracingError
from tracer.extensions import DrawOptions, Overlay
from tracer.guarded import overlay_values, render
from tracer.record.composite import recorded
from tracer.record.names import Part
from tracer.record.recorder import Recorder
from tracer.sweep.timing import time_operations

if TYPE_CHECKING:
    import networkx as nx

#: longer loops than this are folded where `time` is "auto"
FEW_STEPS = 3
#: of a tape with `values`, all operations are drawn where there are at most so many
FEW_OPERATIONS = 60
#: of a longer loop, unrolled, so many steps are drawn
MOST_STEPS = 8
#: file suffixes besides the names of formats
SUFFIXES = {"gv": "dot", "htm": "html", "mmd": "mermaid"}


class Drawing:
    """A picture of a graph: shown by a notebook, saved by `save`, or as bytes by `render`.

    It is made anew in each format; `graph` is what is drawn, and `options` say how.
    """

    def __init__(self, graph: nx.MultiDiGraph, options: DrawOptions):
        self.graph, self.options = graph, options
        self._rendered: dict[str, bytes] = {}

    def render(self, format: str = "svg") -> bytes:
        """The picture in a registered format: svg, png, pdf, dot, mermaid, html or json."""
        if format not in self._rendered:
            self._rendered[format] = render(format, self.graph, self.options)
        return self._rendered[format]

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write the picture to a file, in the format of its suffix unless one is given."""
        file = Path(path)
        suffix = file.suffix.removeprefix(".").lower()
        if format is None and not suffix:
            raise GraphError(f"{str(path)!r} has no suffix to choose a format by, as in graph.svg")
        file.write_bytes(self.render(format or SUFFIXES.get(suffix, suffix)))
        return file

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, str]:
        """SVG, with the theme of the page, and text for consoles."""
        return {"image/svg+xml": self.render("svg").decode(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        nodes = self.graph.number_of_nodes()
        return f"<drawing of {nodes:,} nodes: save(path), or a notebook shows it>"


def draw(
    tape: Recorder,
    *,
    direction: str | None = None,
    time: str = "auto",
    depth: int | Literal["auto", "all"] | None = None,
    open: str | Iterable[str] = (),
    steps: int | Literal["all"] | None = None,
    overlay: str | None = None,
    theme: str = "auto",
    title: str = "",
) -> Drawing:
    """A picture of the trace, which a notebook shows and `.save(path)` writes.

    `direction` is "forward", "backward" or "both", which is the default once the tape was
    swept. `time` is "unrolled", "folded" or "auto": folded where a loop has more than three
    steps, unless `steps` are asked for. `depth` opens modules to so many levels, "all" to every
    operation, "auto" as many as fit on a page; by default it is "auto", or "all" with `steps`.
    `open` is the path of a module to draw open besides, as "h.0", or several. Of longer loops,
    unrolled, so many `steps` are drawn (8), the first and the last, or "all". `overlay` is a
    registered one: "flops", "bytes", "time", which measures each operation now, or "grad_norm",
    which needs statistics (`Tape(watch=True)`). `theme` is "light", "dark" or "auto", as the
    reader's is. Raises `GraphError` for other values.
    """
    from tracer.graph.build import build  # networkx, which takes long to import

    if depth is None:
        depth = "auto" if steps is None else "all"
    _check(depth, theme, time, steps, overlay, title)
    opened = _paths(open)
    if tape.is_open:
        raise TracingError("a tape is drawn after its `with tracer.Tape()` block has ended")
    nodes = recorded(tape)
    if direction is None:
        direction = "forward" if tape.loss is None else "both"
    if time == "auto":
        longest = max((max(node.place.times, default=0) for node in nodes), default=0)
        time = "folded" if longest >= FEW_STEPS and steps is None else "unrolled"
    if depth == "auto" and tape.keeps_values and len(nodes) <= FEW_OPERATIONS:
        depth = "all"  # since closed modules show no numbers
    colours = None if overlay is None else registry.overlays[overlay]
    if colours is not None and colours.timed:
        time_operations(tape)
    graph = build(tape, direction, time)
    graph.graph["flops"] = sum(node.flops for node in nodes)
    if len(tape.roots) == 1 and not title:
        root = tape.roots[0]
        title = type(root.model if type(root) is Part else root).__name__
    if colours is not None and not _values(colours, graph):
        raise GraphError(
            f"no node has a value of the overlay {overlay!r}: record with tracer.Tape(watch=True), "
            f"and sweep before drawing"
        )
    how = DrawOptions(
        title=title,
        depth=None if depth == "all" else depth,
        overlay=colours,
        theme=theme,
        steps=MOST_STEPS if steps is None else None if steps == "all" else steps,
        opened=opened,
    )
    return Drawing(graph, how)


def _values(overlay: Overlay, graph: nx.MultiDiGraph) -> Mapping[str, float]:
    """The values of an overlay that reads the graph alone."""
    try:
        return overlay_values(overlay, graph, {})
    except PluginError as error:
        if not isinstance(error.__cause__, KeyError) or not overlay.quantities:
            raise
        raise GraphError(
            f"the overlay {overlay.name!r} reads {', '.join(overlay.quantities)}, which no tape "
            f"holds: draw it with `trace-net visualize MODEL --overlay {overlay.name}`"
        ) from error


def _check(
    depth: object, theme: object, time: object, steps: object, overlay: object, title: object
) -> None:
    if depth not in ("auto", "all") and not _is_number(depth, 0):
        raise GraphError(f'depth is "auto", "all" or a number of levels from 0, got {depth!r}')
    if theme not in ("auto", "light", "dark"):
        raise GraphError(f'theme is "auto", "light" or "dark", got {theme!r}')
    if time not in ("auto", "unrolled", "folded"):
        raise GraphError(f'time is "auto", "unrolled" or "folded", got {time!r}')
    if steps not in (None, "all") and not _is_number(steps, 2):
        raise GraphError(f'steps is a number of steps from 2, or "all", got {steps!r}')
    if not isinstance(overlay, str | None):
        raise GraphError(f'overlay is the name of one, as "flops", got {overlay!r}')
    if not isinstance(title, str):
        raise GraphError(f"title is a string, got {title!r}")


def _is_number(value: object, least: int) -> bool:
    """Whether a value is a whole number from `least` on, and no boolean."""
    if isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, int | np.integer) and bool(value >= least)


def _paths(given: object) -> tuple[str, ...]:
    """The paths of modules that `open` names, one or several."""
    paths = (given,) if isinstance(given, str) else given
    if isinstance(paths, Iterable):
        paths = tuple(paths)
        if all(isinstance(path, str) for path in paths):
            return paths
    raise GraphError(f'open is the path of a module, as "h.0", or several, got {given!r}')
