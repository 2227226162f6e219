"""Padding of the last axes: with a constant, or with what the array holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import DType, TensorLike
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "PadNd",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "pad",
]

#: torch's modes -> NumPy's
MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> TensorLike:
    """`input` with its last axes made longer, or shorter where a number is negative.

    `pad` has a pair (before, after) for each axis, the last axis first. `mode` is "constant" (with
    `value`, zero by default), "reflect", "replicate" or "circular".
    """
    if mode not in MODES:
        raise TracerError(f"a padding mode is one of {', '.join(MODES)}, got {mode!r}")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(
            f"padding is a pair of ints for each of at most {input.ndim} axes of an input "
            f"{list(input.shape)}, got {tuple(pad)}"
        )
    if mode != "constant" and value:
        raise TracerError(f"only the padding mode constant takes a value, got {mode!r} and {value}")
    pairs = list(zip(pad[-2::-2], pad[-1::-2], strict=True))
    pairs = [(0, 0)] * (input.ndim - len(pairs)) + pairs
    for size, (before, after) in zip(input.shape, pairs, strict=True):
        _check(size, before, after, mode, input.shape)
    if mode == "circular":  # what is cut off does not come back on the other side
        input, pairs = _cut(input, pairs), [(max(b, 0), max(a, 0)) for b, a in pairs]
    longer = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if any(map(any, longer)):
        if value and not _holds(input.dtype, value):
            input = floats(input)
        options = {"constant_values": value} if value else {}
        input = np.pad(input, longer, mode=MODES[mode], **options)
    elif not any(map(any, pairs)):
        return np.copy(input)
    return _cut(input, pairs)


def _cut(input: TensorLike, pairs: Sequence[tuple[int, int]]) -> TensorLike:
    """Without the elements at the ends that negative numbers count."""
    if all(min(pair) >= 0 for pair in pairs):
        return input
    return input[tuple(slice(max(-before, 0), min(after, 0) or None) for before, after in pairs)]


def _holds(dtype: DType, value: float) -> bool:
    """Whether arrays of a dtype hold a number: ints no fractions, nor what is out of range."""
    if dtype.kind not in "iu":
        return bool(dtype.kind == "f")
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and value == int(value))


def _check(size: int, before: int, after: int, mode: str, shape: Sequence[int]) -> None:
    if not (before or after):
        return
    count = size if mode != "circular" else size + min(before, 0) + min(after, 0)
    longest = {"reflect": count - 1, "circular": count}.get(mode)
    if longest is not None and max(before, after) > longest:
        raise ShapeError(
            f"{mode} padding of an axis of {count} elements is at most {longest}, got "
            f"{(before, after)} for an input {list(shape)}: pad less, or use replicate"
        )
    if size + before + after < 0 or (size == 0 and mode == "replicate"):
        raise ShapeError(
            f"an axis of {size} elements cannot be padded by {(before, after)}, in an input "
            f"{list(shape)}: give an input with more elements, or another padding"
        )


def _numbers(layer: Any, padding: int | Sequence[int]) -> tuple[int, ...]:
    """Two ints for each axis of the layer, the last axis first."""
    count = None if layer.rank is None else 2 * layer.rank
    given = (padding,) * (count or 0) if isinstance(padding, int) else tuple(padding)
    if not given or len(given) != (count or len(given)) or len(given) % 2:
        wanted = "two ints for each axis" if count is None else f"an int, or {count} of them"
        raise ShapeError(f"{type(layer).__name__} expects padding as {wanted}, got {padding!r}")
    if not all(isinstance(p, int) for p in given):
        raise ShapeError(f"{type(layer).__name__} expects padding as ints, got {padding!r}")
    return given


class PadNd(Module):
    """Padding of as many last axes as `padding` has pairs (before, after), the last axis first.

    `mode` is "constant" (with `value`), "reflect", "replicate" or "circular".
    """

    rank: int | None = None

    def __init__(self, padding: Sequence[int], mode: str = "constant", value: float = 0.0):
        self.padding = _numbers(self, padding)
        self.mode = mode
        self.value = value

    def forward(self, input: TensorLike) -> TensorLike:
        return pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}, mode={self.mode!r}, value={self.value}"


class _Padding(Module):
    """What the layers of one mode share: `padding`, an int or two for each axis, the last first."""

    rank: int
    mode: str

    def __init__(self, padding: int | Sequence[int]):
        self.padding = _numbers(self, padding)

    def forward(self, input: TensorLike) -> TensorLike:
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadding(Module):
    """The same with a `value`."""

    rank: int

    def __init__(self, padding: int | Sequence[int], value: float):
        self.padding = _numbers(self, padding)
        self.value = value

    def forward(self, input: TensorLike) -> TensorLike:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadding):
    """A constant around the last axis."""

    rank = 1


class ConstantPad2d(_ConstantPadding):
    """A constant around the last two axes."""

    rank = 2


class ConstantPad3d(_ConstantPadding):
    """A constant around the last three axes."""

    rank = 3


class ZeroPad1d(_Padding):
    """Zeros around the last axis."""

    rank, mode = 1, "constant"


class ZeroPad2d(_Padding):
    """Zeros around the last two axes."""

    rank, mode = 2, "constant"


class ZeroPad3d(_Padding):
    """Zeros around the last three axes."""

    rank, mode = 3, "constant"


class ReflectionPad1d(_Padding):
    """Reflections at the ends of the last axis."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(_Padding):
    """Reflections at the ends of the last two axes."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(_Padding):
    """Reflections at the ends of the last three axes."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(_Padding):
    """The outermost elements repeated around the last axis."""

    rank, mode = 1, "replicate"


class ReplicationPad2d(_Padding):
    """The outermost elements repeated around the last two axes."""

    rank, mode = 2, "replicate"


class ReplicationPad3d(_Padding):
    """The outermost elements repeated around the last three axes."""

    rank, mode = 3, "replicate"


class CircularPad1d(_Padding):
    """The other end of the array around the last axis."""

    rank, mode = 1, "circular"


class CircularPad2d(_Padding):
    """The other end of the array around the last two axes."""

    rank, mode = 2, "circular"


class CircularPad3d(_Padding):
    """The other end of the array around the last three axes."""

    rank, mode = 3, "circular"
