"""Where the labels of lines stand: beside their line, and clear of everything else.

Layouts put a label where they have room for it, beside its own line; a dotted line between a value
and its cotangent, the end of a self-line or the gutter between columns come after that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracer_render import style
from tracer_render.picture import Line, Picture
from tracer_render.placement import Placement, Point, Rectangle
from tracer_render.quality import trace

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
#: Along a line it is tried at so many places, and on both sides.
MOST = 24
#: So many places are looked at together, the nearest first.
AT_ONCE = 16
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
        if around.cost(np.array([label]), half)[0] >= ON_RUNG:
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
        frames = [*placement.frames.values(), *(r for *_, r in placement.others)]
        drawn = [
            *((ON_LINE, trace(curve)) for curve in placement.curves),
            *((ON_RUNG, np.array(rung)) for rung in placement.pairs),
            *((ON_FRAME, _outline(r)) for r in frames),
        ]
        self._starts = np.concatenate([np.empty((0, 2)), *(points[:-1] for _, points in drawn)])
        self._ends = np.concatenate([np.empty((0, 2)), *(points[1:] for _, points in drawn)])
        costs = [np.full(len(points) - 1, cost) for cost, points in drawn]
        self._costs = np.concatenate([np.empty(0), *costs])
        boxes = list(placement.boxes.values())
        self._centres = np.array([(r.x, r.y) for r in boxes]).reshape(-1, 2)
        self._halves = np.array([(r.width, r.height) for r in boxes]).reshape(-1, 2) / 2

    def best(self, given: np.ndarray, curve: Sequence[Point], half: np.ndarray) -> np.ndarray:
        """The place that touches least, of those the one nearest to the given one."""
        if not self.cost(given[None], half + CLEAR)[0]:
            return given
        places = np.concatenate([given[None], _beside(trace(list(curve)), half)])
        distances = np.hypot(*(places - given).T)
        order = np.argsort(distances, kind="stable")
        best, least = given, np.inf
        for start in range(0, len(order), AT_ONCE):
            few = order[start : start + AT_ONCE]
            if distances[few[0]] >= least:
                break
            tried = places[few]
            found = self.cost(tried, half) + NEAR * self.cost(tried, half + CLEAR) + distances[few]
            if found.min() < least:
                best, least = tried[np.argmin(found)], found.min()
        return best

    def cost(self, places: np.ndarray, half: np.ndarray) -> np.ndarray:
        """What a label costs at each of these places `[n, 2]`."""
        low, high = places.min(axis=0) - half, places.max(axis=0) + half
        lines = _between(np.minimum(self._starts, self._ends), np.maximum(self._starts, self._ends),
                         low, high)  # fmt: skip
        entered = _entered(places, half, self._starts[lines], self._ends[lines])
        boxes = _between(self._centres - self._halves, self._centres + self._halves, low, high)
        found = entered @ self._costs[lines]
        found += ON_BOX * _meeting(places, half, self._centres[boxes], self._halves[boxes])
        if self.labels:
            centres, halves = map(np.array, zip(*self.labels, strict=True))
            found += ON_LABEL * _meeting(places, half, centres, halves)
        return found


def _beside(points: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Places `[n, 2]` on both sides of a line `[k, 2]`, so far from it that the label is clear."""
    steps = np.diff(points, axis=0)
    lengths = np.hypot(*steps.T)
    middles = points[:-1] + steps / 2
    ends = np.minimum(np.hypot(*(middles - points[0]).T), np.hypot(*(middles - points[-1]).T))
    kept = np.flatnonzero((lengths > 1e-6) & (ends >= TIP))
    kept = kept[:: 1 + len(kept) // MOST]
    normals = np.stack([steps[kept, 1], -steps[kept, 0]], axis=1) / lengths[kept, None]
    far = (np.abs(normals) @ (half + CLEAR))[:, None] + np.array(DISTANCES)
    shifts = far[..., None] * normals[:, None]
    sides = np.stack([shifts, -shifts]) + middles[kept][:, None]
    return sides.reshape(-1, 2)


def _between(low: np.ndarray, high: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Which rectangles, by their corners `[n, 2]`, reach into one."""
    return np.flatnonzero(((low < most) & (high > least)).all(axis=1))


def _entered(
    places: np.ndarray, half: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Which straight pieces `[m]` go through a label at which places: truths `[n, m]`."""
    first, step = starts - places[:, None], ends - starts
    step = np.where(np.abs(step) < 1e-12, 1e-12, step)
    near, far = (-half - first) / step, (half - first) / step
    enter = np.minimum(near, far).max(axis=-1)
    leave = np.maximum(near, far).min(axis=-1)
    return (enter < leave) & (enter < 1) & (leave > 0)


def _meeting(
    places: np.ndarray, half: np.ndarray, centres: np.ndarray, halves: np.ndarray
) -> np.ndarray:
    """How many rectangles a label overlaps at each place."""
    apart = np.abs(places[:, None] - centres)
    return (apart < half + halves).all(axis=-1).sum(axis=1)


def _outline(r: Rectangle) -> np.ndarray:
    """The sides of a frame as points `[5, 2]` with straight lines between."""
    x, y = r.width / 2, r.height / 2
    corners = np.array([(-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)])
    return corners + np.array([r.x, r.y])
