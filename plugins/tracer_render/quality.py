"""How legible a placed picture is, in numbers: what layouts are compared by, and tests hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracer_render.picture import Picture
from tracer_render.placement import Placement, Rectangle

#: Straight pieces that a Bézier segment is taken as.
PIECES = 8
#: So far a line may reach into a box, whose outline has round corners.
INSIDE = 2.5


@dataclass(frozen=True, slots=True)
class Quality:
    """What is counted of a picture.

    `crossings` of lines, lines `through` boxes and
    `overlaps` of boxes are faults, and so are lines through `foreign` frames, in which neither end
    is; the others are points, `sideways` of what lines end apart.
    """

    width: float
    height: float
    length: float
    sideways: float
    crossings: int
    through: int
    overlaps: int
    foreign: int

    @property
    def aspect(self) -> float:
        """Height by width."""
        return self.height / max(self.width, 1.0)

    @property
    def cost(self) -> float:
        """Smaller is better: a line through a box is worth five crossings, or 1,500 points.

        No other fault is worth a line through the frame of a module that it has nothing to do with.
        """
        elongated = max(self.aspect, 1 / max(self.aspect, 1e-9)) / 3
        return (
            1e4 * self.foreign
            + 50.0 * self.overlaps
            + 15.0 * self.through
            + 3.0 * self.crossings
            + self.length / 100.0
            + self.sideways / 12.0
            + (self.width + self.height) / 100.0
            + 10.0 * max(elongated - 1.0, 0.0)
        )


def measure(picture: Picture, placement: Placement) -> Quality:
    """Count what makes a picture hard to read."""
    left, top, right, bottom = placement.extent()
    traces = [trace(curve) for curve in placement.curves]
    ends = [{line.tail, line.head} for line in picture.lines]
    sideways = sum(abs(curve[0][0] - curve[-1][0]) for curve in placement.curves)
    length = sum(float(np.hypot(*np.diff(points, axis=0).T).sum()) for points in traces)
    return Quality(
        width=right - left,
        height=bottom - top,
        length=length,
        sideways=sideways,
        crossings=_crossings(traces, ends),
        through=_through(placement.boxes, traces, ends),
        overlaps=_overlaps(list(placement.boxes.values())),
        foreign=_foreign(picture, placement, traces),
    )


def trace(curve: list[tuple[float, float]]) -> np.ndarray:
    """A curve as points `[k, 2]` with straight lines between."""
    points = np.asarray(curve, dtype=float)
    t = np.linspace(0, 1, PIECES + 1)[1:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    segments = [weights @ points[i : i + 4] for i in range(0, len(points) - 1, 3)]
    return np.concatenate([points[:1], *segments])


def _through(boxes: dict[str, Rectangle], traces: list[np.ndarray], ends: list[set[str]]) -> int:
    """How often a line goes through a box that it does not end at."""
    names = list(boxes)
    centres = np.array([(r.x, r.y) for r in boxes.values()])
    halves = np.array([(r.width / 2, r.height / 2) for r in boxes.values()]) - INSIDE
    count = 0
    for points, own in zip(traces, ends, strict=True):
        low, high = points.min(axis=0), points.max(axis=0)
        near = np.abs(centres - (low + high) / 2) < halves + (high - low) / 2
        for index in np.flatnonzero(near.all(axis=1)):
            count += names[index] not in own and passes(points, centres[index], halves[index])
    return count


def _foreign(picture: Picture, placement: Placement, traces: list[np.ndarray]) -> int:
    """How often a line goes through a frame that neither of its ends is in."""
    scopes = {box.id: box.scope for box in picture.boxes}
    frames = [*placement.frames.items(), *((path, r) for path, _, r in placement.others)]
    count = 0
    for line, points in zip(picture.lines, traces, strict=True):
        for path, r in frames:
            if not any(scopes[end][: len(path)] == path for end in (line.tail, line.head)):
                count += enters(points, r)
    return count


def enters(points: np.ndarray, r: Rectangle) -> bool:
    """Whether a line goes through a frame, more than its corners' roundness."""
    half, centre = np.array([r.width, r.height]) / 2 - INSIDE, np.array([r.x, r.y])
    low, high = points.min(axis=0), points.max(axis=0)
    near = (np.abs(centre - (low + high) / 2) < half + (high - low) / 2).all()
    return bool(near) and passes(points, centre, half)


def passes(points: np.ndarray, centre: np.ndarray, half: np.ndarray) -> bool:
    """Whether a line goes through a box with this centre and half its sides."""
    start, step = points[:-1] - centre, np.diff(points, axis=0)
    step = np.where(np.abs(step) < 1e-12, 1e-12, step)
    near, far = (-half - start) / step, (half - start) / step
    enter = np.minimum(near, far).max(axis=1)
    leave = np.maximum(near, far).min(axis=1)
    return bool(((enter < leave) & (enter < 1) & (leave > 0)).any())


def _crossings(traces: list[np.ndarray], ends: list[set[str]]) -> int:
    """Pairs of lines without a common box that cross."""
    count = 0
    boxes = [(points.min(axis=0), points.max(axis=0)) for points in traces]
    for i, first in enumerate(traces):
        for j in range(i):
            apart = (boxes[i][0] > boxes[j][1]).any() or (boxes[j][0] > boxes[i][1]).any()
            if not apart and not ends[i] & ends[j]:
                count += _cross(first, traces[j])
    return count


def _cross(first: np.ndarray, second: np.ndarray) -> bool:
    a, b = first[:-1, None], first[1:, None]
    c, d = second[None, :-1], second[None, 1:]

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        u, v = q - p, r - p
        return np.sign(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])

    return bool(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any())


def _overlaps(boxes: list[Rectangle]) -> int:
    return sum(
        abs(a.x - b.x) < (a.width + b.width) / 2 - 0.5
        and abs(a.y - b.y) < (a.height + b.height) / 2 - 0.5
        for index, a in enumerate(boxes)
        for b in boxes[:index]
    )
