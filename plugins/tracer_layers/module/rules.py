"""What the rules of several layers share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracer.extend import POOLED, UNKNOWN, Array, Axis, backend
from tracer.extend import raw as raw


def data_axis(axes: Sequence[Axis]) -> Axis:
    """The axis of the samples in the first input, if no other input has one; else `UNKNOWN`."""
    data, *others = axes
    alone = all(axis is None or axis is POOLED for axis in others)
    return data if isinstance(data, int) and alone else UNKNOWN


def mapped_axis(axis: Axis, rank: int, mixed: int) -> Axis:
    """Where samples on `axis` of `rank` stay, if an operation mixes the last `mixed` axes."""
    return POOLED if isinstance(axis, int) and axis >= rank - mixed else axis


def arange(x: Array, count: int) -> Array:
    """`np.arange(count)` in the library of `x`, to be read only."""
    return backend.of(x).constant(np.arange, count)


def row_sums(x: Array) -> Array:
    """`np.sum(x, axis=-1, keepdims=True)`, as a product: a fifth of the time for rows of 64."""
    return x @ np.ones_like(raw(x), shape=(x.shape[-1], 1))


def where_open(gate: Array, g: Array, out: Array | None = None) -> Array:
    """`np.where(gate, g, 0)`, written to `out` if given; the gate's bools broadcast to `g`.

    NumPy takes ten times as long for it as for arithmetic where the gate has no pattern, which its
    branches cannot predict. So the bits of floats are masked; a product would give NaN where what
    is infinite meets a closed gate.
    """
    if type(g) is not np.ndarray or g.dtype.kind != "f" or g.itemsize > 8:
        where = np.where(gate, g, 0)
        if out is not None:
            out[...] = where
        return where
    bits = np.dtype(f"i{g.itemsize}")
    mask = np.negative(gate.view(np.int8))  # all bits, or none
    into = None if out is None else out.view(bits)
    return np.bitwise_and(g.view(bits), mask, out=into).view(g.dtype)
