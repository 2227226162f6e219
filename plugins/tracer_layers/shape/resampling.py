"""Weighted sums of elements along an axis: what enlarging, shrinking and adaptive means are."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from tracer import Operation, operation
from tracer.extend import (
    POOLED,
    DType,
    backend,
    by_stacks,
    in_single,
)


class Taps:
    """A sparse matrix `[out, in]`: each output is a sum of a few inputs with weights.

    `index` and `weight` are `[K, out]`. Rows with fewer than K entries repeat their last one, with
    its weight split, so that nothing else is read: a NaN stays where it belongs.
    """

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix
        self.shape = matrix.shape
        rows = [np.flatnonzero(row) for row in matrix]
        count = max(map(len, rows), default=0)
        self.index = np.zeros((count, len(rows)), dtype=np.intp)
        self.weight = np.zeros((count, len(rows)), dtype=matrix.dtype)
        for o, found in enumerate(rows):
            if len(found):
                times = np.ones(len(found), dtype=int)
                times[-1] += count - len(found)
                self.index[:, o] = np.repeat(found, times)
                self.weight[:, o] = np.repeat(matrix[o, found] / times, times)

    @cached_property
    def transposed(self) -> Taps:
        """The transpose; its own transpose is this one, made anew."""
        return Taps(self.matrix.T)

    def __repr__(self) -> str:
        return f"Taps({self.shape[1]} to {self.shape[0]})"


def bounds(before: int, after: int) -> list[tuple[int, int]]:
    """Where each of `after` windows over an axis of `before` begins and ends; they may overlap."""
    return [(i * before // after, -(-(i + 1) * before // after)) for i in range(after)]


@lru_cache(maxsize=256)
def mean_taps(before: int, after: int) -> Taps:
    """Taps that take the mean of each of these windows."""
    matrix = np.zeros((after, before))
    for row, (start, stop) in zip(matrix, bounds(before, after), strict=True):
        row[start:stop] = 1 / (stop - start)
    return Taps(matrix)


@operation("resample")
class Resample(Operation):
    """Sums with weights along `axis`, which is negative: `taps.shape` is (out, in)."""

    saves = ()
    linear = True
    jvp = by_stacks

    @in_single
    def forward(x, *, taps, axis):
        tail, rows = (1,) * (-axis - 1), backend.of(x).constant(_rows, taps, x.dtype)
        shape = (*x.shape[:axis], taps.shape[0], *x.shape[x.ndim + axis + 1 :])
        out = np.zeros_like(x, shape=shape)
        for index, weight in zip(rows[::2], rows[1::2], strict=True):
            out += np.take(x, index, axis=axis) * weight.reshape(-1, *tail)
        return out

    def vjp(node, g):
        """g_x[v,...,i,...] = sum_o taps[o,i] g[v,...,o,...]."""
        taps, axis = node.params["taps"], node.params["axis"]
        return (Resample(g, taps=taps.transposed, axis=axis),)

    def batch_axis(node, axes):
        return POOLED if axes[0] - len(node.shape) == node.params["axis"] else axes[0]

    def examples(rng):
        taps = Taps(np.array([[0.5, 0.5, 0], [0, 0, 1.0], [0.2, 0.3, 0.5], [0, 2.0, 0]]))
        x = rng.random((2, 3, 2))
        return [((x,), {"taps": taps, "axis": -2}), ((x[..., 0],), {"taps": taps, "axis": -1})]


def _rows(taps: Taps, dtype: DType) -> tuple[np.ndarray, ...]:
    """Indices and weights in turn."""
    pairs = zip(taps.index, taps.weight.astype(dtype), strict=True)
    return tuple(row for pair in pairs for row in pair)
