"""Sliding windows over any number of spatial axes: their arithmetic, `unfold` and `fold`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tracer import Operation, operation
from tracer.errors import ShapeError, TracerError
from tracer.extend import (
    Array,
    Shape,
    backend,
    by_stacks,
)
from tracer_layers.module.rules import mapped_axis

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Windows:
    """Windows of `kernel` over spatial axes of `size`; `padding` is a pair (before, after) each.

    A negative padding after an axis leaves its last elements out of all windows.
    With `ceil_mode` a last window may begin inside the input and reach beyond its padding.
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    @cached_property
    def output(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return tuple(self._count(axis) for axis in range(self.rank))

    def _count(self, axis: int) -> int:
        size, (before, after) = self.size[axis], self.padding[axis]
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel[axis] - 1)
        room = size + before + after - reach - 1
        if room < 0:
            raise ShapeError(
                f"expects a spatial size of at least {reach + 1} for a kernel {list(self.kernel)} "
                f"with dilation {list(self.dilation)}, got {list(self.size)} with padding "
                f"{list(map(list, self.padding))}: use a smaller kernel or more padding"
            )
        if not self.ceil_mode:
            return room // stride + 1
        count = -(-room // stride) + 1
        return count - 1 if (count - 1) * stride >= size + before else count

    @property
    def reach(self) -> tuple[int, ...]:
        """How far the last element of a window is from its first, along each axis."""
        return tuple(d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True))

    @cached_property
    def padded(self) -> tuple[int, ...]:
        """The sizes that hold the padded input and all windows."""
        reach = [
            (o - 1) * s + d * (k - 1) + 1
            for o, s, d, k in zip(self.output, self.stride, self.dilation, self.kernel, strict=True)
        ]
        whole = [n + b + max(a, 0) for n, (b, a) in zip(self.size, self.padding, strict=True)]
        return tuple(map(max, reach, whole))

    @cached_property
    def interior(self) -> tuple[slice, ...]:
        """Where the input lies in the padded array."""
        return tuple(slice(b, b + n) for n, (b, _) in zip(self.size, self.padding, strict=True))

    @property
    def is_whole(self) -> bool:
        """Whether the padded array is the input itself."""
        return self.padded == self.size

    @property
    def is_identity(self) -> bool:
        """Whether every window is one element of the input, in its place."""
        return self.is_whole and math.prod(self.kernel) == 1 and self.output == self.size

    def positions(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each element of the kernel, with the slices that it sees of the padded array."""
        for place in itertools.product(*map(range, self.kernel)):
            starts = [p * d for p, d in zip(place, self.dilation, strict=True)]
            yield (
                place,
                tuple(
                    slice(b, b + (o - 1) * s + 1, s)
                    for b, o, s in zip(starts, self.output, self.stride, strict=True)
                ),
            )

    @cached_property
    def inside(self) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """For each element of the kernel, the windows where it lies in the input, and where."""
        axes = []
        for axis, (before, _) in enumerate(self.padding):
            size, stride = self.size[axis], self.stride[axis]
            pairs = []
            for place in range(self.kernel[axis]):
                start = place * self.dilation[axis] - before
                first = max(0, -(start // stride))
                count = max(0, min(self.output[axis], (size - 1 - start) // stride + 1) - first)
                begin = start + first * stride
                end = begin + (count - 1) * stride + 1 if count else begin
                pairs.append((slice(first, first + count), slice(begin, end, stride)))
            axes.append(pairs)
        return [
            (tuple(seen for seen, _ in pairs), tuple(lies for _, lies in pairs))
            for pairs in itertools.product(*axes)
        ]

    @cached_property
    def visible(self) -> tuple[tuple[slice, ...], Windows]:
        """The part of a kernel that sees anything of the input, and the windows of it alone."""
        kept, padding = [], []
        for axis, (before, after) in enumerate(self.padding):
            size, kernel, step = self.size[axis], self.kernel[axis], self.dilation[axis]
            last = (self.output[axis] - 1) * self.stride[axis] - before
            taps = [k for k in range(kernel) if k * step < size + before and k * step + last >= 0]
            # windows may not begin within the input
            start, stop = min(taps[0], before // step) if taps else 0, max(taps, default=kernel) + 1
            kept.append(slice(start, min(stop, kernel)))
            padding.append((before - start * step, after - (kernel - kept[axis].stop) * step))
        sizes = tuple(part.stop - part.start for part in kept)
        if sizes == self.kernel:
            return tuple(kept), self
        return tuple(kept), windows(self.size, sizes, self.stride, tuple(padding), self.dilation)

    def pad(self, x: Array, value: float = 0) -> Array:
        """The raw array `[..., *size]` as `[..., *padded]`."""
        if self.is_whole:
            return x
        out = np.full_like(x, value, shape=(*x.shape[: x.ndim - self.rank], *self.padded))
        out[(..., *self.interior)] = x
        return out


@lru_cache(maxsize=4096)
def windows(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    ceil_mode: bool = False,
) -> Windows:
    """`Windows`, made once for equal arguments."""
    return Windows(size, kernel, stride, padding, dilation, ceil_mode)


def per_axis(name: str, value: int | Sequence[int], rank: int, least: int) -> tuple[int, ...]:
    """An int, or one for each of `rank` axes, as a tuple of ints that are at least `least`."""
    several = isinstance(value, list | tuple)
    values = tuple(value) if several else (value,) * rank
    if len(values) == 1:
        values *= rank
    if len(values) != rank or not all(isinstance(v, int) and v >= least for v in values):
        raise ShapeError(f"{name} is an int of at least {least}, or {rank} of them, got {value!r}")
    return values


def spatial_rank(layer: Any, kernel_size: Any) -> int:
    """The number of spatial axes of a layer: its own, or one for each int of `kernel_size`."""
    if layer.rank is None and isinstance(kernel_size, int):
        raise TracerError(
            f"{type(layer).__name__} expects kernel_size as a tuple, an int for each axis, got "
            f"{kernel_size}"
        )
    return layer.rank or len(kernel_size)


def channels_last(x: Array, rank: int) -> bool:
    """Whether `x [..., C, *size]` has its channels beside each other in memory."""
    if type(x) is not np.ndarray or x.ndim <= rank or x.shape[-rank - 1] == 1:
        return False
    return x.strides[-rank - 1] < min(x.strides[-rank:])


def empty_as(pattern: Array, shape: Shape, rank: int, like: Array) -> Array:
    """An array `[..., C, *size]` of the dtype of `like`, with channels where `pattern` has them.

    What acts on each element alone runs at its fastest on arrays that lie alike in memory.
    """
    if not channels_last(pattern, rank):
        return np.empty_like(like, shape=shape, order="C")
    channels = len(shape) - rank - 1
    memory = (*shape[:channels], *shape[channels + 1 :], shape[channels])
    return np.moveaxis(np.empty_like(like, shape=memory, order="C"), -1, channels)


def unfolded(x: Array, w: Windows, make: Callable[[str, tuple[int, ...]], Array]) -> Array:
    """`[..., N, C, *size]` as `[..., *kernel, C, N, *output]`, what each window sees.

    In memory the channels, or else the windows, lie beside each other as they do in `x`, so that
    whole rows are copied. `make(name, shape)` makes the arrays in memory's order: `"columns"`, the
    result, and `"padded"`, which only they are copied from.
    """
    *lead, samples, channels = x.shape[: x.ndim - w.rank]
    rank, first, kernels = w.rank, len(lead), backend.kernels_for(x)
    if kernels is not None:
        seen = kernels.unfold(x, w)  # [..., N, C, *kernel, *output]
        return np.moveaxis(seen, (first, first + 1), (first + rank + 1, first + rank))
    last, padded = channels_last(x, rank), x
    if not w.is_whole:
        if last:
            padded = make("padded", (*lead, samples, *w.padded, channels))
            padded = np.moveaxis(padded, -1, first + 1)
        else:
            padded = make("padded", (*lead, samples, channels, *w.padded))
        padded[...] = 0
        padded[(..., *w.interior)] = x
    if last:
        out = make("columns", (*lead, samples, *w.output, *w.kernel, channels))
        axes = range(first + 1 + rank, first + 2 + 2 * rank), range(first, first + 1 + rank)
        out = np.transpose(out, (*range(first), *axes[0], *axes[1]))
    else:
        out = make("columns", (*lead, *w.kernel, channels, samples, *w.output))
    if type(x) is np.ndarray:
        sample, channel, *steps = padded.strides[first:]
        dilated = [d * n for d, n in zip(w.dilation, steps, strict=True)]
        strided = [s * n for s, n in zip(w.stride, steps, strict=True)]
        strides = (*padded.strides[:first], *dilated, channel, sample, *strided)
        out[...] = as_strided(padded, out.shape, strides, writeable=False)
        return out
    every = (slice(None),) * (rank + 2)
    for place, seen in w.positions():
        out[(..., *place, *every)] = np.moveaxis(padded[(..., *seen)], -rank - 1, -rank - 2)
    return out


@operation("unfold")
class Unfold(Operation):
    """What each window sees: `[..., *size]` to `[..., *kernel, *output]`, of the last axes."""

    saves = ()
    linear = True
    jvp = by_stacks

    def forward(x, *, windows):
        w, missing = windows, max(0, windows.rank + 2 - x.ndim)
        whole = x.reshape(*(1,) * missing, *x.shape)
        out = unfolded(whole, w, lambda _, shape: np.empty_like(x, shape=shape, order="C"))
        # from [..., *kernel, C, N, *output]
        out = np.moveaxis(out, (-w.rank - 1, -w.rank - 2), (-2 * w.rank - 2, -2 * w.rank - 1))
        return out.reshape(out.shape[missing:])

    def vjp(node, g):
        """g_x[v,...,i] = sum_kp g[v,...,k,p] over the (k, p) that meet at i.

        Element k of window p meets i = stride p + dilation k - padding.
        """
        return (Fold(g, windows=node.params["windows"]),)

    def batch_axis(node, axes):
        rank = node.params["windows"].rank
        return mapped_axis(axes[0], len(node.shape) - rank, rank)

    def examples(rng):
        return [((rng.random((2, 5, 4)),), {"windows": w}) for w in _examples()]


@operation("fold")
class Fold(Operation):
    """The transpose of `unfold`: what windows hold is added up where they lie."""

    saves = ()
    linear = True
    jvp = by_stacks

    def forward(y, *, windows):
        w, kernels = windows, backend.kernels_for(y)
        if kernels is not None:
            return kernels.fold(y, w)
        lead = y.shape[: y.ndim - 2 * w.rank]
        out = np.zeros_like(y, shape=(*lead, *w.padded))
        for place, seen in w.positions():
            out[(..., *seen)] += y[(..., *place, *(slice(None),) * w.rank)]
        return out[(..., *w.interior)]

    def vjp(node, g):
        """g_y[v,...,k,p] = g[v,...,i], i = stride p + dilation k - padding; 0 in the padding."""
        return (Unfold(g, windows=node.params["windows"]),)

    def batch_axis(node, axes):
        rank = node.params["windows"].rank
        return mapped_axis(axes[0], len(node.shape) + rank, 2 * rank)

    def examples(rng):
        return [((rng.random((2, *w.kernel, *w.output)),), {"windows": w}) for w in _examples()]


def _examples() -> list[Windows]:
    return [
        windows((5, 4), (3, 2), (2, 1), ((1, 0), (1, 1)), (1, 2)),
        windows((5, 4), (2, 2), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    ]
