"""Sliding windows over any number of spatial axes: their arithmetic, `unfold` and `fold`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from tracer import Operation, operation
from tracer.errors import ShapeError, TracerError
from tracer_layers.rules import mapped_axis

#: bytes of a temporary made window by window: it should stay in the processor's cache
BLOCK_BYTES = 1 << 20

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

    def pad(self, x: Any, value: float = 0) -> Any:
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
    values = (value,) * rank if isinstance(value, int) else tuple(value)
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


@operation("unfold")
class Unfold(Operation):
    """What each window sees: `[..., *size]` to `[..., *kernel, *output]`, of the last axes."""

    saves = ()
    linear = True

    def forward(x, *, windows):
        w = windows
        padded, lead = w.pad(x), x.shape[: x.ndim - w.rank]
        out = np.empty_like(x, shape=(*lead, *w.kernel, *w.output))
        for place, seen in w.positions():
            out[(..., *place, *(slice(None),) * w.rank)] = padded[(..., *seen)]
        return out

    def vjp(node, g):
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

    def forward(y, *, windows):
        w = windows
        lead = y.shape[: y.ndim - 2 * w.rank]
        out = np.zeros_like(y, shape=(*lead, *w.padded))
        for place, seen in w.positions():
            out[(..., *seen)] += y[(..., *place, *(slice(None),) * w.rank)]
        return out[(..., *w.interior)]

    def vjp(node, g):
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
