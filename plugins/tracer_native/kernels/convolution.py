"""Convolutions and their transposes: `source/convolution.hpp`."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from tracer.extend import Array, DType, Geometry, Shape
from tracer_native.kernels.base import Calling
from tracer_native.kernels.windows import Numbers, channels_first, channels_last, numbers, takes
from tracer_native.library import address

#: bytes of a line of the cache, or of several
LINE = 64


class Convolutions(Calling):
    """Convolutions, their transposes by input and weight, and what samples add to the latter."""

    def convolve(
        self, x: Array, weight: Array, w: Geometry, groups: int, bias: Array | None = None
    ) -> Array | None:
        outputs = len(weight)
        arrays = (x, weight) if bias is None else (x, weight, bias)
        fits = x.shape[1:] == (weight.shape[1] * groups, *w.size) and weight.shape[2:] == w.kernel
        fits = fits and (bias is None or bias.shape == (outputs,))
        if not (fits and takes(w, *arrays)):
            return None
        out = np.empty((len(x), *w.output, outputs), x.dtype)
        geometry = numbers(w, len(x), groups, x.shape[1], outputs)
        rows = channels_last(self._call, x, w)
        whole = [None if a is None else np.ascontiguousarray(a) for a in (weight, bias)]
        self._call("convolve", x.dtype, geometry, rows, *whole, out, False)
        return channels_first(out, w.rank)

    def transpose(self, y: Array, weight: Array, w: Geometry, groups: int) -> Array | None:
        outputs, channels = weight.shape[0], weight.shape[1] * groups
        fits = y.shape[1:] == (outputs, *w.output) and weight.shape[2:] == w.kernel
        if not (fits and takes(w, y, weight)):
            return None
        out = np.empty((len(y), *w.size, channels), y.dtype)
        geometry = numbers(w, len(y), groups, channels, outputs)
        whole = np.ascontiguousarray(weight)
        self._call("transpose", y.dtype, geometry, channels_last(self._call, y, w), whole, out)
        return channels_first(out, w.rank)

    def correlate(self, x: Array, y: Array, w: Geometry, groups: int) -> Array | None:
        if not (_fit(x, y, w) and takes(w, x, y)):
            return None
        out = _weight(x, y, w, groups)
        self._call("correlate", x.dtype, *self._correlated(x, y, w, groups), out)
        return out

    def correlation_norms(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Array, Array] | None:
        if not (_fit(x, y, w) and takes(w, x, y)):
            return None
        norms, out = np.empty(len(x), x.dtype), _weight(x, y, w, groups)
        given = self._correlated(x, y, w, groups)
        self._call("correlate_samples", x.dtype, *given, norms, None, out)
        return norms, out

    def correlation_squares(self, x: Array, y: Array, w: Geometry, groups: int) -> Array | None:
        if not (_fit(x, y, w) and takes(w, x, y)):
            return None
        out = _weight(x, y, w, groups)
        given = self._correlated(x, y, w, groups)
        self._call("correlate_samples", x.dtype, *given, None, out, None)
        return out

    def correlation_each(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Array, Array] | None:
        if not (_fit(x, y, w) and takes(w, x, y)):
            return None
        total = _weight(x, y, w, groups)
        each = _aligned((len(x), *w.kernel, x.shape[1] // groups, y.shape[1]), x.dtype)
        self._call("correlate_each", x.dtype, *self._correlated(x, y, w, groups), each, total)
        return each, total

    def _correlated(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[ctypes.Array[Numbers], Array, Array]:
        geometry = numbers(w, len(x), groups, x.shape[1], y.shape[1])
        return geometry, channels_last(self._call, x, w), channels_last(self._call, y, w)


def _fit(x: Array, y: Array, w: Geometry) -> bool:
    """Whether these are `x [N, C, *size]` and `y [N, O, *output]`; else NumPy tells what is not."""
    return len(x) == len(y) and x.shape[2:] == w.size and y.shape[2:] == w.output


def _weight(x: Array, y: Array, w: Geometry, groups: int) -> Array:
    """An array `[O, C/G, *kernel]`."""
    return np.empty((y.shape[1], x.shape[1] // groups, *w.kernel), x.dtype)


def _aligned(shape: Shape, dtype: DType) -> Array:
    """An empty array whose first element begins a line of the cache."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + LINE, np.uint8)
    start = -address(room) % LINE
    return room[start : start + size].view(dtype).reshape(shape)
