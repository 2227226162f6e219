"""Where everything of a picture is: what every layout gives, and what writers draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tracer_render import style
from tracer_render.picture import LEAVES, Line, Picture

LABEL_ROOM = 24.0
#: In larger pictures it is not looked for what stands between two boxes.
LARGEST = 400

Point = tuple[float, float]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """An upright rectangle by its centre and size, in points; y grows downwards."""

    x: float
    y: float
    width: float
    height: float


def onto_outline(point: Point, box: Rectangle, radius: float) -> Point:
    """A point on the sides of a box, or where it is at a round corner, on its arc."""
    beside, above = box.width / 2 - radius, box.height / 2 - radius
    dx, dy = point[0] - box.x, point[1] - box.y
    if not radius or abs(dx) <= beside or abs(dy) <= above:
        return point
    x, y = box.x + math.copysign(beside, dx), box.y + math.copysign(above, dy)
    part = radius / math.dist((x, y), point)
    return x + (point[0] - x) * part, y + (point[1] - y) * part


def halves(points: Sequence[Point], t: float) -> tuple[list[Point], list[Point]]:
    """A Bézier segment in two, by de Casteljau's construction."""
    upper, lower, level = [points[0]], [points[-1]], list(points)
    while len(level) > 1:
        level = [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for a, b in pairwise(level)]
        upper.append(level[0])
        lower.append(level[-1])
    return upper, lower[::-1]


def up_to_outline(curve: list[Point], box: Rectangle) -> list[Point]:
    """A curve that ends inside of a box, up to where its last segment comes in."""

    def inside(point: Point) -> bool:
        x, y = abs(point[0] - box.x), abs(point[1] - box.y)
        return x < box.width / 2 - 0.5 and y < box.height / 2 - 0.5

    points = curve[-4:]
    if not inside(points[-1]) or inside(points[0]):
        return curve
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if inside(halves(points, middle)[0][-1]):
            high = middle
        else:
            low = middle
    return [*curve[:-4], *halves(points, low)[0]]


@dataclass(slots=True)
class Placement:
    """Boxes by identifier, frames by module path, and per line its curve and its label's place.

    `others` are more frames of modules, with the form of their title, such as "∇ {}": around their
    cotangents where these stand apart, and in further columns.

    A curve is a start point and three points for each cubic Bézier segment, from tail to head.
    """

    boxes: dict[str, Rectangle] = field(default_factory=dict)
    frames: dict[Path, Rectangle] = field(default_factory=dict)
    others: list[tuple[Path, str, Rectangle]] = field(default_factory=list)
    curves: list[list[Point]] = field(default_factory=list)
    labels: list[Point | None] = field(default_factory=list)
    pairs: list[tuple[Point, Point]] = field(default_factory=list)

    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all that is placed."""
        corners = [point for curve in self.curves for point in curve]
        for x, y in filter(None, self.labels):
            corners += [(x - LABEL_ROOM, y), (x + LABEL_ROOM, y)]
        for r in [*self.boxes.values(), *self.frames.values(), *(r for *_, r in self.others)]:
            corners.append((r.x - r.width / 2, r.y - r.height / 2))
            corners.append((r.x + r.width / 2, r.y + r.height / 2))
        if not corners:
            return 0.0, 0.0, 0.0, 0.0
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def pair_lines(picture: Picture, boxes: Mapping[str, Rectangle]) -> list[tuple[Point, Point]]:
    """The rungs of the ladder: lines between the boxes of a result and its cotangent.

    Those that stand apart, with other boxes between them, are left without.
    """
    rungs = []
    results = {box.id for box in picture.boxes if box.kind not in LEAVES}
    for value, cotangent in picture.pairs.items():
        if value not in results:
            continue
        left, right = sorted((boxes[value], boxes[cotangent]), key=lambda r: r.x)
        if len(boxes) <= LARGEST and any(
            left.x < r.x < right.x and abs(r.y - left.y) < r.height / 2 + 2 for r in boxes.values()
        ):
            continue
        rungs.append(((left.x + left.width / 2, left.y), (right.x - right.width / 2, right.y)))
    return rungs


def beside(line: Line, point: Point) -> Point | None:
    """The middle of a line's label that stands to the right of a point of its curve."""
    if not line.label:
        return None
    return point[0] + style.text_width(line.label, style.LABEL_SIZE) / 2 + 2.0, point[1]
