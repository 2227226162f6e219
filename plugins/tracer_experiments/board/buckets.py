"""Curves reduced to what a screen shows: low, mean and high of neighbouring points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAN", "NEGATIVE", "POSITIVE", "Buckets", "reduce"]

#: what a bucket holds besides finite values
NAN, POSITIVE, NEGATIVE = 1, 2, 4

Floats = NDArray[np.float64]


class Buckets(NamedTuple):
    """Points of a curve, or what several neighbouring points are together.

    `places` has the horizontal coordinate of each bucket, `[n]` float64, for each axis asked for.
    `low`, `mean` and `high`, `[n]` float64, are of the finite values, NaN where there are none.
    `marks`, `[n]` uint8, is the sum of `NAN`, `POSITIVE` and `NEGATIVE` that a bucket holds.
    `exact` says that each bucket is one point.
    """

    places: Mapping[str, Floats]
    low: Floats
    mean: Floats
    high: Floats
    marks: NDArray[np.uint8]
    exact: bool


def reduce(
    places: Mapping[str, Floats], values: Floats, most: int, *, early: bool = False
) -> Buckets:
    """At most `most` buckets of a curve's values, `[n]`, each of as many points as the next.

    With `early`, buckets grow in proportion to how far they are from the first point, as an axis
    with a logarithmic scale needs.
    """
    count = values.size
    finite = np.isfinite(values)
    marks = (
        NAN * np.isnan(values) + POSITIVE * (values == np.inf) + NEGATIVE * (values == -np.inf)
    ).astype(np.uint8)
    if count <= most:
        held = np.where(finite, values, np.nan)
        return Buckets(places, held, held, held, marks, True)
    first = _bounds(count, most, early)
    sizes = np.diff(first, append=count)
    numbers = np.add.reduceat(finite, first, dtype=np.int64)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), first)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), first)
    # divided before they are added, so that no sum overflows
    shares = np.where(finite, values, 0.0) / np.repeat(np.maximum(numbers, 1), sizes)
    mean = np.clip(np.add.reduceat(shares, first), low, high)  # a constant stays what it is
    low, mean, high = (np.where(numbers > 0, each, np.nan) for each in (low, mean, high))
    middle = first + (sizes - 1) // 2
    return Buckets(
        {axis: at[middle] for axis, at in places.items()},
        low,
        mean,
        high,
        np.bitwise_or.reduceat(marks, first),
        False,
    )


def _bounds(count: int, most: int, early: bool) -> NDArray[np.int64]:
    """Where each bucket begins, ascending, the first one at 0."""
    if early:
        return np.unique(np.geomspace(1, count + 1, most + 1)[:-1].astype(np.int64) - 1)
    return np.linspace(0, count, most + 1)[:-1].astype(np.int64)
