"""A long picture in several columns, as text is set: a single spine would be a hairline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from tracer_render.picture import Cluster, Picture
from tracer_render.placement import Placement, Point, Rectangle, halves, pair_lines

#: top and bottom
Span: TypeAlias = tuple[float, float]

#: A picture that is higher than this many times its width is set in columns,
ASPECT = 3.0
#: which together are about so many times as high as wide.
WANTED = 1.5
MOST = 4
#: No more lines than this lead from one column to the next; else there is one column.
MOST_LINES = 4
#: What a cut through a frame costs, in lines that are cut.
FRAME = 4.0
#: What a column of twice the mean height costs, in lines that are cut.
UNEVEN = 50.0
#: No column is higher than this part of the whole; else there is one column,
TALLEST = 0.8
#: and not this one's of a picture that is less than so many times as high as wide: it is better
#: a little too long than cut unevenly through the long lines of a U-Net.
EVEN, LONG = 0.6, 4.0
#: Between columns, above and below them, for the lines that lead from one to the next.
GUTTER = 46.0
TRACK = 8.0
#: Room for the title of a frame that goes on in another column.
TITLE = 26.0
#: Between the foot of a frame that goes on and what is in it.
MARGIN = 8.0
#: Pictures with more boxes than this are left in one column.
LARGEST = 200


def in_columns(picture: Picture, placement: Placement) -> Placement:
    """The placement in as many columns as make its sides alike; as it is where that is not long."""
    left, top, right, bottom = placement.extent()
    width, height = right - left, bottom - top
    if height <= ASPECT * width or len(picture.boxes) > LARGEST or _has_steps(picture.root):
        return placement
    count = min(MOST, max(2, round(math.sqrt(height / width / WANTED))))
    cuts = _cuts(placement, count, TALLEST if height > LONG * width else EVEN)
    if not cuts:
        return placement
    frames = [*placement.frames.values(), *(r for _, _, r in placement.others)]
    columns = _Columns(placement, cuts, frames)
    made = Placement(boxes={name: columns.moved(r) for name, r in placement.boxes.items()})
    titled = [(path, "") for path in placement.frames]
    titled += [(path, form) for path, form, _ in placement.others]
    for (path, form), pieces in zip(titled, columns.pieces, strict=True):
        for number, piece in enumerate(pieces):
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


def _cuts(placement: Placement, count: int, tallest: float) -> list[float]:
    """Heights between boxes that part them in so many columns, none where there are no such.

    The columns are about equally high, at most this part of the whole, and few lines and frames are
    cut.
    """
    spans = sorted((r.y - r.height / 2, r.y + r.height / 2) for r in placement.boxes.values())
    gaps, reached = [], spans[0][1]
    for start, end in spans:
        if start - reached > 12:
            gaps.append((reached + start) / 2)
        reached = max(reached, end)
    frames = placement.frames.values()
    costs: dict[float, float] = {}
    for gap in gaps:
        crossing = sum(_crosses(curve, gap) for curve in placement.curves)
        if crossing <= MOST_LINES:
            costs[gap] = crossing + FRAME * sum(abs(gap - r.y) < r.height / 2 for r in frames)
    cuts = _evenly(costs, spans[0][0], reached, count)
    heights = [b - a for a, b in pairwise([spans[0][0], *cuts, reached])]
    return cuts if max(heights) < tallest * (reached - spans[0][0]) else []


def _evenly(costs: Mapping[float, float], top: float, bottom: float, count: int) -> list[float]:
    """The cuts into so many columns that cost least, with what the columns' heights cost.

    By the end of a column, the least cost up to there and the cuts of it: dynamic programming.
    """
    mean = (bottom - top) / count
    best: dict[float, tuple[float, list[float]]] = {top: (0.0, [])}
    for ends in [costs] * (count - 1) + [{bottom: 0.0}]:
        longer: dict[float, tuple[float, list[float]]] = {}
        for end, cost in ends.items():
            ways = [
                (known + cost + UNEVEN * ((end - start) / mean - 1) ** 2, [*cuts, end])
                for start, (known, cuts) in best.items()
                if start < end
            ]
            if ways:
                longer[end] = min(ways)
        best = longer
    return best[bottom][1][:-1] if bottom in best else []


def _crosses(curve: Sequence[Point], y: float) -> bool:
    return min(curve[0][1], curve[-1][1]) < y < max(curve[0][1], curve[-1][1])


def _extent(boxes: Sequence[Rectangle], bounds: Span, frames: Iterable[Span]) -> Span:
    """Where a column's boxes and frames begin, with room for a title, and where they end."""
    inside = [r for r in boxes if bounds[0] < r.y < bounds[1]]
    starts = [min(r.y - r.height / 2 for r in inside) - TITLE]
    ends = [max(r.y + r.height / 2 for r in inside)]
    for high, low in frames:
        starts.append(high - 2)
        ends.append(low)
    return min(starts), max(ends)


def _cut(frames: Sequence[Rectangle], boxes: Sequence[Rectangle], bounds: Span) -> dict[int, Span]:
    """Top and bottom in a column of each frame that has boxes there, by its number.

    Where the column cuts a frame, it ends around its boxes and the frames inside of it.
    """
    start, end = bounds
    found: dict[int, Span] = {}
    for index in sorted(range(len(frames)), key=lambda n: frames[n].width * frames[n].height):
        r = frames[index]
        top, bottom = r.y - r.height / 2, r.y + r.height / 2
        held = [b for b in boxes if start < b.y < end and _holds(r, b)]
        if not held:
            continue
        inner = [found[n] for n in found if _holds(r, frames[n])]
        first = min([b.y - b.height / 2 for b in held] + [high for high, _ in inner])
        last = max([b.y + b.height / 2 for b in held] + [low for _, low in inner])
        found[index] = (
            top if top > start else first - TITLE + 2,
            bottom if bottom < end else last + MARGIN,
        )
    return found


def _holds(outer: Rectangle, inner: Rectangle) -> bool:
    return abs(inner.x - outer.x) < outer.width / 2 and abs(inner.y - outer.y) < outer.height / 2


class _Columns:
    """Where each column of a placement goes."""

    def __init__(self, placement: Placement, cuts: Sequence[float], frames: Sequence[Rectangle]):
        left, top, right, bottom = placement.extent()
        self._left, self._top = left, top
        self._bounds = list(pairwise([top - 1, *cuts, bottom + 1]))
        self._tracks = max(
            (sum(_crosses(curve, cut) for curve in placement.curves) for cut in cuts), default=0
        )
        self._step = right - left + GUTTER + TRACK * self._tracks
        boxes = list(placement.boxes.values())
        spans = [_cut(frames, boxes, bounds) for bounds in self._bounds]
        #: where what each column shows begins, and ends
        self._ends = [
            _extent(boxes, bounds, cut.values())
            for bounds, cut in zip(self._bounds, spans, strict=True)
        ]
        self._ends[0] = top, self._ends[0][1]
        #: of each frame, its parts in the columns; a part without boxes is left out
        self.pieces = [
            [
                Rectangle(*self._at((r.x, (high + low) / 2), number), r.width, low - high)
                for number, cut in enumerate(spans)
                for high, low in [cut.get(index, (0.0, 0.0))]
                if index in cut
            ]
            for index, r in enumerate(frames)
        ]

    def _number(self, y: float) -> int:
        return next((n for n, (_, end) in enumerate(self._bounds) if y < end), -1)

    def _shift(self, number: int) -> Point:
        number %= len(self._bounds)
        return number * self._step, self._top - self._ends[number][0]

    def point(self, point: Point) -> Point:
        """Where a point goes, with its column."""
        return self._at(point, self._number(point[1]))

    def _at(self, point: Point, number: int) -> Point:
        x, y = self._shift(number)
        return point[0] + x, point[1] + y

    def moved(self, r: Rectangle) -> Rectangle:
        """Where a box goes."""
        return Rectangle(*self.point((r.x, r.y)), r.width, r.height)

    def lines(self, curves: Sequence[list[Point]]) -> list[list[Point]]:
        """The curves, through the gutter where they lead from one column to another."""
        made = []
        crossing: dict[int, list[tuple[float, int]]] = {}
        pieces: dict[int, list[list[Point]]] = {}
        for index, curve in enumerate(curves):
            downward = curve if curve[0][1] <= curve[-1][1] else curve[::-1]
            first, last = self._number(downward[0][1]), self._number(downward[-1][1])
            parts = [downward]
            for number in range(first, last):
                upper, lower = _split(parts.pop(), self._bounds[number][1])
                parts += [upper, lower]
                crossing.setdefault(number, []).append((lower[0][0], index))
            pieces[index] = [
                [self._at(point, first + n) for point in part] for n, part in enumerate(parts)
            ]
        order = {
            (number, index): (place, len(row))
            for number, row in crossing.items()
            for place, (_, index) in enumerate(sorted(row, reverse=True))
        }
        for index, curve in enumerate(curves):
            number = self._number(min(curve[0][1], curve[-1][1]))
            whole, *rest = pieces[index]
            begun = 0  # where the part in this column does
            for part in rest:
                place, count = order[number, index]
                # Each leaves at the foot of its own column, however high the others are.
                start_of, end_of = self._ends[number]
                low = self._top + end_of - start_of + TRACK * (place + 1)
                high = self._top - TRACK * (count - place)
                # The gap that is cut may be wider than what is left of it on either side.
                whole[begun:] = [(x, min(y, low)) for x, y in whole[begun:]]
                start, end = whole[-1], (part[0][0], max(part[0][1], high))
                inward = TRACK * (count - 1 - place)
                whole = [*whole, *self._around(start, end, number, inward, low, high)]
                begun = len(whole)
                whole += [(x, max(y, high)) for x, y in part[1:]]
                number += 1
            made.append(whole if curve[0][1] <= curve[-1][1] else whole[::-1])
        return made

    def _around(
        self, start: Point, end: Point, number: int, inward: float, low: float, high: float
    ) -> list[Point]:
        """The way from the foot of one column to the head of the next, at these heights."""
        gutter = self._left + (number + 1) * self._step - GUTTER / 2 - inward
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
        if halves(points, middle)[0][-1][1] < y:
            low = middle
        else:
            high = middle
    upper, lower = halves(points, low)
    return [*curve[: 3 * index], *upper], [*lower, *curve[3 * index + 4 :]]
