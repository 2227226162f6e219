"""Where the labels of lines stand: beside their line, and clear of everything else.

Layouts put a label where they have room for it, beside its own line; a dotted line between a value
and its cotangent, the end of a self-line or the gutter between columns come after that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tracer_render import style
from tracer_render.picture import Line, Picture
from tracer_render.placement import Placement, Point, Rectangle
from tracer_render.quality import passes, trace

#: Half the height of a label's letters.
HALF = 3.0
#: Between a label and what it must not touch.
CLEAR = 3.0
#: What touches the room around a label costs this part of what touches the label.
NEAR = 0.05
#: How far from its line a label may stand.
DISTANCES = (0.5, 4.0, 9.0, 16.0, 25.0)
#: So near to the ends of its line no label stands, where the arrow is.
TIP = 9.0
#: Pictures with more labels times lines are left as the layout has them.
LARGEST = 200_000
#: What a label must not touch, and how much each costs in points of distance.
ON_LINE, ON_BOX, ON_LABEL, ON_RUNG, ON_FRAME = 1e3, 3e3, 3e3, 5e2, 2e2


def half_size(line: Line) -> np.ndarray:
    """Half the width and height of a line's label `[2]`."""
    return np.array([style.text_width(line.label, style.LABEL_SIZE) / 2, HALF])


def struck(picture: Picture, placement: Placement) -> list[int]:
    """The lines whose labels lie on a line, a rung, a box or another label, by their index."""
    around = _Surroundings(placement)
    found = []
    for index, label in enumerate(placement.labels):
        if label is None:
            continue
        half = half_size(picture.lines[index])
        if around.cost(np.array(label), half) >= ON_RUNG:
            found.append(index)
        around.labels.append((np.array(label), half))
    return found


def clear(picture: Picture, placement: Placement) -> Placement:
    """The placement with each label that lies on something moved along its line, or across it."""
    wanted = [index for index, label in enumerate(placement.labels) if label is not None]
    if len(wanted) * len(picture.lines) > LARGEST:
        return placement
    around = _Surroundings(placement)
    for index in wanted:
        half = half_size(picture.lines[index])
        at = around.best(np.array(placement.labels[index]), placement.curves[index], half)
        placement.labels[index] = float(at[0]), float(at[1])
        around.labels.append((at, half))
    return placement


class _Surroundings:
    """What labels stand between; `labels` are those that have their place, by centre and half."""

    def __init__(self, placement: Placement):
        self.labels: list[tuple[np.ndarray, np.ndarray]] = []
        self._lines = [trace(curve) for curve in placement.curves]
        self._rungs = [np.array(rung) for rung in placement.pairs]
        frames = [*placement.frames.values(), *(r for *_, r in placement.others)]
        self._frames = [_outline(r) for r in frames]
        self._boxes = [(np.array([r.x, r.y]), np.array([r.width, r.height]) / 2)
                       for r in placement.boxes.values()]  # fmt: skip
        self._low, self._high = _bounds(self._lines)

    def best(self, given: np.ndarray, curve: Sequence[Point], half: np.ndarray) -> np.ndarray:
        """The place that touches least, of those the one nearest to the given one."""
        places = [given, *_beside(trace(list(curve)), half)]
        best, least = given, np.inf
        for place in sorted(places, key=lambda place: float(np.hypot(*(place - given)))):
            distance = float(np.hypot(*(place - given)))
            if distance >= least:
                break
            cost = distance + self.cost(place, half) + NEAR * self.cost(place, half + CLEAR)
            if cost < least:
                best, least = place, cost
        return best

    def cost(self, centre: np.ndarray, half: np.ndarray) -> float:
        """What a label costs there."""
        near = (self._low < centre + half) & (self._high > centre - half)
        lines = (self._lines[index] for index in np.flatnonzero(near.all(axis=1)))
        return (
            ON_LINE * _passing(lines, centre, half)
            + ON_RUNG * _passing(self._rungs, centre, half)
            + ON_FRAME * _passing(self._frames, centre, half)
            + ON_BOX * _meeting(self._boxes, centre, half)
            + ON_LABEL * _meeting(self.labels, centre, half)
        )


def _beside(points: np.ndarray, half: np.ndarray) -> Iterable[np.ndarray]:
    """Places on both sides of a line `[k, 2]`, so far from it that the label is clear of it."""
    steps = np.diff(points, axis=0)
    middles = points[:-1] + steps / 2
    for middle, (dx, dy) in zip(middles, steps, strict=True):
        length = float(np.hypot(dx, dy))
        ends = min(np.hypot(*(middle - points[0])), np.hypot(*(middle - points[-1])))
        if length < 1e-6 or ends < TIP:
            continue
        normal = np.array([dy, -dx]) / length
        for distance in DISTANCES:
            far = float(np.abs(normal) @ (half + CLEAR)) + distance
            yield middle + far * normal
            yield middle - far * normal


def _passing(lines: Iterable[np.ndarray], centre: np.ndarray, half: np.ndarray) -> int:
    return sum(passes(points, centre, half) for points in lines)


def _meeting(
    boxes: Iterable[tuple[np.ndarray, np.ndarray]], centre: np.ndarray, half: np.ndarray
) -> int:
    return sum(bool((np.abs(middle - centre) < size + half).all()) for middle, size in boxes)


def _outline(r: Rectangle) -> np.ndarray:
    """The sides of a frame as points `[5, 2]` with straight lines between."""
    x, y = r.width / 2, r.height / 2
    corners = np.array([(-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)])
    return corners + np.array([r.x, r.y])


def _bounds(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The least and largest coordinates of each line, `[lines, 2]` both."""
    if not lines:
        return np.empty((0, 2)), np.empty((0, 2))
    low, high = zip(*((points.min(axis=0), points.max(axis=0)) for points in lines), strict=True)
    return np.array(low), np.array(high)
