"""What is logged besides plain numbers: histograms, and values that are known late."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import backend, raw

__all__ = ["Histogram", "Late", "Logged"]

#: bins where nobody says how many
BINS = 64
#: the largest number
LARGEST = float(np.finfo(np.float64).max)
#: edges of the bins: of two axes, one array each
Edges: TypeAlias = Any
#: a number, or an array whose values are counted in a histogram
Logged: TypeAlias = Any


class Late(float):
    """A value that became known later, and belongs to an earlier `step`: `Late(0.3, 41)`."""

    step: int

    def __new__(cls, value: float, step: int) -> Late:
        late = super().__new__(cls, value)
        late.step = int(step)
        return late

    def __reduce__(self) -> tuple[Any, ...]:
        return Late, (float(self), self.step)


class Histogram(np.ndarray):
    """Counts `[bins]` of values, float64, or `[bins, bins]` of pairs.

    `edges` is `[bins + 1]` in ascending order, or one such array for each axis; a value at an inner
    edge is counted above it. `nan` and `infinite` count what has no place. Raises `TracerError` for
    counts and edges that do not go together.
    """

    edges: Edges
    nan: int
    infinite: int

    def __new__(cls, counts: Any, edges: Edges, *, nan: int = 0, infinite: int = 0) -> Histogram:
        histogram = np.array(counts, np.float64).view(cls)
        several = isinstance(edges, tuple | list) and np.ndim(edges[0]) == 1
        of_axes = [np.array(e, np.float64) for e in (edges if several else (edges,))]
        if tuple(len(e) - 1 for e in of_axes) != histogram.shape or not histogram.size:
            raise TracerError(
                f"a histogram has one more edge than bins along each axis, got counts of shape "
                f"{histogram.shape} and {' and '.join(str(len(e)) for e in of_axes)} edges"
            )
        if not all(np.all(np.diff(e) > 0) for e in of_axes):
            raise TracerError("the edges of a histogram ascend")
        histogram.edges = tuple(of_axes) if several else of_axes[0]
        histogram.nan, histogram.infinite = int(nan), int(infinite)
        return histogram

    def __array_finalize__(self, other: Any) -> None:
        self.edges = getattr(other, "edges", None)
        self.nan = getattr(other, "nan", 0)
        self.infinite = getattr(other, "infinite", 0)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (np.asarray(self), self.edges, self.nan, self.infinite)
        return _histogram, parts

    @classmethod
    def of(
        cls, values: Logged, bins: int = BINS, range: tuple[float, float] | None = None
    ) -> Histogram:
        """How many of the values of an array of any shape lie in each bin.

        The bins are equal and go from the smallest to the largest finite value; with `range`, what
        lies outside counts in the bins at the ends.
        """
        flat = host(values).reshape(-1)
        if flat.dtype.kind not in "fiub":
            raise TracerError(f"a histogram is of real numbers, got an array of {flat.dtype}")
        flat = flat.astype(np.float64)
        finite = flat[np.isfinite(flat)]
        nan = int(np.count_nonzero(np.isnan(flat)))
        edges = equal_edges(*(_extent(finite) if range is None else range), bins)
        low, high = edges[0], edges[-1]
        if high / 2 - low / 2 < LARGEST / 4:
            counts, edges = np.histogram(np.clip(finite, low, high), bins, (low, high))
        else:  # the width of the range is infinite
            counts, _ = np.histogram(np.clip(finite, low, high), edges)
        return cls(counts, edges, nan=nan, infinite=flat.size - finite.size - nan)


def _extent(finite: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest value, of none a range of no meaning."""
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def equal_edges(low: float, high: float, bins: int) -> np.ndarray:
    """`[bins + 1]` ascending float64 from `low` to `high`, or around these where they are too near.

    Raises `TracerError` for what is no range, and for less than one bin.
    """
    if not isinstance(bins, int | np.integer) or isinstance(bins, bool) or bins < 1:
        raise TracerError(f"a histogram has a whole number of bins from 1, got {bins!r}")
    if not (np.isfinite([low, high]).all() and low <= high):
        raise TracerError(f"the range of a histogram ascends, got {low!r} to {high!r}")
    edges = 2 * np.linspace(low / 2, high / 2, bins + 1)  # halves, whose distance is finite
    edges[[0, -1]] = low, high
    if np.all(np.diff(edges / 2) > 0):
        return edges
    low, high = _around(low / 2 + high / 2)
    return np.linspace(low, high, bins + 1)


def _around(value: float) -> tuple[float, float]:
    """A range with room for bins, about a value that all have."""
    half = max(0.5, abs(value) * 1e-6)
    return max(value - half, -LARGEST), min(value + half, LARGEST)


def _histogram(counts: Any, edges: Edges, nan: int, infinite: int) -> Histogram:
    return Histogram(counts, edges, nan=nan, infinite=infinite)


def host(value: Logged) -> np.ndarray:
    """An array or tensor as an array of NumPy; a device is waited for."""
    array = raw(value) if isinstance(value, Tensor) else value
    return array if isinstance(array, np.ndarray) else np.asarray(backend.to_host(array))
