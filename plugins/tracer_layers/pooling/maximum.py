"""The maximum of windows, over any number of spatial axes."""

from __future__ import annotations

import math

import numpy as np

from tracer import Operation, operation
from tracer.extend import Array, Scattered, backend, compiled, in_parallel
from tracer_layers.convolution.windows import Windows, windows
from tracer_layers.module.rules import raw
from tracer_layers.pooling.pooled import batch_axis_of, blocks_of, example_options, pooled_windows
from tracer_layers.pooling.spreading import PickWinners, SpreadToWinners
from tracer_layers.pooling.winners import Winners, empty_winners, find_winners, winners_of


@operation("max_pool")
class MaximumOfWindows(Operation):
    """The maximum of each window over the last axes; the first of equals takes the gradient."""

    piecewise_linear = True
    batch_axis = batch_axis_of

    def forward(x, *, kernel, stride, padding, dilation, ceil_mode):
        return _maxima(x, pooled_windows(x, kernel, stride, padding, dilation, ceil_mode))

    def forward_keeping(x, *, kernel, stride, padding, dilation, ceil_mode):
        w, winner = pooled_windows(x, kernel, stride, padding, dilation, ceil_mode), None
        fast = compiled().maximum_keeping(x, w)
        if fast is not None:
            return fast
        if type(x) is np.ndarray:  # what a block holds is in cache
            winner = empty_winners(x, w)
        return _maxima(x, w, winner), winner

    def vjp(node, g):
        """g_x[v,...,i] = sum_p g[v,...,p] over the windows p whose first maximum is at i."""
        x, y = raw(node.inputs[0]), raw(node.output)
        w = pooled_windows(x, **node.params)
        winner = winners_of(x, y, w) if node.kept is None else node.kept
        if type(g) is type(node.output) is np.ndarray:  # and nothing of it is recorded
            return (Scattered(g, y, Winners(winner, w)),)
        return (SpreadToWinners(g, winner, windows=w),)

    def jvp(node, tangents):
        """t[v] at the first maximum of each window."""
        x, y = raw(node.inputs[0]), raw(node.output)
        w = pooled_windows(x, **node.params)
        winner = winners_of(x, y, w) if node.kept is None else node.kept
        return PickWinners(tangents[0], winner, windows=w)

    def examples(rng):
        x = rng.permutation(40).reshape(2, 5, 4) / 10.0
        return [((x,), params) for params in example_options()]


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
            find_winners(x[block], out[block], winner[block], w)

    in_parallel(take, blocks_of(x, w, 0), like=x)
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
