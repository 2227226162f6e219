"""Softmax and standardisation of rows, and their gradients: `source/rows.hpp`."""

from __future__ import annotations

import math

import numpy as np

from tracer.extend import Array
from tracer_native.kernels.base import Calling, all_rows

#: elements from which on rows pay, with each of which NumPy does several things; not none
FEW = 1 << 10


class Rows(Calling):
    """Functions of the last axis."""

    def softmax(self, x: Array, bias: Array | None = None) -> bool:
        arrays = (x,) if bias is None else (x, bias)
        if not (x.size >= FEW and all_rows(*arrays)):
            return False
        biases = 1 if bias is None else math.prod(bias.shape[:-1])
        if bias is not None and bias.shape != x.shape[x.ndim - bias.ndim :]:
            return False
        self._call("softmax", x.dtype, x, bias, x.size // x.shape[-1], biases, x.shape[-1])
        return True

    def softmax_vjp(self, g: Array, y: Array) -> Array | None:
        if not (y.size >= FEW and all_rows(g, y) and g.shape[g.ndim - y.ndim :] == y.shape):
            return None
        out, size = np.empty_like(g), y.shape[-1]
        self._call("softmax_vjp", g.dtype, g, y, out, g.size // size, y.size // size, size)
        return out

    def standardise(self, x: Array, eps: float) -> tuple[Array, Array] | None:
        if not (x.size >= FEW and all_rows(x)):
            return None
        y, rate = np.empty_like(x), np.empty((*x.shape[:-1], 1), x.dtype)
        self._call("standardise", x.dtype, x, y, rate, eps, rate.size, x.shape[-1])
        return y, rate

    def standardise_vjp(self, g: Array, y: Array, rate: Array) -> Array | None:
        fits = g.shape[g.ndim - y.ndim :] == y.shape and rate.shape == (*y.shape[:-1], 1)
        if not (fits and y.size >= FEW and all_rows(g, y, rate)):
            return None
        out, size = np.empty_like(g), y.shape[-1]
        self._call("standardise_vjp", g.dtype, g, y, rate, out, g.size // size, rate.size, size)
        return out
