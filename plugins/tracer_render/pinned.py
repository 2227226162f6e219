"""Graphviz source of a placed picture: it draws, and lays out nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable

import graphviz

from tracer_render import dot, style
from tracer_render.picture import Box, Cluster, Picture
from tracer_render.placement import Path, Placement, Point, Rectangle, up_to_outline

#: Room for the title and the legend above, and for each further row of them, in points.
HEADING = 78.0
SCALE = 18.0
PAD = 18.0
ARROW = 5.5
#: How far outside of a node Graphviz draws its second outline.
PERIPHERY = 4.0
#: What Graphviz is told besides the format.
ARGUMENTS = ("-Kneato", "-n2")


def write(picture: Picture, placement: Placement, theme: style.Theme) -> str:
    """The source, for `neato -n2`. y grows upwards there."""
    graph = graphviz.Digraph("trace", comment=picture.title or None)
    graph.attr("graph", bgcolor=theme.paper, outputorder="nodesfirst", pad=f"{PAD / 72:.2f}")
    graph.attr("node", fontname=style.FONT, fontsize=f"{style.TITLE_SIZE:g}", fixedsize="true")
    graph.attr("edge", arrowsize="0.55", penwidth="0.8")
    left, top, right, _ = placement.extent()
    above = HEADING + SCALE * (picture.scale is not None) + SCALE * len(picture.error)
    graph.node(
        "heading",
        label=dot.heading(picture, theme),
        shape="plain",
        fixedsize="false",
        fontcolor=theme.text,
        pos=_pos(((left + right) / 2, top - above / 2)),
    )
    titles = dict(_titles(picture.root))
    frames = [(path, titles[path], r) for path, r in placement.frames.items()]
    frames += [(path, form.format(titles[path]), r) for path, form, r in placement.others]
    for index, (_, title, r) in enumerate(sorted(frames, key=lambda frame: len(frame[0]))):
        _frame(graph, index, title, r, theme)
    for box in picture.boxes:
        r = placement.boxes[box.id]
        place = {"pos": _pos((r.x, r.y)), "width": f"{r.width / 72:.3f}"}
        dot.box_node(
            graph, box, theme, picture.scale is not None, height=f"{r.height / 72:.3f}", **place
        )
    outlines = {box.id: _outer(box, placement.boxes[box.id]) for box in picture.boxes}
    lines = zip(picture.lines, placement.curves, placement.labels, strict=True)
    for index, (line, curve, label) in enumerate(lines):
        how = dot.line_colours(line, theme) | ({"style": "dashed"} if line.delayed else {})
        curve = up_to_outline(curve, outlines[line.head])
        curve = up_to_outline(curve[::-1], outlines[line.tail])[::-1]
        graph.edge(line.tail, line.head, pos=_spline(curve), **how)
        if label is not None:
            _label(graph, f"label {index}", line.label, label, style.LABEL_SIZE, theme.faint)
    for (value, cotangent), rung in zip(
        picture.pairs.items(), _rungs(picture, placement), strict=True
    ):
        if rung is not None:
            (x0, y0), (x1, y1) = rung
            curve = [(x0, y0), (x0, y0), (x1, y1), (x1, y1)]
            spline = " ".join(map(_pos, curve))
            colour = theme.lines["pair"]
            graph.edge(value, cotangent, pos=spline, style="dotted", dir="none", color=colour)
    return graph.source


def resolution(placement: Placement, wanted: int, most: int) -> int:
    """Dots per inch at which no side has more than `most` pixels, at most those wanted."""
    left, top, right, bottom = placement.extent()
    longest = max(right - left, bottom - top + HEADING + 2 * SCALE) + 2 * PAD + 40
    return max(1, min(wanted, int(72 * most / longest)))


def _titles(cluster: Cluster) -> Iterable[tuple[Path, str]]:
    for inner in cluster.clusters:
        yield inner.path, inner.title
        yield from _titles(inner)


def _frame(
    graph: graphviz.Digraph, index: int, title: str, r: Rectangle, theme: style.Theme
) -> None:
    ink = theme.cluster
    graph.node(
        f"frame {index}",
        label="",
        shape="box",
        style="rounded,filled",
        fillcolor=ink.fill,
        color=ink.line,
        penwidth="0.8",
        pos=_pos((r.x, r.y)),
        width=f"{r.width / 72:.3f}",
        height=f"{r.height / 72:.3f}",
    )
    width = style.text_width(title, style.NOTE_SIZE) * 0.92
    at = (r.x - r.width / 2 + 8 + width / 2, r.y - r.height / 2 + 9)
    _label(graph, f"title {index}", title, at, style.NOTE_SIZE, ink.text)


def _label(
    graph: graphviz.Digraph, name: str, text: str, at: Point, size: float, colour: str
) -> None:
    graph.node(
        name,
        label=dot.markup(text),
        shape="plain",
        fixedsize="false",
        fontsize=f"{size:g}",
        fontcolor=colour,
        pos=_pos(at),
    )


def _outer(box: Box, r: Rectangle) -> Rectangle:
    """The outline of a box, at which lines end: a second one is drawn outside of the first."""
    more = 2 * PERIPHERY * (int(dot.SHAPES[box.kind].get("peripheries", 1)) - 1)
    return Rectangle(r.x, r.y, r.width + more, r.height + more)


def _rungs(picture: Picture, placement: Placement) -> Iterable[tuple[Point, Point] | None]:
    """The rung of each pair; None for those that have none."""
    drawn = {(start[1], start[0]): (start, end) for start, end in placement.pairs}
    for value, cotangent in picture.pairs.items():
        left = min(placement.boxes[value], placement.boxes[cotangent], key=lambda r: r.x)
        yield drawn.get((left.y, left.x + left.width / 2))


def _pos(point: Point) -> str:
    return f"{point[0]:.2f},{-point[1]:.2f}"


def _spline(curve: list[Point]) -> str:
    """The curve up to the arrow's base, and its tip."""
    (x0, y0), (x1, y1) = next(
        ((p, curve[-1]) for p in reversed(curve[:-1]) if math.dist(p, curve[-1]) > 0.1),
        (curve[-2], curve[-1]),
    )
    length = max(math.dist((x0, y0), (x1, y1)), 1e-6)
    part = min(ARROW / length, 0.9)
    base = (x1 + (x0 - x1) * part, y1 + (y0 - y1) * part)
    points = [*curve[:-1], base]
    return " ".join([f"e,{_pos(curve[-1])}", *map(_pos, points)])
