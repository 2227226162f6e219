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
        if range is not None:
            finite = np.clip(finite, *range)
        elif finite.size and finite.max() == finite.min():
            range = _around(float(finite[0]))
        counts, edges = np.histogram(finite, bins, range)
        return cls(counts, edges, nan=nan, infinite=flat.size - finite.size - nan)


def _around(value: float) -> tuple[float, float]:
    """A range with room for bins, about a value that all have."""
    half = max(0.5, abs(value) * 1e-6)
    return value - half, value + half


def _histogram(counts: Any, edges: Edges, nan: int, infinite: int) -> Histogram:
    return Histogram(counts, edges, nan=nan, infinite=infinite)


def host(value: Logged) -> np.ndarray:
    """An array or tensor as an array of NumPy; a device is waited for."""
    array = raw(value) if isinstance(value, Tensor) else value
    return array if isinstance(array, np.ndarray) else np.asarray(backend.to_host(array))
