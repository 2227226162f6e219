"""Forward and backward side by side: the forward half is laid out, the backward one is its mirror.

Both columns are parallel then, a value stands at the height of its cotangent, and what goes beside
the one column goes beside the other, on the outer side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tracer_render.orientation import in_order, turned
from tracer_render.picture import Box, Cluster, Picture
from tracer_render.placement import Path, Placement, Point, Rectangle, pair_lines, up_to_outline
from tracer_render.quality import enters, trace

#: Between the two halves, in points.
GAP = 44.0
#: Frames times boxes above which it is not looked for what stands between the halves.
LARGEST = 100_000


@dataclass(frozen=True)
class Halves:
    """The forward half of a picture, which lines of the whole it has, and what mirrors them."""

    forward: Picture
    #: line of the half -> line of the whole
    lines: tuple[int, ...]
    #: line of the whole, of cotangents -> line of the half that it runs beside
    partners: dict[int, int]


def split(picture: Picture) -> Halves | None:
    """The halves of a picture; None where its cotangents are no mirror of its values."""
    value_of = {cotangent: value for value, cotangent in picture.pairs.items()}
    back = {box.id for box in picture.boxes if box.kind == "cotangent"}
    if not back or back != value_of.keys() or back & picture.pairs.keys():
        return None
    lines: list[int] = []
    known: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for index, line in enumerate(picture.lines):
        if line.tail not in back and line.head not in back:
            known[line.tail, line.head, line.delayed].append(len(lines))
            lines.append(index)
    partners: dict[int, int] = {}
    for index, line in enumerate(picture.lines):
        if line.tail in back and line.head in back:
            free = known[value_of[line.head], value_of[line.tail], line.delayed]
            if not free:
                return None
            partners[index] = free.pop(0)
        elif line.tail in back or line.head in back:
            return None
    sizes = {box.id: box.size for box in picture.boxes}

    def with_room(box: Box) -> Box:
        other = picture.pairs.get(box.id)
        return box if other is None else replace(box, room=sizes[other])

    forward = replace(
        picture,
        root=_without(picture.root, back, with_room),
        lines=tuple(picture.lines[index] for index in lines),
        pairs={},
    )
    return Halves(forward, tuple(lines), partners)


def _without(cluster: Cluster, left_out: set[str], changed: Callable[[Box], Box]) -> Cluster:
    boxes = tuple(changed(box) for box in cluster.boxes if box.id not in left_out)
    inner = tuple(_without(child, left_out, changed) for child in cluster.clusters)
    return replace(cluster, boxes=boxes, clusters=inner)


def whole(picture: Picture, halves: Halves, half: Placement) -> Placement:
    """The placement of a picture, from that of its forward half."""
    half = _faced(halves.forward, half)
    _, _, right, _ = half.extent()
    axis = right + GAP / 2

    def mirrored(point: Point) -> Point:
        return 2 * axis - point[0], point[1]

    placement = Placement(boxes=dict(half.boxes))
    for value, cotangent in picture.pairs.items():
        r = half.boxes[value]
        placement.boxes[cotangent] = Rectangle(*mirrored((r.x, r.y)), r.width, r.height)
    position = {index: place for place, index in enumerate(halves.lines)}
    for index, line in enumerate(picture.lines):
        if index in position:
            placement.curves.append(half.curves[position[index]])
            placement.labels.append(half.labels[position[index]])
            continue
        partner = halves.partners[index]
        curve = [mirrored(point) for point in half.curves[partner]][::-1]
        # A value may have a rounder outline than its cotangent.
        placement.curves.append(up_to_outline(curve, placement.boxes[line.head]))
        label = half.labels[partner] if line.label else None
        placement.labels.append(label and mirrored(label))
    placement.pairs = pair_lines(picture, placement.boxes)
    _frame(picture, half, axis, placement)
    return placement


def _faced(picture: Picture, half: Placement) -> Placement:
    """The half, turned over if calls stand in the wrong order, else if skips would run inside."""
    ordered = in_order(picture, half)
    middle = sum(r.x for r in half.boxes.values()) / len(half.boxes)
    skips_right = sum(x - middle for curve in half.curves for x, _ in curve) > 0
    return turned(half) if ordered < 0 or (not ordered and skips_right) else half


def _frame(picture: Picture, half: Placement, axis: float, placement: Placement) -> None:
    """Frames around both halves where no other box, frame or line is between, else around each."""
    back = {box.scope[:n] for box in picture.boxes if box.kind == "cotangent"
            for n in range(1, len(box.scope) + 1)}  # fmt: skip
    joined = {
        path: Rectangle(axis, r.y, 2 * abs(axis - r.x) + r.width, r.height)
        for path, r in half.frames.items()
        if path in back
    }
    if len(half.frames) * len(placement.boxes) > LARGEST:
        joined = {}
    inside = {path: set(_boxes_in(picture, path)) for path in joined}
    traces = list(zip(picture.lines, map(trace, placement.curves), strict=True)) if joined else []
    apart = {
        path
        for path, r in joined.items()
        if any(_meet(r, b) for name, b in placement.boxes.items() if name not in inside[path])
        or any(
            _meet(r, joined.get(other, o))
            for other, o in half.frames.items()
            if other[: len(path)] != path and path[: len(other)] != other
        )
        or any(
            enters(points, r)
            for line, points in traces
            if line.tail not in inside[path] and line.head not in inside[path]
        )
    }
    for path, r in half.frames.items():
        if path in joined and not any(path[:n] in apart for n in range(1, len(path) + 1)):
            placement.frames[path] = joined[path]
            continue
        placement.frames[path] = r
        if path in back:
            other = Rectangle(2 * axis - r.x, r.y, r.width, r.height)
            placement.others.append((path, "∇ {}", other))


def _boxes_in(picture: Picture, path: Path) -> Iterable[str]:
    return (box.id for box in picture.boxes if box.scope[: len(path)] == path)


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return abs(a.x - b.x) < (a.width + b.width) / 2 and abs(a.y - b.y) < (a.height + b.height) / 2
