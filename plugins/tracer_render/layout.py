"""Our own layout, for where there is no Graphviz or too much to lay out.

It is layered and hierarchical: a module is laid out by itself and then stands as one block in the
layout of its parent, so that frames never overlap. Ranks are topological generations, the order
in a rank follows barycentres, and coordinates are the least-squares ones that keep order and
distances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

from tracer_render import style
from tracer_render.picture import LEAVES, Box, Cluster, Line, Picture
from tracer_render.placement import Path, Placement, Point, Rectangle, beside, pair_lines

GAP = 18.0
PAIR_GAP = 16.0
RANK_GAP = 26.0
MARGIN = 10.0
TITLE = 16.0
SWEEPS = 4
#: Long edges get places to pass between boxes, up to this many for each block of a module.
PASSES = 4
PORT_GAP = 14.0
#: Beside a box, for a line that comes from itself at another step.
LOOP = 20.0
#: A line is not led around what is no higher than this.
SLACK = 4.0

#: What stands in a rank: a box or pair (its identifier), a module (its path), or a place where a
#: line passes, enters the module from above or leaves it below.
Name = str | Path | tuple[object, ...]
#: Upper and lower block, and the lane: 0 for data, which flow down, 1 for what flows up.
Edge = tuple[Name, Name, int]


def layered(picture: Picture) -> Placement:
    """Place a picture so that neither boxes nor frames overlap."""
    levels = _Levels(picture)
    part = _place(picture.root, levels)
    placement = Placement(part.boxes, part.frames, pairs=pair_lines(picture, part.boxes))
    _draw(picture.lines, levels, part, placement)
    return placement


class _Levels:
    """For each module, the edges between the blocks that stand directly in it.

    A line that crosses a module's frame enters or leaves the module through a place of its own,
    so that there is a way for it between the boxes inside.
    """

    def __init__(self, picture: Picture):
        kinds = {box.id: box.kind for box in picture.boxes}
        self.pairs = {a: b for a, b in picture.pairs.items() if kinds[a] not in LEAVES}
        self.first = {cotangent: value for value, cotangent in self.pairs.items()}
        self.scope = {box.id: box.scope for box in picture.boxes}
        #: box -> room on its right for a line from itself
        self.room: dict[str, float] = {}
        self.edges: dict[Path, dict[Edge, None]] = {}
        for line in picture.lines:
            if line.tail == line.head:
                self.room[line.tail] = LOOP + style.text_width(line.label, style.LABEL_SIZE)
            if not line.delayed:
                for scope, edge in self.way(line):
                    self.edges.setdefault(scope, {})[edge] = None

    def way(self, line: Line) -> list[tuple[Path, Edge]]:
        """The edges that a line follows downwards: out of modules, across, and into modules."""
        upper, lower = line.ranked
        above, below = self.scope[upper], self.scope[lower]
        lane = int(line.reverse)
        level = 0
        while level < min(len(above), len(below)) and above[level] == below[level]:
            level += 1
        ends = self._block(upper, level), self._block(lower, level)
        if ends[0] == ends[1]:
            return []
        way: list[tuple[Path, Edge]] = []
        for depth in range(len(above), level, -1):
            block = self._block(upper, depth)
            way.append((above[:depth], (block, ("out", block, lane), lane)))
        way.append((above[:level], (*ends, lane)))
        for depth in range(level + 1, len(below) + 1):
            block = self._block(lower, depth)
            way.append((below[:depth], (("in", block, lane), block, lane)))
        return way

    def _block(self, box: str, level: int) -> Name:
        scope = self.scope[box]
        return scope[: level + 1] if len(scope) > level else self.first.get(box, box)


@dataclass(slots=True)
class _Part:
    """Something that is laid out, its top left corner at the origin.

    `tops` and `bottoms` say where the lines of a lane enter and leave, where that is known.
    `spans` says, by block, from where to where the rank is that it stands in, and `reach` how far
    on the right its blocks need room.
    """

    width: float = 0.0
    height: float = 0.0
    boxes: dict[str, Rectangle] = field(default_factory=dict)
    frames: dict[Path, Rectangle] = field(default_factory=dict)
    routes: dict[tuple[Path, Edge], list[Point]] = field(default_factory=dict)
    tops: dict[int, float] = field(default_factory=dict)
    bottoms: dict[int, float] = field(default_factory=dict)
    spans: dict[Name, tuple[float, float]] = field(default_factory=dict)
    reach: float = -math.inf

    def take(self, other: _Part, x: float, y: float) -> None:
        """Hold another part, moved by x and y."""
        for name, r in other.boxes.items():
            self.boxes[name] = Rectangle(r.x + x, r.y + y, r.width, r.height)
        for path, r in other.frames.items():
            self.frames[path] = Rectangle(r.x + x, r.y + y, r.width, r.height)
        for route, points in other.routes.items():
            self.routes[route] = [(a + x, b + y) for a, b in points]
        for block, (top, bottom) in other.spans.items():
            self.spans[block] = top + y, bottom + y

    def top(self, lane: int) -> float:
        """Where the lane enters, from the middle."""
        return self.tops.get(lane, self.width / 2) - self.width / 2

    def bottom(self, lane: int) -> float:
        """Where the lane leaves, from the middle."""
        return self.bottoms.get(lane, self.width / 2) - self.width / 2


_POINT = _Part()


def _place(cluster: Cluster, levels: _Levels) -> _Part:
    """Lay out a module: its boxes, the modules in it and the lines between these."""
    parts: dict[Name, _Part] = {child.path: _place(child, levels) for child in cluster.clusters}
    boxes = {box.id: box for box in cluster.boxes}
    for box in cluster.boxes:
        if box.id not in levels.first:
            parts[box.id] = _block(box, boxes.get(levels.pairs.get(box.id, "")), levels.room)

    edges = list(levels.edges.get(cluster.path, ()))
    ranks, light = _ranks(list(parts), edges)
    segments, routes = _split(edges, ranks, PASSES * len(parts))
    steps = {child.path for child in cluster.clusters if child.loop is not None}
    spine = _spine(parts, ranks, edges)
    skips = {edge: passes for edge, passes in routes.items() if spine >= {edge[0], edge[1]}}
    if levels.pairs:
        spine, skips = set(), {}  # two columns in one: lines of both lanes pass on either side
    heights = _heights(parts, ranks)
    centres = _coordinates(parts, ranks, segments, light, steps, spine, skips)

    whole = _Part()
    for name, part in parts.items():
        x, y = centres[name]
        whole.take(part, x - part.width / 2, y - part.height / 2)
        whole.reach = max(whole.reach, x + part.width / 2)
        whole.spans[name] = y - heights[ranks[name]] / 2, y + heights[ranks[name]] / 2
    for edge, passes in routes.items():
        points = ((centres[name], heights[ranks[name]] / 2) for name in passes)
        whole.routes[cluster.path, edge] = [
            (x, y + half) for (x, y), height in points for half in (-height, height)
        ]
    for way, lanes in (("in", whole.tops), ("out", whole.bottoms)):
        for lane in (0, 1):
            at = [centres[n][0] for n in ranks if n[0] == way and n[-1] == lane and n not in parts]
            if at:
                lanes[lane] = sum(at) / len(at)
    return _framed(cluster, whole)


def _block(box: Box, partner: Box | None, room: Mapping[str, float]) -> _Part:
    """A box, or a value and its cotangent side by side, as one block; `room` is on their right."""
    row = [box] if partner is None else [box, partner]
    part = _Part(-PAIR_GAP, max(member.size[1] for member in row))
    for lane, member in enumerate(row):
        width, height = member.size
        left = part.width + PAIR_GAP
        part.boxes[member.id] = Rectangle(left + width / 2, part.height / 2, width, height)
        part.tops[lane] = part.bottoms[lane] = left + width / 2
        part.width = left + width + room.get(member.id, 0.0)
    return part


def _framed(cluster: Cluster, whole: _Part) -> _Part:
    """The part with its frame and title around it, moved to the origin."""
    points = [point for route in whole.routes.values() for point in route]
    content = Placement(whole.boxes, whole.frames, curves=[points] if points else [])
    left, top, right, bottom = content.extent()
    right = max(right, whole.reach)
    if not cluster.path:
        framed = _Part(right - left, bottom - top)
        framed.take(whole, -left, -top)
        return framed
    titled = style.text_width(cluster.title, style.NOTE_SIZE) + 2 * MARGIN
    width, height = max(right - left + 2 * MARGIN, titled), bottom - top + 2 * MARGIN + TITLE
    framed = _Part(width, height)
    framed.frames[cluster.path] = Rectangle(width / 2, height / 2, width, height)
    shift = (width - right - left) / 2
    framed.take(whole, shift, MARGIN + TITLE - top)
    framed.tops = {lane: x + shift for lane, x in whole.tops.items()}
    framed.bottoms = {lane: x + shift for lane, x in whole.bottoms.items()}
    return framed


def _ranks(names: Sequence[Name], edges: Iterable[Edge]) -> tuple[dict[Name, int], set[Name]]:
    """Name -> rank: every edge points downwards, but for those that close a cycle.

    And the light ones, for which the lines of others do not bend: those that only join what took
    more steps to compute, or only serve light ones.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((above, below) for above, below, _ in edges)
    if not nx.is_directed_acyclic_graph(graph):
        place = {name: index for index, name in enumerate(names)}
        for component in list(nx.strongly_connected_components(graph)):
            if len(component) > 1:
                inner = list(graph.subgraph(component).edges)
                graph.remove_edges_from([(a, b) for a, b in inner if place[a] > place[b]])

    ranks: dict[Name, int] = {}
    for rank, generation in enumerate(nx.topological_generations(graph)):
        ranks.update(dict.fromkeys(generation, rank))
    order = sorted(ranks, key=ranks.__getitem__)
    latest = {n: max((ranks[above] for above in graph.pred[n]), default=0) for n in ranks}
    light: set[Name] = set()
    for name in reversed(order):
        below = graph.succ[name]
        if below and all(ranks[name] < latest[other] or other in light for other in below):
            light.add(name)
    trees: set[Name] = set()
    held: dict[Name, int] = {}
    for name in order:
        held[name] = sum(other not in trees for other in graph.pred[name])
        if not held[name] and len(graph.succ[name]) == 1:
            trees.add(name)
    # Move down what shortens lines, and with it the trees above.
    for name in reversed(order):
        below = graph.succ[name]
        if below and held[name] <= len(below):
            ranks[name] = min(ranks[other] for other in below) - 1
    top, bottom = min(ranks.values(), default=0) - 1, max(ranks.values(), default=0) + 1
    present = set(names)
    for name in order:
        if name not in present:
            ranks[name] = top if name[0] == "in" else bottom
    used = {rank: index for index, rank in enumerate(sorted(set(ranks.values())))}
    return {name: used[ranks[name]] for name in ranks}, light


def _split(
    edges: Iterable[Edge], ranks: dict[Name, int], allowed: int
) -> tuple[list[Edge], dict[Edge, list[Name]]]:
    """Edges between neighbouring ranks, and the passes of each longer one, added to `ranks`."""
    segments: list[Edge] = []
    routes: dict[Edge, list[Name]] = {}
    downward = [edge for edge in edges if ranks[edge[0]] < ranks[edge[1]]]
    for edge in sorted(downward, key=lambda edge: ranks[edge[1]] - ranks[edge[0]]):
        above, below, lane = edge
        between = range(ranks[above] + 1, ranks[below])
        if len(between) > allowed:
            break
        allowed -= len(between)
        passes: list[Name] = [("pass", *edge, rank) for rank in between]
        if passes:
            routes[edge] = passes
            ranks.update(zip(passes, between, strict=True))
        segments += [(a, b, lane) for a, b in pairwise([above, *passes, below])]
    return segments, routes


#: A neighbour, how far to the right of it one wants to be, and how much.
Pull = tuple[Name, float, float]
Neighbours = Mapping[Name, Sequence[Pull]]


def _coordinates(
    parts: Mapping[Name, _Part],
    ranks: Mapping[Name, int],
    segments: Iterable[Edge],
    light: set[Name],
    steps: set[Path],
    spine: set[Name],
    skips: Mapping[Edge, Sequence[Name]],
) -> dict[Name, Point]:
    """Name -> centre of everything that stands in a rank; steps of a loop make a column.

    The spine runs straight down, and the lines that skip some of it pass on its left, the longer
    ones further out.
    """
    rows: list[list[Name]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for name, rank in ranks.items():
        rows[rank].append(name)
    above: dict[Name, list[Pull]] = {name: [] for name in ranks}
    below: dict[Name, list[Pull]] = {name: [] for name in ranks}
    weights = dict.fromkeys(ranks, 4.0) | dict.fromkeys(parts, 1.0)
    weights |= dict.fromkeys(light & parts.keys(), 0.01)
    weights |= dict.fromkeys(spine, 1e4)
    outside = {name: -1e6 - len(passes) for passes in skips.values() for name in passes}
    for upper, lower, lane in segments:
        shift = parts.get(upper, _POINT).bottom(lane) - parts.get(lower, _POINT).top(lane)
        shift = 0.0 if upper in steps or lower in steps else shift
        above[lower].append((upper, shift, weights[upper]))
        below[upper].append((lower, -shift, weights[lower]))

    widths = {name: parts.get(name, _POINT).width for name in ranks}
    x: dict[Name, float] = {}
    for row in rows:
        _pack(row, widths, x)
    for neighbours, order in _sweeps(rows, above, below):
        for row in order:
            wish = {name: _wanted(neighbours[name], x, x[name]) for name in row}
            row.sort(key=(wish | {n: outside[n] for n in row if n in outside}).__getitem__)
            _pack(row, widths, x)
    for neighbours, order in _sweeps(rows, above, below):
        for row in order:
            wanted = [_wanted(neighbours[name], x, x[name]) for name in row]
            sizes, heavy = [widths[n] for n in row], [weights[n] for n in row]
            x.update(zip(row, _spread(wanted, sizes, heavy), strict=True))

    _straighten(skips, x)
    centres: dict[Name, Point] = {}
    top = 0.0
    for row, height in zip(rows, _heights(parts, ranks), strict=True):
        centres.update((name, (x[name], top + height / 2)) for name in row)
        top += height + RANK_GAP if height else 0.0
    return centres


def _heights(parts: Mapping[Name, _Part], ranks: Mapping[Name, int]) -> list[float]:
    """The height of each rank."""
    heights = [0.0] * (max(ranks.values(), default=-1) + 1)
    for name, part in parts.items():
        heights[ranks[name]] = max(heights[ranks[name]], part.height)
    return heights


def _spine(
    parts: Mapping[Name, _Part], ranks: Mapping[Name, int], edges: Iterable[Edge]
) -> set[Name]:
    """The way down through a module that passes most boxes."""
    above: dict[Name, list[Name]] = {}
    for upper, lower, _ in edges:
        if ranks[upper] < ranks[lower]:
            above.setdefault(lower, []).append(upper)
    best: dict[Name, tuple[int, Name | None]] = {}
    for name in sorted(ranks, key=ranks.__getitem__):
        before = max(above.get(name, ()), key=lambda n: best[n][0], default=None)
        boxes = len(parts[name].boxes) if name in parts else 0
        best[name] = (boxes + (best[before][0] if before is not None else 0), before)
    spine: set[Name] = set()
    at: Name | None = max(best, key=lambda n: best[n][0], default=None)
    while at is not None:
        spine.add(at)
        at = best[at][1]
    return spine


def _straighten(skips: Mapping[Edge, Sequence[Name]], x: dict[Name, float]) -> None:
    """One column for each line that skips, left of those that skip less beside it."""
    columns: list[tuple[set[object], float]] = []
    for passes in sorted(skips.values(), key=len):
        levels = {name[-1] for name in passes}
        left = min(x[name] for name in passes)
        for others, column in columns:
            if levels & others:
                left = min(left, column - GAP)
        columns.append((levels, left))
        x.update(dict.fromkeys(passes, left))


def _sweeps(
    rows: list[list[Name]], above: Neighbours, below: Neighbours
) -> Iterable[tuple[Neighbours, list[list[Name]]]]:
    """Down along the neighbours above, up along those below, and so on."""
    for _ in range(SWEEPS):
        yield above, rows
        yield below, rows[::-1]


def _pack(row: Sequence[Name], widths: Mapping[Name, float], x: dict[Name, float]) -> None:
    """Put a row's blocks side by side, the row's middle at 0."""
    left = -(sum(widths[name] for name in row) + GAP * (len(row) - 1)) / 2
    for name in row:
        x[name] = left + widths[name] / 2
        left += widths[name] + GAP


def _wanted(neighbours: Sequence[Pull], x: Mapping[Name, float], otherwise: float) -> float:
    if not neighbours:
        return otherwise
    total = sum(weight for _, _, weight in neighbours)
    return sum((x[name] + shift) * weight for name, shift, weight in neighbours) / total


def _spread(
    wanted: Sequence[float], widths: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """The centres nearest to the wanted ones, in least squares, that keep order and distance.

    Less the distances from the row's beginning, this is isotonic regression, which pooling
    adjacent violators solves in one pass.
    """
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP)
    pools: list[tuple[float, float, int]] = []
    for value, offset, weight in zip(wanted, offsets, weights, strict=True):
        mean, total, count = value - offset, weight, 1
        while pools and pools[-1][0] > mean:
            other, other_total, other_count = pools.pop()
            mean = (mean * total + other * other_total) / (total + other_total)
            total, count = total + other_total, count + other_count
        pools.append((mean, total, count))
    flat = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]


def _draw(lines: Sequence[Line], levels: _Levels, part: _Part, placement: Placement) -> None:
    """Curves and labels of all lines, their ends spread along the boxes' sides."""
    routes = []
    for line in lines:
        way = [] if line.delayed else levels.way(line)
        routes.append([point for step in way for point in part.routes.get(step, ())])
    starts = _ports(lines, routes, placement.boxes, lambda line: line.ranked)
    ends = _ports(lines, routes, placement.boxes, lambda line: line.ranked[::-1])
    for index, line in enumerate(lines):
        upper, lower = (placement.boxes[name] for name in line.ranked)
        start = upper.x + starts[index], upper.y + upper.height / 2
        end = lower.x + ends[index], lower.y - lower.height / 2
        if start[1] < end[1]:
            way = [] if line.delayed else levels.way(line)
            curve, label = _falling(_through_ranks(start, end, way, part))
        else:
            curve, label = _around(upper, lower)
        placement.curves.append(curve[::-1] if line.reverse else curve)
        placement.labels.append(beside(line, label))


def _through_ranks(
    start: Point, end: Point, way: Sequence[tuple[Path, Edge]], part: _Part
) -> list[Point]:
    """The points of a line from top to bottom.

    It leaves the rank of a block straight down, and comes straight down into that of another one:
    beside a low block may stand a high one.
    """
    points = [start]
    heads: list[int] = []  # of which the next point says how far to the right they are
    for step in way:
        _, (upper, lower, _) = step
        foot = part.spans.get(upper, (0.0, points[-1][1]))[1]
        if foot > points[-1][1] + SLACK:
            points.append((points[-1][0], foot))
        points += part.routes.get(step, ())
        if lower in part.spans:
            heads.append(len(points))
            points.append((end[0], part.spans[lower][0]))
    points.append(end)
    for index in reversed(heads):
        (x, below), (_, y) = points[index + 1], points[index]
        if below > y + SLACK and y > points[index - 1][1]:
            points[index] = x, y
        else:
            del points[index]
    return points


def _ports(
    lines: Sequence[Line],
    routes: Sequence[Sequence[Point]],
    boxes: Mapping[str, Rectangle],
    ends: Callable[[Line], tuple[str, str]],
) -> list[float]:
    """How far from the middle of its box each line ends, ordered by where it goes."""
    sides: dict[str, list[tuple[float, int]]] = {}
    for index, line in enumerate(lines):
        here, there = ends(line)
        route = routes[index]
        near = (route[0] if here == line.ranked[0] else route[-1]) if route else None
        sides.setdefault(here, []).append((near[0] if near else boxes[there].x, index))
    offsets = [0.0] * len(lines)
    for name, side in sides.items():
        gap = min(PORT_GAP, 0.7 * boxes[name].width / len(side))
        ordered = sorted(side)
        # What goes straight on leaves from the middle.
        middle: float = min(range(len(ordered)), key=lambda n: abs(ordered[n][0] - boxes[name].x))
        if abs(ordered[int(middle)][0] - boxes[name].x) > gap:
            middle = (len(ordered) - 1) / 2
        for place, (_, index) in enumerate(ordered):
            offsets[index] = gap * (place - middle)
    return offsets


def _falling(points: Sequence[Point]) -> tuple[list[Point], Point]:
    """A curve through points from top to bottom, vertical in each, and its label's place."""
    curve = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        curve += [(x0, middle), (x1, middle), (x1, y1)]
    return curve, ((points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2)


def _around(tail: Rectangle, head: Rectangle) -> tuple[list[Point], Point]:
    """A curve beside the boxes, for an edge that closes a cycle."""
    start = tail.x + tail.width / 2, tail.y
    end = head.x + head.width / 2, head.y + min(6.0, head.height / 4)
    out = max(start[0], end[0]) + 24.0 + 0.12 * abs(start[1] - end[1])
    return [start, (out, start[1]), (out, end[1]), end], (out - 8.0, (start[1] + end[1]) / 2)
