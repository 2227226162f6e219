"""Which element of each window is its maximum, and where it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracer.extend import Array, Stack, backend, compiled, in_parallel
from tracer_layers.convolution.windows import Windows, windows
from tracer_layers.pooling.pooled import blocks_of
from tracer_layers.pooling.spreading import SpreadToWinners


def winners_of(x: Array, y: Array, w: Windows) -> Array:
    """`[..., *output]`: which element of each window is its maximum, the first of equals."""
    kernels = backend.kernels_for(x, y)
    if kernels is not None:
        return kernels.winners(x, y, w)
    fast = compiled().maximum_keeping(x, w)
    if fast is not None:
        return fast[1]
    winner = empty_winners(y, w)
    each = blocks_of(x, w, 0)
    in_parallel(lambda block: find_winners(x[block], y[block], winner[block], w), each, like=x)
    return winner


def empty_winners(like: Array, w: Windows) -> Array:
    shape = (*like.shape[: like.ndim - w.rank], *w.output)
    dtype = np.int8 if math.prod(w.kernel) < 128 else np.int32
    return np.empty_like(like, shape=shape, dtype=dtype)


def find_winners(x: Array, y: Array, winner: Array, w: Windows) -> None:
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
