"""Activations and their gradients, and sums over positions: `source/elementwise.hpp`."""

from __future__ import annotations

import numpy as np

from tracer.extend import Array, Compiled
from tracer_native.kernels.base import Calling, alike, have_many
from tracer_native.kernels.windows import has_channels_last
from tracer_native.library import DTYPES

#: in the order of `Activation` in the source
_FUNCTIONS = (*Compiled.OF_VALUES, *Compiled.OF_INPUTS)


class Elementwise(Calling):
    """Functions of elements that lie alike, and sums over positions."""

    def activate(self, function: str, x: Array) -> Array | None:
        if not (type(x) is np.ndarray and have_many(x) and x.dtype in DTYPES):
            return None
        if function == "tanh":
            return None
        out = np.empty_like(x)
        if out.strides != x.strides:
            return None
        self._call("activate", x.dtype, _FUNCTIONS.index(function), x, out, x.size)
        return out

    def activate_vjp(self, function: str, g: Array, y: Array) -> Array | None:
        if not (alike(g, y) and have_many(y)):
            return None
        out = np.empty_like(g)
        each = y.size * y.itemsize
        dense = np.empty_like(y).strides == y.strides == g.strides[1:] == out.strides[1:]
        if not dense or (len(g) > 1 and not g.strides[0] == out.strides[0] == each):
            return None
        number = _FUNCTIONS.index(function)
        self._call("activate_vjp", g.dtype, number, g, y, out, len(g), y.size)
        return out

    def sum_channels(self, x: Array, rank: int) -> Array | None:
        if not (alike(x) and have_many(x) and has_channels_last(x, rank)):
            return None
        channels = x.shape[x.ndim - rank - 1]
        out = np.empty((len(x), channels), x.dtype)
        rows = x.size // max(1, len(x) * channels)
        self._call("sum_rows", x.dtype, x, out, len(x), rows, channels)
        return out
