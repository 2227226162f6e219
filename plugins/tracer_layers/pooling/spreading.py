"""Values put at the winners of windows, and picked from them: each is the other's transpose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracer import Operation, operation
from tracer.extend import Array, DType, Shape, backend, compiled, in_parallel, scratch
from tracer_layers.convolution.windows import Windows, channels_last, empty_as, windows
from tracer_layers.module.rules import where_open
from tracer_layers.pooling.pooled import are_disjoint, batch_axis_of, blocks_of

#: bytes of the result of a block that is put in place, beside which there are the places
PUT_BYTES = 2 << 20
#: elements of a kernel up to which masked values are added for each
FEW = 4


@operation("spread_to_winners")
class SpreadToWinners(Operation):
    """The transpose of `pick_winners`: `[..., *output]` to `[..., *size]`."""

    saves = ("inputs",)
    linear_in = (0,)
    batch_axis = batch_axis_of

    def forward(y, winner, *, windows):
        w, stacked, kernels = windows, y.ndim - winner.ndim, backend.kernels_for(y)
        if kernels is not None and stacked >= 0:
            return kernels.spread_to_winners(y, winner, w)
        fast = compiled().spread_to_winners(y, winner, w)
        if fast is not None:
            return fast
        out = empty_as(winner, (*y.shape[: y.ndim - w.rank], *w.size), w.rank, y)
        disjoint = are_disjoint(w)
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
        most = PUT_BYTES if pays else None
        some = blocks_of(out, w, stacked, most) if stacked >= 0 else [()]
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
    short = max(rows, columns) < 2**31 and not are_disjoint(w)
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
    if are_disjoint(w):
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
    batch_axis = batch_axis_of

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

        in_parallel(pick, blocks_of(x, w, stacked) if stacked >= 0 else [()], like=x)
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
