"""The loops of recurrent layers: `source/recurrent.hpp`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from tracer.extend import Array
from tracer_native.kernels.base import Calling, alike, all_rows
from tracer_native.library import address

#: bytes of weights up to which a recurrent layer's gradients are summed beside its way back: so
#: many stay in a core's cache, and products of larger ones are faster by themselves
CACHED = 1 << 19
#: how many gates there are
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


class Steps(ctypes.Structure):
    """`Sequence` in the source: rows `[T, N, width]`, or none."""

    _fields_ = [
        ("first", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("step", "sample")),
    ]

    @classmethod
    def of(cls, x: Array | None) -> Steps:
        """Those of an array, which is kept as long as this."""
        if x is None:
            return cls(None, 0, 0)
        x = x if _has_rows(x) else np.ascontiguousarray(x)
        made = cls(address(x), x.strides[0] // x.itemsize, x.strides[1] // x.itemsize)
        made.array = x
        return made


class Recurrent(Calling):
    """Histories of recurrent layers, forth and back."""

    def recur(
        self,
        kind: str,
        history: Array,
        x: Array,
        weight_ih: Array,
        bias_ih: Array | None,
        weight_hh: Array,
        bias_hh: Array | None,
    ) -> bool:
        _, stop, samples, width = history.shape
        given = [a for a in (weight_ih, bias_ih, weight_hh, bias_hh) if a is not None]
        gates, inputs = GATES[kind] * width, x.shape[-1]
        fits = x.shape == (stop - 1, samples, inputs) and weight_ih.shape == (gates, inputs)
        fits = fits and weight_hh.shape == (gates, width)
        fits = fits and all(a.shape == (gates,) for a in (bias_ih, bias_hh) if a is not None)
        if not (fits and alike(history, x, *given) and all_rows(history)):
            return False
        number, sizes = self.RECURRENT.index(kind), (stop - 1, samples, inputs, width)
        weights = [None if a is None else np.ascontiguousarray(a) for a in (weight_ih, bias_ih)]
        weights += [None if a is None else np.ascontiguousarray(a) for a in (weight_hh, bias_hh)]
        self._call("recur", history.dtype, number, history, Steps.of(x), *weights, *sizes)
        return True

    def recur_back(
        self,
        kind: str,
        history: Array,
        weight: Array,
        shown: Array | None,
        states: list[Array],
        d: Array,
        du: Array,
    ) -> bool:
        shown = None if shown is None else np.ascontiguousarray(shown)
        arrays = (history, weight, *states, d, du, *(() if shown is None else (shown,)))
        if not all_rows(*arrays):
            return False
        number, other = self.RECURRENT.index(kind), None if d is du else d
        h, c = (*states, None)[:2]
        sizes = *du.shape[:3], history.shape[-1]
        made = (history, weight, shown, h, c, other, du)
        self._call("recur_back", history.dtype, number, *made, *sizes)
        return True

    def recur_gradients(
        self,
        kind: str,
        history: Array,
        x: Array,
        weight_ih: Array,
        weight_hh: Array,
        shown: Array | None,
        states: list[Array],
        made: Sequence[Array | None],
    ) -> bool:
        of_x, *of_weights = made
        weights = weight_ih, weight_hh, *(a for a in of_weights if a is not None)
        views = [a for a in (x, shown, of_x) if a is not None]
        kept = sum(a.nbytes for a in (weight_ih, weight_hh)) <= CACHED
        if not (kept and all_rows(history, *weights, *states) and alike(history, *views)):
            return False
        if of_x is not None and not _has_rows(of_x):
            return False
        number, (h, c) = self.RECURRENT.index(kind), (*states, None)[:2]
        given = Steps.of(x), weight_ih, weight_hh, Steps.of(shown), h, c
        sizes = *x.shape, history.shape[-1]
        found = Steps.of(of_x), *of_weights
        self._call("recur_gradients", history.dtype, number, history, *given, *found, *sizes)
        return True


def _has_rows(x: Array) -> bool:
    """Whether the elements of the last axis lie beside each other."""
    return x.strides[-1] == x.itemsize or x.shape[-1] == 1
