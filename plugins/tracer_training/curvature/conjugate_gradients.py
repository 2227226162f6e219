"""The method of conjugate gradients, as Hessian-free optimisation stops and keeps it.

SciPy's knows neither the model's value, by which it is stopped here, nor earlier iterates, nor what
to do where the curvature is negative; and it is for NumPy's vectors alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tracer.extend import Array

#: iterates are kept that are this many times further than the one before
SPACING = 1.3


class Iterate(NamedTuple):
    """A solution `d [P]` so far, and the model `q(d) = d^T A d / 2 + g^T d` there."""

    solution: Array
    value: float


class Solution(NamedTuple):
    """Iterates, the last one last; how many there were; and whether negative curvature was met."""

    iterates: list[Iterate]
    iterations: int
    negative: bool


def conjugate_gradients(
    product: Callable[[Array], Array],
    gradient: Array,
    start: Array | None,
    iterations: int,
    tolerance: float,
) -> Solution:
    """Minimise `q(d) = d^T A d / 2 + g^T d`, A being symmetric and known by `product`.

    It ends after so many `iterations`; or where, over the last `k = max(10, i / 10)` of them, `q`
    has fallen by less than the part `k tolerance` of itself (Martens 2010, section 4.4); or where
    rounding is all that is left of the residual. Of the iterates, about those with the numbers
    `1.3^j` are kept.

    Along a direction of negative curvature it ends with what it has, or, if that is nothing, with
    `-g` (Nocedal and Wright 2006, algorithm 7.1). From a `start` that is not better than zero, or
    from which the first direction is such a one, it begins again at zero.
    """
    found = _from(product, gradient, start, iterations, tolerance)
    last = found.iterates[-1].value if found.iterations else 0.0
    if start is not None and not last < 0:
        found = _from(product, gradient, None, iterations, tolerance)
    if not found.iterates:
        steepest = -gradient
        bend = float(steepest @ product(steepest)) / 2 if found.negative else 0.0
        value = bend + float(gradient @ steepest)
        return Solution([Iterate(steepest, value)], found.iterations, found.negative)
    return found


def _from(
    product: Callable[[Array], Array],
    gradient: Array,
    start: Array | None,
    iterations: int,
    tolerance: float,
) -> Solution:
    if start is None:
        x, residual = np.zeros_like(gradient), gradient  # the residual is the gradient of q
    else:
        x, residual = start, product(start) + gradient
    direction, square = -residual, float(residual @ residual)
    least = (float(np.finfo(gradient.dtype).eps) ** 2) * float(gradient @ gradient)
    kept: list[Iterate] = []
    values: list[float] = [_value(x, residual, gradient)]
    keep_at = 1.0
    for i in range(1, iterations + 1):
        if square <= least:
            break
        moved = product(direction)
        curvature = float(direction @ moved)
        if not curvature > 0:
            return Solution(_with_last(kept, x, values, i - 1), i - 1, True)
        length = square / curvature
        x = x + length * direction
        residual = residual + length * moved
        values.append(_value(x, residual, gradient))
        if i >= keep_at:
            kept.append(Iterate(x, values[-1]))
            keep_at = math.ceil(keep_at * SPACING + 1e-9)
        if _has_settled(values, tolerance):
            break
        before, square = square, float(residual @ residual)
        direction = -residual + (square / before) * direction
    return Solution(_with_last(kept, x, values, len(values) - 1), len(values) - 1, False)


def _value(x: Array, residual: Array, gradient: Array) -> float:
    return float(x @ (residual + gradient)) / 2


def _has_settled(values: list[float], tolerance: float) -> bool:
    i = len(values) - 1
    k = max(10, math.ceil(i / 10))
    return i > k and values[i] < 0 and (values[i] - values[i - k]) / values[i] < k * tolerance


def _with_last(kept: list[Iterate], x: Array, values: list[float], count: int) -> list[Iterate]:
    """The iterates that are kept, and the last one, if there was any iteration or a start."""
    if kept and kept[-1].solution is x:
        return kept
    return [*kept, Iterate(x, values[-1])] if count or values[-1] else kept
