"""A long picture in several columns, as text is set: a single spine would be a hairline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tracer_render.picture import Cluster, Picture
from tracer_render.placement import Placement, Point, Rectangle, pair_lines

#: A picture that is higher than this many times its width is set in columns,
ASPECT = 3.0
#: which together are about so many times as high as wide.
WANTED = 1.5
MOST = 4
#: No more lines than this lead from one column to the next; else there is one column.
MOST_LINES = 4
#: Between columns, above and below them, for the lines that lead from one to the next.
GUTTER = 46.0
TRACK = 8.0
#: Room for the title of a frame that goes on in another column.
TITLE = 26.0
#: Pictures with more boxes than this are left in one column.
LARGEST = 200


def in_columns(picture: Picture, placement: Placement) -> Placement:
    """The placement in as many columns as make its sides alike; as it is where that is not long."""
    left, top, right, bottom = placement.extent()
    width, height = right - left, bottom - top
    if height <= ASPECT * width or len(picture.boxes) > LARGEST or _has_steps(picture.root):
        return placement
    count = min(MOST, max(2, round(math.sqrt(height / width / WANTED))))
    cuts = _cuts(placement, [top + height * n / count for n in range(1, count)])
    if not cuts:
        return placement
    columns = _Columns(placement, cuts)
    made = Placement(boxes={name: columns.moved(r) for name, r in placement.boxes.items()})
    frames = [(path, "", r) for path, r in placement.frames.items()]
    for path, form, r in [*frames, *placement.others]:
        for number, piece in enumerate(columns.pieces(r)):
            if not number and not form:
                made.frames[path] = piece
            else:
                made.others.append((path, (form or "{}") + ", continued" * (number > 0), piece))
    made.curves = columns.lines(placement.curves)
    made.labels = [label and columns.point(label) for label in placement.labels]
    made.pairs = pair_lines(picture, made.boxes)
    return made


def _has_steps(cluster: Cluster) -> bool:
    """Whether steps of a loop stand below one another, which are read down one column."""
    return cluster.loop is not None or any(map(_has_steps, cluster.clusters))


def _cuts(placement: Placement, wanted: Sequence[float]) -> list[float]:
    """Heights between boxes where few lines and frames are cut, near those that are wanted."""
    spans = sorted((r.y - r.height / 2, r.y + r.height / 2) for r in placement.boxes.values())
    gaps, reached = [], spans[0][1]
    for start, end in spans:
        if start - reached > 12:
            gaps.append((reached + start) / 2)
        reached = max(reached, end)
    crossing = {gap: sum(_crosses(curve, gap) for curve in placement.curves) for gap in gaps}
    frames = placement.frames.values()
    inside = {gap: sum(abs(gap - r.y) < r.height / 2 for r in frames) for gap in gaps}
    height = reached - spans[0][0]
    cuts: set[float] = set()
    for goal in wanted:
        costs = {
            gap: crossing[gap] + 4 * inside[gap] + 40 * abs(gap - goal) / height for gap in gaps
        }
        best = min(costs, key=costs.__getitem__, default=None)
        if best is None or crossing[best] > MOST_LINES:
            return []
        cuts.add(best)
    return sorted(cuts)


def _crosses(curve: Sequence[Point], y: float) -> bool:
    return min(curve[0][1], curve[-1][1]) < y < max(curve[0][1], curve[-1][1])


class _Columns:
    """Where each column of a placement goes."""

    def __init__(self, placement: Placement, cuts: Sequence[float]):
        left, top, right, bottom = placement.extent()
        self._left, self._top = left, top
        self._bounds = list(pairwise([top - 1, *cuts, bottom + 1]))
        self._tracks = max(
            (sum(_crosses(curve, cut) for curve in placement.curves) for cut in cuts), default=0
        )
        self._step = right - left + GUTTER + TRACK * self._tracks
        self._boxes = list(placement.boxes.values())
        #: where each column's first box begins, and its last one ends
        self._ends = [self._extent(bounds) for bounds in self._bounds]
        highest = max(end - start for start, end in self._ends)
        self._low = top + TITLE + highest

    def _extent(self, bounds: tuple[float, float]) -> tuple[float, float]:
        inside = [r for r in self._boxes if bounds[0] < r.y < bounds[1]]
        return (
            min(r.y - r.height / 2 for r in inside), max(r.y + r.height / 2 for r in inside)
        )  # fmt: skip

    def _number(self, y: float) -> int:
        return next((n for n, (_, end) in enumerate(self._bounds) if y < end), -1)

    def _shift(self, number: int) -> Point:
        number %= len(self._bounds)
        start = self._ends[number][0] - TITLE if number else self._top
        return number * self._step, self._top - start

    def point(self, point: Point) -> Point:
        """Where a point goes, with its column."""
        return self._at(point, self._number(point[1]))

    def _at(self, point: Point, number: int) -> Point:
        x, y = self._shift(number)
        return point[0] + x, point[1] + y

    def moved(self, r: Rectangle) -> Rectangle:
        """Where a box goes."""
        return Rectangle(*self.point((r.x, r.y)), r.width, r.height)

    def pieces(self, r: Rectangle) -> Iterable[Rectangle]:
        """A frame, cut where a column ends; a part without boxes is left out."""
        top, bottom = r.y - r.height / 2, r.y + r.height / 2
        for number, (start, end) in enumerate(self._bounds):
            inside = [
                b
                for b in self._boxes
                if start < b.y < end and top < b.y < bottom and abs(b.x - r.x) < r.width / 2
            ]
            if not inside:
                continue
            first = min(b.y - b.height / 2 for b in inside)
            last = max(b.y + b.height / 2 for b in inside)
            high = top if top > start else first - TITLE + 2
            low = bottom if bottom < end else last + 8
            x, y = self._at((r.x, (high + low) / 2), number)
            yield Rectangle(x, y, r.width, low - high)

    def lines(self, curves: Sequence[list[Point]]) -> list[list[Point]]:
        """The curves, through the gutter where they lead from one column to another."""
        made = []
        crossing: dict[int, list[tuple[float, int]]] = {}
        halves: dict[int, list[list[Point]]] = {}
        for index, curve in enumerate(curves):
            downward = curve if curve[0][1] <= curve[-1][1] else curve[::-1]
            first, last = self._number(downward[0][1]), self._number(downward[-1][1])
            parts = [downward]
            for number in range(first, last):
                upper, lower = _split(parts.pop(), self._bounds[number][1])
                parts += [upper, lower]
                crossing.setdefault(number, []).append((lower[0][0], index))
            halves[index] = [
                [self._at(point, first + n) for point in part] for n, part in enumerate(parts)
            ]
        order = {
            (number, index): (place, len(row))
            for number, row in crossing.items()
            for place, (_, index) in enumerate(sorted(row, reverse=True))
        }
        for index, curve in enumerate(curves):
            number = self._number(min(curve[0][1], curve[-1][1]))
            whole, *rest = halves[index]
            for part in rest:
                whole = [*whole, *self._around(whole[-1], part[0], number, *order[number, index])]
                whole += part[1:]
                number += 1
            made.append(whole if curve[0][1] <= curve[-1][1] else whole[::-1])
        return made

    def _around(self, start: Point, end: Point, number: int, place: int, count: int) -> list[Point]:
        """The way from the foot of one column to the head of the next; the inner ones are first."""
        gutter = self._left + (number + 1) * self._step - GUTTER / 2 - TRACK * (count - 1 - place)
        low = self._low + TRACK * (place + 1)
        high = self._top - TRACK * (count - place)
        corners = [start, (start[0], low), (gutter, low), (gutter, high), (end[0], high), end]
        return [point for a, b in pairwise(corners) for point in (a, b, b)]


def _split(curve: list[Point], y: float) -> tuple[list[Point], list[Point]]:
    """A curve that runs down, in two where it passes a height."""
    segments = (len(curve) - 1) // 3
    index = next((n for n in range(segments) if curve[3 * n + 3][1] >= y), segments - 1)
    points = curve[3 * index : 3 * index + 4]
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if _halves(points, middle)[0][-1][1] < y:
            low = middle
        else:
            high = middle
    upper, lower = _halves(points, low)
    return [*curve[: 3 * index], *upper], [*lower, *curve[3 * index + 4 :]]


def _halves(points: Sequence[Point], t: float) -> tuple[list[Point], list[Point]]:
    """A Bézier segment in two, by de Casteljau's construction."""
    upper, lower, level = [points[0]], [points[-1]], list(points)
    while len(level) > 1:
        level = [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for a, b in pairwise(level)]
        upper.append(level[0])
        lower.append(level[-1])
    return upper, lower[::-1]
