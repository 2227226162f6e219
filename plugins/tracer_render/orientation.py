"""Which way round a picture is drawn: calls side by side stand in the order in which they came."""

from __future__ import annotations

from itertools import combinations

from tracer_render.picture import Box, Cluster, Picture
from tracer_render.placement import Placement, Rectangle

#: Of more calls of one class, so many are looked at.
MOST = 40


def turned(placement: Placement) -> Placement:
    """The placement with left and right exchanged."""

    def over(r: Rectangle) -> Rectangle:
        return Rectangle(-r.x, r.y, r.width, r.height)

    return Placement(
        boxes={name: over(r) for name, r in placement.boxes.items()},
        frames={path: over(r) for path, r in placement.frames.items()},
        others=[(path, form, over(r)) for path, form, r in placement.others],
        curves=[[(-x, y) for x, y in curve] for curve in placement.curves],
        labels=[place and (-place[0], place[1]) for place in placement.labels],
        pairs=[((-a, b), (-c, d)) for (a, b), (c, d) in placement.pairs],
    )


def equal_calls(picture: Picture, cluster: Cluster) -> list[list[Box]]:
    """The calls in a frame that are of one class and begin at the same values, in their order.

    Both directions of a recurrent layer are. None of them is made of another.
    """
    closed = {box.id for box in cluster.boxes if box.kind == "module"}
    if len(closed) < 2:
        return []
    inputs: dict[str, set[str]] = {}
    for line in picture.lines:
        if line.head in closed and not line.delayed and line.tail != line.head:
            inputs.setdefault(line.head, set()).add(line.tail)
    groups: dict[tuple[object, ...], list[Box]] = {}
    for box in cluster.boxes:
        if box.id in inputs:
            key = picture.attributes[box.node].get("class"), frozenset(inputs[box.id])
            groups.setdefault(key, []).append(box)
    return [group for group in groups.values() if len(group) > 1]


def in_order(picture: Picture, placement: Placement) -> int:
    """How many pairs of alike calls stand from left to right, less those that stand the other way.

    Alike are those of one class that stand at one height.
    """
    groups: dict[object, list[Box]] = {}
    for box in picture.boxes:
        if box.kind == "module":
            groups.setdefault(picture.attributes[box.node].get("class"), []).append(box)
    places = placement.boxes
    return sum(
        1 if places[first.id].x < places[second.id].x else -1
        for group in groups.values()
        for first, second in combinations(group[:MOST], 2)
        if abs(places[first.id].y - places[second.id].y) < places[first.id].height / 2
    )
