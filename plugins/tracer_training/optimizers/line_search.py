"""A line search for the strong Wolfe conditions, with cubic interpolation.

Nocedal and Wright (2006), algorithms 3.5 and 3.6. The constants are those of `torch.optim.LBFGS`,
so that the steps are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tracer.extend import Array

#: the loss falls by this part of what the slope promises
SUFFICIENT = 1e-4
#: and the slope falls to this part
CURVATURE = 0.9
#: evaluations at most
MOST = 25


class Point(NamedTuple):
    """A point on the line: how far along, the loss there, its gradient and its slope."""

    t: float
    loss: float
    gradient: Array
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, largest: float, tolerance: float
) -> tuple[Point, int]:
    """A point of the line that fulfils the conditions, and how many points were looked at.

    `t` is the first step tried, `largest` the largest element of the direction; intervals in which
    no element moves by `tolerance` are not divided further.
    """
    low, high, looked_at, done = _bracket(at, start, t)
    stalled = False
    while not done and looked_at - 1 < MOST:
        ends = min(low.t, high.t), max(low.t, high.t)
        if (ends[1] - ends[0]) * largest < tolerance:
            break
        earlier, later = (low, high) if _comes_first(low, high) else (high, low)
        t = cubic_minimum(earlier, later, *ends)
        margin = 0.1 * (ends[1] - ends[0])
        if min(ends[1] - t, t - ends[0]) < margin:
            if stalled or not ends[0] < t < ends[1]:
                nearer_end = abs(t - ends[1]) < abs(t - ends[0])
                t = ends[1] - margin if nearer_end else ends[0] + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new = at(t)
        looked_at += 1
        if _too_high(new, start) or new.loss >= low.loss:
            low, high = (low, new) if low.loss <= new.loss else (new, low)
            continue
        if abs(new.slope) <= -CURVATURE * start.slope:
            done = True
        elif new.slope * (high.t - low.t) >= 0:
            high = low
        low = new
    return low, looked_at


def _bracket(
    at: Callable[[float], Point], start: Point, t: float
) -> tuple[Point, Point, int, bool]:
    """Two points around one that fulfils the conditions, the lower first, and whether that does."""
    before, new, looked_at = start, at(t), 1
    while looked_at - 1 < MOST:
        if _too_high(new, start) or (looked_at > 2 and new.loss >= before.loss):
            return *_lower_first(before, new), looked_at, False
        if abs(new.slope) <= -CURVATURE * start.slope:
            return new, new, looked_at, True
        if new.slope >= 0:
            return *_lower_first(before, new), looked_at, False
        further = new.t + 0.01 * (new.t - before.t), 10 * new.t
        t = cubic_minimum(before, new, *further)
        before, new = new, at(t)
        looked_at += 1
    return *_lower_first(start, new), looked_at, False


def _lower_first(first: Point, second: Point) -> tuple[Point, Point]:
    return (first, second) if first.loss <= second.loss else (second, first)


def _comes_first(a: Point, b: Point) -> bool:
    return a.t <= b.t


def _too_high(point: Point, start: Point) -> bool:
    return point.loss > start.loss + SUFFICIENT * point.t * start.slope


def cubic_minimum(a: Point, b: Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is smallest, within bounds."""
    if a.t == b.t:
        return a.t
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = math.sqrt(square)
    first, last = (a, b) if a.t <= b.t else (b, a)
    bend = last.slope - first.slope + 2 * root
    if not bend:  # a line, which is smallest nowhere
        return (low + high) / 2
    t = last.t - (last.t - first.t) * (last.slope + root - d1) / bend
    return min(max(t, low), high)
