"""The compiled kernels as functions of NumPy's arrays, and what each of them is for.

Kernels of windows take and give arrays with their channels beside each other in memory, as the
library's convolutions do. What is not in this layout yet is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tracer.extend import Array, Compiled, DType, Geometry, Shape, Tally, Visited
from tracer_native import loading
from tracer_native.geometry import RANK, Numbers, numbers
from tracer_native.library import DTYPES, Library, address, addresses
from tracer_native.tallies import histograms_of

#: elements from which on a call pays that does little with each: it takes 5 microseconds
MANY = 1 << 14
#: elements from which on rows pay, with each of which NumPy does several things; not none
FEW = 1 << 10
#: elements from which on pooling does
POOLED = 1 << 8
#: bytes of weights up to which a recurrent layer's gradients are summed beside its way back: so
#: many stay in a core's cache, and products of larger ones are faster by themselves
CACHED = 1 << 19
#: of recurrent layers
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
#: in the order of `Activation` in `source/elementwise.hpp`
_FUNCTIONS = (*Compiled.OF_VALUES, *Compiled.OF_INPUTS)
#: elements up to which a matrix whose rows do not lie in memory one after the other is copied
COPIED = 1 << 22
#: bytes of a line of the cache, or of several
LINE = 64
#: channels from which on pooling has vectors of them
WIDE = 16
#: elements of a window up to which their numbers fit a byte
BYTE = 128


class Kernels(Compiled):
    """Those of a library: of the one given, or of the one in the cache."""

    name = "native"

    def __init__(self, library: Library | None = None):
        if library is not None:
            self._call = library

    def ready(self) -> bool:
        if not hasattr(self, "_call") and (library := loading.load()) is not None:
            self._call = library
        return hasattr(self, "_call")

    def describe(self) -> str:
        if hasattr(self, "_call"):
            return str(self._call.path)
        built = loading.cache.built()
        if built:
            return str(built[0])
        return "none are built: `trace-net kernels build` does it"

    # -- convolutions -------------------------------------------------------------------------

    def convolve(
        self, x: Array, weight: Array, w: Geometry, groups: int, bias: Array | None = None
    ) -> Array | None:
        outputs = len(weight)
        arrays = (x, weight) if bias is None else (x, weight, bias)
        fits = x.shape[1:] == (weight.shape[1] * groups, *w.size) and weight.shape[2:] == w.kernel
        fits = fits and (bias is None or bias.shape == (outputs,))
        if not (fits and _takes(w, *arrays)):
            return None
        out = np.empty((len(x), *w.output, outputs), x.dtype)
        geometry = numbers(w, len(x), groups, x.shape[1], outputs)
        whole = [None if a is None else np.ascontiguousarray(a) for a in (weight, bias)]
        self._call("convolve", x.dtype, geometry, self._last(x, w), *whole, out, 0)
        return _first(out, w.rank)

    def transpose(self, y: Array, weight: Array, w: Geometry, groups: int) -> Array | None:
        outputs, channels = weight.shape[0], weight.shape[1] * groups
        fits = y.shape[1:] == (outputs, *w.output) and weight.shape[2:] == w.kernel
        if not (fits and _takes(w, y, weight)):
            return None
        out = np.empty((len(y), *w.size, channels), y.dtype)
        geometry = numbers(w, len(y), groups, channels, outputs)
        whole = np.ascontiguousarray(weight)
        self._call("transpose", y.dtype, geometry, self._last(y, w), whole, out)
        return _first(out, w.rank)

    def correlate(self, x: Array, y: Array, w: Geometry, groups: int) -> Array | None:
        if not (_fit(x, y, w) and _takes(w, x, y)):
            return None
        out = _weight(x, y, w, groups)
        self._call("correlate", x.dtype, *self._correlated(x, y, w, groups), out)
        return out

    def correlation_norms(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Array, Array] | None:
        if not (_fit(x, y, w) and _takes(w, x, y)):
            return None
        norms, out = np.empty(len(x), x.dtype), _weight(x, y, w, groups)
        given = self._correlated(x, y, w, groups)
        self._call("correlate_samples", x.dtype, *given, norms, None, out)
        return norms, out

    def correlation_squares(self, x: Array, y: Array, w: Geometry, groups: int) -> Array | None:
        if not (_fit(x, y, w) and _takes(w, x, y)):
            return None
        out = _weight(x, y, w, groups)
        given = self._correlated(x, y, w, groups)
        self._call("correlate_samples", x.dtype, *given, None, out, None)
        return out

    def correlation_each(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Array, Array] | None:
        if not (_fit(x, y, w) and _takes(w, x, y)):
            return None
        total = _weight(x, y, w, groups)
        each = _aligned((len(x), *w.kernel, x.shape[1] // groups, y.shape[1]), x.dtype)
        self._call("correlate_each", x.dtype, *self._correlated(x, y, w, groups), each, total)
        return each, total

    def _correlated(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Numbers, Array, Array]:
        geometry = numbers(w, len(x), groups, x.shape[1], y.shape[1])
        return geometry, self._last(x, w), self._last(y, w)

    # -- pooling ------------------------------------------------------------------------------

    def maximum(self, x: Array, w: Geometry) -> Array | None:
        found = self._pooled(x, w, False)
        return None if found is None else found[0]

    def maximum_keeping(self, x: Array, w: Geometry) -> tuple[Array, Array] | None:
        found = self._pooled(x, w, True) if math.prod(w.kernel) < BYTE else None
        return None if found is None or found[1] is None else (found[0], found[1])

    def _pooled(self, x: Array, w: Geometry, keeping: bool) -> tuple[Array, Array | None] | None:
        """The maxima of windows, and in int8 which elements they are, or None."""
        fits = x.ndim > w.rank and x.shape[x.ndim - w.rank :] == w.size
        if not (fits and x.size >= POOLED and _takes(w, x) and _is_last(x, w.rank)):
            return None
        lead, channels = x.shape[: x.ndim - w.rank - 1], x.shape[x.ndim - w.rank - 1]
        out = np.empty((*lead, *w.output, channels), x.dtype)
        winner = np.empty(out.shape, np.int8) if keeping else None
        geometry = numbers(w, math.prod(lead), 1, channels, channels)
        self._call("maximum", x.dtype, geometry, self._last(x, w), out, winner)
        return _first(out, w.rank), None if winner is None else _first(winner, w.rank)

    def spread_to_winners(self, y: Array, winner: Array, w: Geometry) -> Array | None:
        if type(winner) is not np.ndarray or winner.dtype != np.int8 or winner.ndim > y.ndim:
            return None
        if not (y.size >= POOLED and _takes(w, y) and _is_last(winner, w.rank)):
            return None
        lead, channels = y.shape[: y.ndim - w.rank - 1], y.shape[y.ndim - w.rank - 1]
        held = math.prod(winner.shape[: winner.ndim - w.rank - 1])
        fits = winner.shape == y.shape[y.ndim - winner.ndim :]
        if not fits or y.shape[y.ndim - w.rank :] != w.output:
            return None
        out = np.empty((*lead, *w.size, channels), y.dtype)
        geometry = numbers(w, math.prod(lead), 1, channels, channels)
        rows = self._last(y, w), self._last(winner, w)
        self._call("spread", y.dtype, geometry, *rows, out, held)
        return _first(out, w.rank)

    # -- elements and rows --------------------------------------------------------------------

    def activate(self, function: str, x: Array) -> Array | None:
        if not (type(x) is np.ndarray and x.size >= MANY and x.dtype in DTYPES):
            return None
        if function == "tanh":
            return None
        out = np.empty_like(x)
        if out.strides != x.strides:
            return None
        self._call("activate", x.dtype, _FUNCTIONS.index(function), x, out, x.size)
        return out

    def activate_vjp(self, function: str, g: Array, y: Array) -> Array | None:
        if not (_alike(g, y) and y.size >= MANY):
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
        if not (_alike(x) and x.size >= MANY and _is_last(x, rank)):
            return None
        channels = x.shape[x.ndim - rank - 1]
        out = np.empty((len(x), channels), x.dtype)
        rows = x.size // max(1, len(x) * channels)
        self._call("sum_rows", x.dtype, x, out, len(x), rows, channels)
        return out

    # -- visits -------------------------------------------------------------------------------

    def visit(
        self,
        x: Array,
        directions: Sequence[Array] = (),
        tallies: Sequence[Tally] = (),
        squares: bool = False,
    ) -> Visited | None:
        if not (x.ndim == 2 and _alike(x, *directions)):
            return None
        if x.size > COPIED and not x.flags.c_contiguous:
            return None
        x, *directions = map(np.ascontiguousarray, (x, *directions))
        samples, width = x.shape
        if not all(d.shape == (width,) for d in directions):
            return None
        norms, dots = np.empty(samples), np.empty((len(directions), samples))
        summed = np.empty(width, x.dtype) if squares else None
        counts = [np.zeros((t.rows, len(t.edges) - 1), np.int64) for t in tallies]
        missing = np.zeros(len(tallies), np.int64)
        histograms = histograms_of(tallies, counts, missing)
        numbers = samples, width, len(directions), len(tallies)
        made = norms, addresses(directions), dots, summed, histograms
        self._call("visit", x.dtype, x, *made, *numbers)
        return Visited(norms, dots, summed, list(zip(counts, missing.tolist(), strict=True)))

    def count_products(self, left: Array, right: Array, tally: Tally) -> Array | None:
        fits = left.ndim == right.ndim == 2 and len(left) == len(right)
        if not (fits and _alike(left, right)):
            return None
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        counts = np.zeros((tally.rows, len(tally.edges) - 1), np.int64)
        histogram = histograms_of([tally], [counts], np.zeros(1, np.int64))
        sizes = len(left), left.shape[1], right.shape[1]
        self._call("count_products", left.dtype, left, right, histogram, *sizes)
        return counts

    def pairs(
        self, left: Array, right: Array, others: Sequence[tuple[Array, Array]]
    ) -> Array | None:
        lefts, rights = [pair[0] for pair in others], [pair[1] for pair in others]
        if not _alike(left, right, *lefts, *rights):
            return None
        fits = all(a.ndim == 2 and a.shape[1:] == left.shape[1:] for a in (left, *lefts))
        fits = fits and all(
            a.ndim == 2 and a.shape[1:] == right.shape[1:] for a in (right, *rights)
        )
        if not fits or any(len(a) != len(b) for a, b in ((left, right), *others)):
            return None
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        lefts, rights = ([*map(np.ascontiguousarray, each)] for each in (lefts, rights))
        dots = np.empty((len(others), len(left)))
        numbers = np.array([len(a) for a in lefts], np.int64)
        given = left, right, addresses(lefts), addresses(rights), numbers, dots
        sizes = len(others), len(left), left.shape[1], right.shape[1]
        self._call("pairs", left.dtype, *given, *sizes)
        return dots

    def travel(
        self, now: Array, before: Array | None, first: Array | None, copy: Array | None
    ) -> tuple[float, float] | None:
        given = [a for a in (before, first, copy) if a is not None]
        if not _all_rows(now, *given) or any(a.shape != now.shape for a in given):
            return None
        squares = np.empty(2)
        self._call("travel", now.dtype, now, before, first, copy, squares, now.size)
        return float(squares[0]), float(squares[1])

    # -- rows ---------------------------------------------------------------------------------

    def softmax(self, x: Array, bias: Array | None = None) -> bool:
        arrays = (x,) if bias is None else (x, bias)
        if not (x.size >= FEW and _all_rows(*arrays)):
            return False
        biases = 1 if bias is None else math.prod(bias.shape[:-1])
        if bias is not None and bias.shape != x.shape[x.ndim - bias.ndim :]:
            return False
        self._call("softmax", x.dtype, x, bias, x.size // x.shape[-1], biases, x.shape[-1])
        return True

    def softmax_vjp(self, g: Array, y: Array) -> Array | None:
        if not (y.size >= FEW and _all_rows(g, y) and g.shape[g.ndim - y.ndim :] == y.shape):
            return None
        out, size = np.empty_like(g), y.shape[-1]
        self._call("softmax_vjp", g.dtype, g, y, out, g.size // size, y.size // size, size)
        return out

    def standardise(self, x: Array, eps: float) -> tuple[Array, Array] | None:
        if not (x.size >= FEW and _all_rows(x)):
            return None
        y, rate = np.empty_like(x), np.empty((*x.shape[:-1], 1), x.dtype)
        self._call("standardise", x.dtype, x, y, rate, eps, rate.size, x.shape[-1])
        return y, rate

    def standardise_vjp(self, g: Array, y: Array, rate: Array) -> Array | None:
        fits = g.shape[g.ndim - y.ndim :] == y.shape and rate.shape == (*y.shape[:-1], 1)
        if not (fits and y.size >= FEW and _all_rows(g, y, rate)):
            return None
        out, size = np.empty_like(g), y.shape[-1]
        self._call("standardise_vjp", g.dtype, g, y, rate, out, g.size // size, rate.size, size)
        return out

    # -- recurrent layers ---------------------------------------------------------------------

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
        if not (fits and _alike(history, x, *given) and _all_rows(history)):
            return False
        number, sizes = self.RECURRENT.index(kind), (stop - 1, samples, inputs, width)
        weights = [None if a is None else np.ascontiguousarray(a) for a in (weight_ih, bias_ih)]
        weights += [None if a is None else np.ascontiguousarray(a) for a in (weight_hh, bias_hh)]
        self._call("recur", history.dtype, number, history, *_sequence(x), *weights, *sizes)
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
        if not _all_rows(*arrays):
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
        if not (kept and _all_rows(history, *weights, *states) and _alike(history, *views)):
            return False
        if of_x is not None and not _has_rows(of_x):
            return False
        number, (h, c) = self.RECURRENT.index(kind), (*states, None)[:2]
        given = *_sequence(x), weight_ih, weight_hh, *_sequence(shown), h, c
        sizes = *x.shape, history.shape[-1]
        found = *_sequence(of_x), *of_weights
        self._call("recur_gradients", history.dtype, number, history, *given, *found, *sizes)
        return True

    # -- layouts ------------------------------------------------------------------------------

    def _last(self, x: Array, w: Geometry) -> Array:
        """`[..., C, *size]` in memory as `[..., *size, C]`."""
        rows = x.transpose(_axes(x.ndim, w.rank))
        if rows.flags.c_contiguous:
            return rows
        if x.dtype not in DTYPES or x.size < MANY or not x.flags.c_contiguous:
            return np.ascontiguousarray(rows)
        out, positions = np.empty(rows.shape, x.dtype), math.prod(x.shape[x.ndim - w.rank :])
        channels = x.shape[x.ndim - w.rank - 1]
        count = x.size // (positions * channels)
        self._call("swap_axes", x.dtype, x, out, count, channels, positions)
        return out


# -- what kernels take -------------------------------------------------------------------------


def _aligned(shape: Shape, dtype: DType) -> Array:
    """An empty array whose first element begins a line of the cache."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + LINE, np.uint8)
    start = -address(room) % LINE
    return room[start : start + size].view(dtype).reshape(shape)


def _alike(*arrays: Array) -> bool:
    """Whether these are NumPy's own arrays, of one dtype that there are kernels for."""
    dtype = arrays[0].dtype
    return dtype in DTYPES and all(
        type(a) is np.ndarray and a.dtype == dtype and a.flags.aligned for a in arrays
    )


def _takes(w: Geometry, *arrays: Array) -> bool:
    """Whether these are for a kernel of windows: NumPy takes longer however small they are."""
    return _suits(w) and _alike(*arrays)


@lru_cache(maxsize=1024)
def _suits(w: Geometry) -> bool:
    """Whether windows are over one to three axes, and begin before the input or with it."""
    return 1 <= w.rank <= RANK and min(before for before, _ in w.padding) >= 0


def _all_rows(*arrays: Array) -> bool:
    return _alike(*arrays) and all(a.flags.c_contiguous for a in arrays)


def _has_rows(x: Array) -> bool:
    """Whether the elements of the last axis lie beside each other."""
    return x.strides[-1] == x.itemsize or x.shape[-1] == 1


def _sequence(x: Array | None) -> tuple[Array | None, int, int]:
    """An array `[T, N, width]` in rows, and how far one step and one sample are from the next."""
    if x is None:
        return None, 0, 0
    x = x if _has_rows(x) else np.ascontiguousarray(x)
    return x, x.strides[0] // x.itemsize, x.strides[1] // x.itemsize


def _fit(x: Array, y: Array, w: Geometry) -> bool:
    """Whether these are `x [N, C, *size]` and `y [N, O, *output]`; else NumPy tells what is not."""
    return len(x) == len(y) and x.shape[2:] == w.size and y.shape[2:] == w.output


def _weight(x: Array, y: Array, w: Geometry, groups: int) -> Array:
    """An array `[O, C/G, *kernel]`."""
    return np.empty((y.shape[1], x.shape[1] // groups, *w.kernel), x.dtype)


def _is_last(x: Array, rank: int) -> bool:
    """Whether `[..., C, *size]` has many channels, which lie beside each other in memory."""
    if x.ndim <= rank or x.shape[x.ndim - rank - 1] < WIDE:
        return False
    return x.transpose(_axes(x.ndim, rank)).flags.c_contiguous


@lru_cache(maxsize=64)
def _axes(ndim: int, rank: int) -> tuple[int, ...]:
    """The axes of `[..., C, *size]` in the order `[..., *size, C]`."""
    channels = ndim - rank - 1
    return (*range(channels), *range(channels + 1, ndim), channels)


def _first(out: Array, rank: int) -> Array:
    """`[..., *size, C]` as `[..., C, *size]`, as it lies."""
    channels = out.ndim - rank - 1
    return out.transpose((*range(channels), out.ndim - 1, *range(channels, out.ndim - 1)))
