"""Maximum and mean over windows, over any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer import Operation, operation
from tracer.errors import ShapeError
from tracer.extend import (
    Array,
    Axis,
    DType,
    Node,
    Params,
    Scattered,
    Shape,
    Stack,
    TensorLike,
    backend,
    blocks,
    by_stacks,
    compiled,
    in_parallel,
    in_single,
    scratch,
)
from tracer_layers.convolution.windows import Windows, channels_last, empty_as, windows
from tracer_layers.module.arguments import axes_of
from tracer_layers.module.rules import data_axis, mapped_axis, raw, where_open

#: bytes of the input of a block of samples
BLOCK_BYTES = 4 << 20
#: bytes of the result of a block that is put in place, beside which there are the places
PUT_BYTES = 2 << 20
#: elements of a kernel up to which masked values are added for each
FEW = 4


def pooled_windows(
    x: TensorLike, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
) -> Any:
    rank = len(kernel)
    if x.ndim < rank + 1:
        raise ShapeError(
            f"expects inputs [N, C, {axes_of(rank)}], got {list(x.shape)}: add the missing axes"
        )
    pairs = tuple((p, p) for p in padding)
    return windows(x.shape[-rank:], kernel, stride, pairs, dilation, ceil_mode)


def _batch_axis(node: Node, axes: Sequence[Axis]) -> Axis:
    p = node.params
    return mapped_axis(data_axis(axes), len(node.shape), len(p.get("kernel") or p["windows"].size))


@operation("max_pool")
class MaximumOfWindows(Operation):
    """The maximum of each window over the last axes; the first of equals takes the gradient."""

    piecewise_linear = True
    batch_axis = _batch_axis

    def forward(x, *, kernel, stride, padding, dilation, ceil_mode):
        return _maxima(x, pooled_windows(x, kernel, stride, padding, dilation, ceil_mode))

    def forward_keeping(x, *, kernel, stride, padding, dilation, ceil_mode):
        w, winner = pooled_windows(x, kernel, stride, padding, dilation, ceil_mode), None
        fast = compiled().maximum_keeping(x, w)
        if fast is not None:
            return fast
        if type(x) is np.ndarray:  # what a block holds is in cache
            winner = _empty_winners(x, w)
        return _maxima(x, w, winner), winner

    def vjp(node, g):
        """g_x[v,...,i] = sum_p g[v,...,p] over the windows p whose first maximum is at i."""
        x, y = raw(node.inputs[0]), raw(node.output)
        w = pooled_windows(x, **node.params)
        winner = _winners(x, y, w) if node.kept is None else node.kept
        if type(g) is type(node.output) is np.ndarray:  # and nothing of it is recorded
            return (Scattered(g, y, Winners(winner, w)),)
        return (SpreadToWinners(g, winner, windows=w),)

    def jvp(node, tangents):
        """t[v] at the first maximum of each window."""
        x, y = raw(node.inputs[0]), raw(node.output)
        w = pooled_windows(x, **node.params)
        winner = _winners(x, y, w) if node.kept is None else node.kept
        return PickWinners(tangents[0], winner, windows=w)

    def examples(rng):
        x = rng.permutation(40).reshape(2, 5, 4) / 10.0
        return [((x,), params) for params in _cases()]


def _maxima(x: Array, w: Windows, winner: Array | None = None) -> Array:
    """The maximum of each window; its number in the window is written into `winner` if given."""
    kernels = backend.kernels_for(x)
    if kernels is not None:
        return kernels.maximum(x, w)
    fast = None if winner is not None else compiled().maximum(x, w)
    if fast is not None:
        return fast
    out = np.empty_like(x, shape=(*x.shape[: x.ndim - w.rank], *w.output))

    def take(block: tuple[slice, ...]) -> None:
        seen = x[block]
        for axis in range(w.rank - 1):
            seen = _maximum_along(seen, w, axis)
        _maximum_along(seen, w, w.rank - 1, out[block])
        if winner is not None:
            _find(x[block], out[block], winner[block], w)

    in_parallel(take, _blocks(x, w, 0), like=x)
    return out


def _maximum_along(x: Array, w: Windows, axis: int, out: Array | None = None) -> Array:
    """The maximum of each window's part along one of the last axes.

    Axis after axis, there are k values for each, and not k^rank, and along all axes but the last
    one they lie in long rows of memory.
    """
    along, rest = _along(w, axis), (slice(None),) * (w.rank - 1 - axis)
    if out is None:
        lead = x.shape[: x.ndim - w.rank + axis]
        out = np.empty_like(x, shape=(*lead, *along.output, *w.size[axis + 1 :]))
    pairs = [((..., *among, *rest), (..., *at, *rest)) for among, at in along.inside]
    if along.is_whole:
        (_, first), *pairs = pairs
        out[...] = x[first]
    else:
        out[...] = -math.inf
    for among, at in pairs:
        np.maximum(out[among], x[at], out=out[among])
    return out


def _along(w: Windows, axis: int) -> Windows:
    """The windows' part along one axis."""
    options = (w.size, w.kernel, w.stride, w.padding, w.dilation)
    return windows(*((option[axis],) for option in options), w.ceil_mode)


def _blocks(x: Array, w: Windows, axis: int, most: int | None = None) -> list[tuple[slice, ...]]:
    """Indices of blocks along an axis before the last ones, if there is one."""
    if x.ndim - axis <= w.rank:
        return [()]
    before = (slice(None),) * axis
    most = BLOCK_BYTES if most is None else most
    return [(*before, each) for each in blocks(x.shape[axis], x.nbytes, most, like=x)]


def _winners(x: Array, y: Array, w: Windows) -> Array:
    """`[..., *output]`: which element of each window is its maximum, the first of equals."""
    kernels = backend.kernels_for(x, y)
    if kernels is not None:
        return kernels.winners(x, y, w)
    fast = compiled().maximum_keeping(x, w)
    if fast is not None:
        return fast[1]
    winner = _empty_winners(y, w)
    each = _blocks(x, w, 0)
    in_parallel(lambda block: _find(x[block], y[block], winner[block], w), each, like=x)
    return winner


def _empty_winners(like: Array, w: Windows) -> Array:
    shape = (*like.shape[: like.ndim - w.rank], *w.output)
    dtype = np.int8 if math.prod(w.kernel) < 128 else np.int32
    return np.empty_like(like, shape=shape, dtype=dtype)


def _find(x: Array, y: Array, winner: Array, w: Windows) -> None:
    """Write the winners of windows with the maxima `y` into `winner`.

    Each is the number of those before it, which are all less than the maximum, or which are numbers
    where that is NaN.
    """
    winner[...] = 0
    undefined = None
    if type(y) is np.ndarray and y.dtype.kind == "f" and np.isnan(y).any():
        undefined = np.isnan(y)
    all_less = np.ones_like(winner, dtype=np.int8)
    for among, at in w.inside[: math.prod(w.kernel) - 1]:
        some, seen = (..., *among), x[(..., *at)]
        less = np.less(seen, y[some])
        if undefined is not None:
            less |= undefined[some] & ~np.isnan(seen)
        less = less.view(np.int8)  # a sum of bools is slow
        np.bitwise_and(all_less[some], less, out=all_less[some])
        np.add(winner, all_less, out=winner)


@dataclass(frozen=True)
class Winners:
    """Where the maxima of windows were taken from: `winner [..., *output]` of each."""

    winner: Array
    windows: Windows

    def put(self, values: Stack) -> Stack:
        return SpreadToWinners(values, self.winner, windows=self.windows)

    def within(self, width: Sequence[tuple[int, int]]) -> Winners | None:
        """The same windows, of what is inside of the padding that they saw."""
        w = self.windows
        if any(map(any, width[: len(width) - w.rank])):
            return None
        axes = list(zip(width[len(width) - w.rank :], w.size, w.padding, strict=True))
        size = tuple(n - low - high for (low, high), n, _ in axes)
        before = [low + b for (low, _), _, (b, _) in axes]
        span = [(o - 1) * s + r + 1 for o, s, r in zip(w.output, w.stride, w.reach, strict=True)]
        padding = tuple((b, p - n - b) for n, b, p in zip(size, before, span, strict=True))
        return Winners(self.winner, windows(size, w.kernel, w.stride, padding, w.dilation))


def _disjoint(w: Windows) -> bool:
    """Whether no element is in two windows."""
    return all(s > r for s, r in zip(w.stride, w.reach, strict=True))


def places_of_winners(x: Array, y: Array, w: Windows) -> Array:
    """`[..., *output]`: the position in the flattened `[*size]` of each window's maximum."""
    positions = np.arange(math.prod(w.size)).reshape(w.size)
    numbers = backend.of(x).from_host(w.pad(positions, -1))
    padded, found = w.pad(x, -math.inf), np.zeros_like(y, dtype=np.int64)
    for _, seen in reversed(list(w.positions())):
        part, number = padded[(..., *seen)], numbers[seen]
        wins = ((part == y) | (part != part)) & (number >= 0)
        found = np.where(wins, number, found)
    return found


@operation("spread_to_winners")
class SpreadToWinners(Operation):
    """The transpose of `pick_winners`: `[..., *output]` to `[..., *size]`."""

    saves = ("inputs",)
    linear_in = (0,)
    batch_axis = _batch_axis

    def forward(y, winner, *, windows):
        w, stacked, kernels = windows, y.ndim - winner.ndim, backend.kernels_for(y)
        if kernels is not None and stacked >= 0:
            return kernels.spread_to_winners(y, winner, w)
        fast = compiled().spread_to_winners(y, winner, w)
        if fast is not None:
            return fast
        out = empty_as(winner, (*y.shape[: y.ndim - w.rank], *w.size), w.rank, y)
        disjoint = _disjoint(w)
        windowed = math.prod(w.output) * math.prod(w.kernel)
        covered = disjoint and w.is_whole and windowed == math.prod(w.size)

        def put(block):
            _put(y[block], winner[block[stacked:]], out[block], w)

        def spread(block):
            mine, won = out[block], winner[block[stacked:]]
            values = empty_as(won, y[block].shape, w.rank, y)
            values[...] = y[block]
            if not covered:
                mine[...] = 0
            for i, (among, at) in enumerate(w.inside):
                part = where_open(won[(..., *among)] == i, values[(..., *among)])
                if disjoint:
                    mine[(..., *at)] = part
                else:
                    mine[(..., *at)] += part

        plain = type(y) is np.ndarray and y.dtype.char in "fd" and stacked >= 0
        rows = math.prod(y.shape[: max(0, stacked)])
        pays = plain and max(math.prod(w.kernel), disjoint * rows) > FEW
        most = PUT_BYTES if pays else BLOCK_BYTES
        some = _blocks(out, w, stacked, most) if stacked >= 0 else [()]
        in_parallel(put if pays else spread, some, like=y)
        return out

    def vjp(node, g):
        """g_y[v,...,p] = g[v,...,i] at the place i of the winner of window p."""
        return PickWinners(g, node.inputs[1], windows=node.params["windows"]), None

    def jvp(node, tangents):
        """The same of t."""
        return SpreadToWinners(tangents[0], node.inputs[1], **node.params)

    def examples(rng):
        w = windows((5, 4), (2, 2), (1, 2), ((0, 0), (1, 1)), (1, 1))
        return [((rng.random((2, *w.output)), rng.integers(0, 4, w.output)), {"windows": w})]


def _put(y: Array, winner: Array, out: Array, w: Windows) -> None:
    """Write `y [..., *output]` to the winners' places in `out [..., *size]`; where they meet, sums.

    The matrix of as many columns as there are windows, with a one at each winner, times `y`. From
    `[64, 64, 29, 29]`, with a kernel of 3 and a stride of 2, it takes 2.5 ms where adding masked
    values for each element of the kernel takes 5.1; a further row of a stack takes half of that.
    """
    from scipy.sparse import csc_array  # which takes 0.1 s to import

    rank, last = w.rank, channels_last(winner, w.rank)
    winner, y, out = (_channels_behind(array, rank, last) for array in (winner, y, out))
    lead, channels = winner.shape[: -rank - 1], winner.shape[-1]
    padded = (*w.padded, channels)
    size = math.prod(padded)
    rows, columns = math.prod(lead) * size, winner.size
    short = max(rows, columns) < 2**31 and not _disjoint(w)
    dtype = np.dtype(np.int32 if short else np.int64)
    steps = _steps(padded, 1)[:rank]
    element = [d * n for d, n in zip(w.dilation, steps, strict=True)]
    window = [s * n for s, n in zip(w.stride, steps, strict=True)]
    places = scratch("places", winner.shape, y, dtype)
    _sums(w.kernel, element, dtype).reshape(-1).take(winner, out=places, mode="clip")
    places += _sums((*w.output, channels), (*window, 1), dtype)
    places += _sums(lead, _steps(lead, size), dtype)[(..., *(None,) * (rank + 1))]
    places, interior = places.reshape(-1), (..., *w.interior, slice(None))
    stack = y.shape[: y.ndim - winner.ndim]
    if _disjoint(w):
        inside = w.is_whole and out[(0,) * len(stack)].flags.c_contiguous
        for row in np.ndindex(stack):
            held = out[row] if inside else scratch("padded", (*lead, *padded), y)
            held[...] = 0
            held.reshape(-1)[places] = y[row].reshape(-1)
            if not inside:
                out[row] = held[interior]
        return
    ones, starts = np.ones(columns, y.dtype), np.arange(columns + 1, dtype=dtype)
    put = csc_array((ones, places, starts), shape=(rows, columns))
    for row in np.ndindex(stack):
        held = (put @ y[row].reshape(-1)).reshape(*lead, *padded)
        out[row] = held[interior]


def _channels_behind(array: Array, rank: int, last: bool) -> Array:
    """`[..., C, *size]` as `[..., *size, C]`, where they lie so, or with a last axis of 1."""
    return np.moveaxis(array, -rank - 1, -1) if last else array[..., None]


def _steps(shape: Shape, step: int) -> list[int]:
    """How far it is from element to element along each axis, if it is `step` along the last."""
    return [step * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _sums(counts: Sequence[int], steps: Sequence[int], dtype: DType) -> Array:
    """`[*counts]`: the sum of each index's steps along all axes."""
    total = np.zeros((), dtype)
    for count, step in zip(counts, steps, strict=True):
        total = total[..., None] + np.arange(count, dtype=dtype) * dtype.type(step)
    return total


@operation("pick_winners")
class PickWinners(Operation):
    """Of each window the element numbered `winner`: `[..., *size]` to `[..., *output]`."""

    saves = ("inputs",)
    linear_in = (0,)
    batch_axis = _batch_axis

    def forward(x, winner, *, windows):
        w, stacked, kernels = windows, x.ndim - winner.ndim, backend.kernels_for(x)
        if kernels is not None and stacked >= 0:
            return kernels.pick_winners(x, winner, w)
        out = empty_as(winner, (*x.shape[: x.ndim - w.rank], *w.output), w.rank, x)

        def pick(block):
            mine, values, won = out[block], x[block], winner[block[stacked:]]
            mine[...] = 0
            for i, (among, at) in enumerate(w.inside):
                mine[(..., *among)] += where_open(won[(..., *among)] == i, values[(..., *at)])

        in_parallel(pick, _blocks(x, w, stacked) if stacked >= 0 else [()], like=x)
        return out

    def vjp(node, g):
        """g_x[v,...,i] = sum_p g[v,...,p] over the windows p whose winner is at i."""
        return SpreadToWinners(g, node.inputs[1], windows=node.params["windows"]), None

    def jvp(node, tangents):
        """The same of t."""
        return PickWinners(tangents[0], node.inputs[1], **node.params)

    def examples(rng):
        w = windows((5, 4), (2, 2), (1, 2), ((0, 0), (1, 1)), (1, 1))
        return [((rng.random((2, *w.size)), rng.integers(0, 4, w.output)), {"windows": w})]


@operation("avg_pool")
class MeanOfWindows(Operation):
    """The mean of each window over the last axes.

    It divides by `divisor_override`, else by the number of elements in the window, those of the
    padding among them if `count_include_pad`.
    """

    saves = ()
    linear = True
    batch_axis = _batch_axis
    jvp = by_stacks

    @in_single
    def forward(
        x, *, kernel, stride, padding, ceil_mode, count_include_pad=True, divisor_override=None
    ):
        w = pooled_windows(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
        scale, kernels = _scale(x, w, count_include_pad, divisor_override), backend.kernels_for(x)
        if kernels is not None:
            return kernels.sum_of_windows(x, w) * scale
        padded, out = w.pad(x), None
        for _, seen in w.positions():
            part = padded[(..., *seen)]
            out = part.copy() if out is None else np.add(out, part, out=out)
        out *= scale
        return out

    def vjp(node, g):
        """g_x[v,...,i] = sum_p g[v,...,p] / divisor[p] over the windows p that hold i."""
        p = node.params
        size = node.input_shape(0)[-len(p["kernel"]) :]
        pairs = tuple((a, a) for a in p["padding"])
        w = windows(size, p["kernel"], p["stride"], pairs, (1,) * len(size), p["ceil_mode"])
        counting = {k: p[k] for k in ("count_include_pad", "divisor_override") if k in p}
        return (SpreadOverWindows(g, windows=w, **counting),)

    def examples(rng):
        cases = [{k: v for k, v in case.items() if k != "dilation"} for case in _cases()]
        cases += [
            cases[-1] | {"count_include_pad": False},
            cases[-1] | {"divisor_override": 3},
        ]
        return [((rng.random((2, 5, 4)),), params) for params in cases]


@operation("spread_over_windows")
class SpreadOverWindows(Operation):
    """The transpose of `avg_pool`: `[..., *output]` to `[..., *size]`."""

    saves = ()
    linear = True
    batch_axis = _batch_axis
    jvp = by_stacks

    @in_single
    def forward(y, *, windows, count_include_pad=True, divisor_override=None):
        w = windows
        scaled = y * _scale(y, w, count_include_pad, divisor_override)
        kernels = backend.kernels_for(scaled)
        if kernels is not None:
            return kernels.spread_over_windows(scaled, w)
        out = np.zeros_like(y, shape=(*y.shape[: y.ndim - w.rank], *w.padded))
        for _, seen in w.positions():
            out[(..., *seen)] += scaled
        return out[(..., *w.interior)]

    def vjp(node, g):
        """g_y[v,...,p] = sum_i g[v,...,i] / divisor[p] over the i that window p holds."""
        w = node.params["windows"]
        params = {
            "kernel": w.kernel,
            "stride": w.stride,
            "padding": tuple(before for before, _ in w.padding),
            "ceil_mode": w.ceil_mode,
        }
        rest = {k: v for k, v in node.params.items() if k != "windows"}
        return (MeanOfWindows(g, **params, **rest),)

    def examples(rng):
        w = windows((5, 4), (3, 2), (2, 2), ((1, 1), (0, 0)), (1, 1), True)
        return [
            ((rng.random((2, *w.output)),), {"windows": w}),
            ((rng.random((2, *w.output)),), {"windows": w, "count_include_pad": False}),
        ]


def _scale(x: Array, w: Windows, include_padding: bool, divisor: int | None) -> Array | float:
    """One over the divisor of each window: a number, or an array `[*output]`."""
    if divisor is not None:
        return 1 / divisor
    if w.is_whole:
        return 1 / math.prod(w.kernel)
    return backend.of(x).constant(_reciprocals, w, include_padding, x.dtype)


def _reciprocals(w: Windows, include_padding: bool, dtype: DType) -> np.ndarray:
    return (1 / _counts(w, include_padding)).astype(dtype)


def _counts(w: Windows, include_padding: bool) -> np.ndarray:
    """`[*output]`: how many elements of the input, or of it and its padding, a window holds."""
    counts = np.ones(())
    for axis, count in enumerate(w.output):
        before, after = w.padding[axis]
        first = np.arange(count) * w.stride[axis] - before
        last = np.minimum(first + w.kernel[axis], w.size[axis] + after)
        if not include_padding:
            first, last = np.maximum(first, 0), np.minimum(last, w.size[axis])
        counts = counts[..., None] * (last - first)
    return counts


def _cases() -> list[Params]:
    plain = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    odd = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    return [plain | {"ceil_mode": False}, odd | {"ceil_mode": True}]
