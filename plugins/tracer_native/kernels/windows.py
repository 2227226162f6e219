"""How kernels are told of windows, and the layout in which they take arrays.

Kernels of windows take and give arrays with their channels beside each other in memory, as the
library's convolutions do. What is not in this layout yet is copied.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tracer.extend import Array, Geometry
from tracer_native.kernels.base import alike, have_many
from tracer_native.library import DTYPES, Library

#: channels from which on pooling has vectors of them
WIDE = 16
RANK = 3
Three = ctypes.c_int64 * RANK


class Numbers(ctypes.Structure):
    """`Geometry` in `source/tiles.hpp`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "groups", "channels", "outputs")),
        *((name, Three) for name in ("size", "kernel", "stride", "dilation", "before", "output")),
    ]


@lru_cache(maxsize=1024)
def numbers(
    w: Geometry, samples: int, groups: int, channels: int, outputs: int
) -> ctypes.Array[Numbers]:
    """One struct for windows over up to three axes: fewer of them come last."""
    before = [first for first, _ in w.padding]

    def three(values: Sequence[int], missing: int) -> ctypes.Array[ctypes.c_int64]:
        return Three(*(missing,) * (RANK - len(values)), *values)

    made = Numbers(
        *(samples, groups, channels, outputs),
        *(three(values, 1) for values in (w.size, w.kernel, w.stride, w.dilation)),
        three(before, 0),
        three(w.output, 1),
    )
    return (Numbers * 1)(made)


def channels_last(call: Library, x: Array, w: Geometry) -> Array:
    """`[..., C, *size]` in memory as `[..., *size, C]`."""
    rows = x.transpose(_axes(x.ndim, w.rank))
    if rows.flags.c_contiguous:
        return rows
    if x.dtype not in DTYPES or not have_many(x) or not x.flags.c_contiguous:
        return np.ascontiguousarray(rows)
    out, positions = np.empty(rows.shape, x.dtype), math.prod(x.shape[x.ndim - w.rank :])
    channels = x.shape[x.ndim - w.rank - 1]
    count = x.size // (positions * channels)
    call("swap_axes", x.dtype, x, out, count, channels, positions)
    return out


def takes(w: Geometry, *arrays: Array) -> bool:
    """Whether these are for a kernel of windows: NumPy takes longer however small they are."""
    return _suits(w) and alike(*arrays)


@lru_cache(maxsize=1024)
def _suits(w: Geometry) -> bool:
    """Whether windows are over one to three axes, and begin before the input or with it."""
    return 1 <= w.rank <= RANK and min(before for before, _ in w.padding) >= 0


def has_channels_last(x: Array, rank: int) -> bool:
    """Whether `[..., C, *size]` has many channels, which lie beside each other in memory."""
    if x.ndim <= rank or x.shape[x.ndim - rank - 1] < WIDE:
        return False
    return x.transpose(_axes(x.ndim, rank)).flags.c_contiguous


@lru_cache(maxsize=64)
def _axes(ndim: int, rank: int) -> tuple[int, ...]:
    """The axes of `[..., C, *size]` in the order `[..., *size, C]`."""
    channels = ndim - rank - 1
    return (*range(channels), *range(channels + 1, ndim), channels)


def channels_first(out: Array, rank: int) -> Array:
    """`[..., *size, C]` as `[..., C, *size]`, as it lies."""
    channels = out.ndim - rank - 1
    return out.transpose((*range(channels), out.ndim - 1, *range(channels, out.ndim - 1)))
