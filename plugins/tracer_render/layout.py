"""Where everything goes: the placement all engines give, and our own layered layout.

The layered layout needs nothing but networkx. It is hierarchical: a module is laid out by itself
and then stands as one block in the layout of its parent, so that frames never overlap. Ranks are
topological generations, their order follows barycentres, and coordinates are the least-squares
ones that keep the order and the distances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import networkx as nx

from tracer_render import style
from tracer_render.picture import Box, Cluster, Picture

GAP = 18.0
PAIR_GAP = 16.0
RANK_GAP = 30.0
MARGIN = 12.0
SWEEPS = 4
LONGEST_ROUTE = 60

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """An upright rectangle by its centre and size, in points; y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    def moved(self, x: float, y: float) -> Rectangle:
        return Rectangle(self.x + x, self.y + y, self.width, self.height)


@dataclass(slots=True)
class Placement:
    """Boxes by identifier, frames by module path, and per line its curve and its label's place.

    A curve is a start point and three points for each cubic Bézier segment, from tail to head.
    """

    boxes: dict[str, Rectangle] = field(default_factory=dict)
    frames: dict[tuple[str, ...], Rectangle] = field(default_factory=dict)
    curves: list[list[Point]] = field(default_factory=list)
    labels: list[Point | None] = field(default_factory=list)

    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all that is placed."""
        rectangles = [*self.boxes.values(), *self.frames.values()]
        xs = [r.x - r.width / 2 for r in rectangles] + [r.x + r.width / 2 for r in rectangles]
        ys = [r.y - r.height / 2 for r in rectangles] + [r.y + r.height / 2 for r in rectangles]
        points = [point for curve in self.curves for point in curve]
        xs += [x for x, _ in points]
        ys += [y for _, y in points]
        return (min(xs), min(ys), max(xs), max(ys)) if xs else (0.0, 0.0, 0.0, 0.0)


def layered(picture: Picture) -> Placement:
    """Our own layout of a picture: a placement without overlaps of boxes or of frames."""
    placement = Placement()
    levels = _Levels(picture)
    _place(picture.root, levels, placement)
    _draw_curves(picture, placement, levels)
    return placement


class _Levels:
    """For each module, the edges between what stands directly in it."""

    def __init__(self, picture: Picture) -> None:
        self.pairs = picture.pairs
        self.block = {cotangent: value for value, cotangent in picture.pairs.items()}
        self.scope = {box.id: box.scope for box in picture.boxes}
        self.edges: dict[tuple[str, ...], dict[tuple[object, object], None]] = {}
        self.routes: dict[tuple[object, object], list[Point]] = {}
        for line in picture.lines:
            if not line.delayed:
                scope, above, below = self.meet(*line.ranked)
                if above != below:
                    self.edges.setdefault(scope, {})[above, below] = None

    def meet(self, upper: str, lower: str) -> tuple[tuple[str, ...], object, object]:
        """The innermost module that holds both boxes, and what stands for each in it."""
        a, b = self.scope[upper], self.scope[lower]
        common = 0
        while common < min(len(a), len(b)) and a[common] == b[common]:
            common += 1
        return a[:common], self._stands(upper, common), self._stands(lower, common)

    def _stands(self, box: str, level: int) -> object:
        scope = self.scope[box]
        return scope[: level + 1] if len(scope) > level else self.block.get(box, box)


@dataclass(slots=True)
class _Block:
    """A box, a pair, a module or the place where a long edge passes, as the ranks see it."""

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


def _place(cluster: Cluster, levels: _Levels, placement: Placement) -> tuple[float, float]:
    """Lay out a module around the origin; its width and height."""
    inner = {}
    boxes: dict[str, Box] = {box.id: box for box in cluster.boxes}
    blocks: dict[object, _Block] = {}
    for box in cluster.boxes:
        if box.id not in levels.block:
            sizes = [box.size]
            if box.id in levels.pairs:
                sizes.append(boxes[levels.pairs[box.id]].size)
            width = sum(w for w, _ in sizes) + PAIR_GAP * (len(sizes) - 1)
            blocks[box.id] = _Block(width, max(h for _, h in sizes))
    for child in cluster.clusters:
        part = Placement()
        blocks[child.path] = _Block(*_place(child, levels, part))
        inner[child.path] = part

    edges = levels.edges.get(cluster.path, {})
    ranks = _ranks(blocks, edges)
    order, routes = _order(blocks, edges, ranks)
    _coordinates(order, blocks, edges, routes)
    for route in routes.values():
        for name in route:
            del_block = blocks[name]
            levels.routes.setdefault(route_key(name), []).append((del_block.x, del_block.y))

    for name, block in blocks.items():
        if name in inner:
            _merge(placement, inner[name], block, levels)
        elif isinstance(name, str):
            _put(name, block, boxes, levels, placement)
    return _frame(cluster, placement)
