"""ONNX's convolutions, pooling, normalisation and resizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer.extend import TensorLike, backend, raw
from tracer_import.operators import (
    convolution,
    normalisation,
    shapes,
)
from tracer_import.operators.context import Operand
from tracer_import.operators.onnx.sizes import ints
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional


def _pads(
    x: TensorLike, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    pads: Sequence[int] | None, auto_pad: str,
) -> list[tuple[int, int]]:  # fmt: skip
    """What is added before and after each axis of space."""
    rank = len(kernel)
    if auto_pad.startswith("SAME"):
        pairs = []
        for n, k, s, d in zip(x.shape[-rank:], kernel, strides, dilations, strict=True):
            missing = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            less, more = missing // 2, missing - missing // 2
            pairs.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
        return pairs
    given = pads or (0,) * (2 * rank)
    return list(zip(given[:rank], given[rank:], strict=True))


def _padded(
    x: TensorLike, pairs: list[tuple[int, int]], value: float
) -> tuple[TensorLike, tuple[int, ...]]:
    """The input and what is left to pad: all if it is the same before and after."""
    if all(before == after for before, after in pairs):
        return x, tuple(before for before, _ in pairs)
    flat = tuple(n for pair in reversed(pairs) for n in pair)
    return shapes.constant_pad(x, flat, value), (0,) * len(pairs)


@operator("onnx.Conv")
def conv(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None,
    strides: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None, group: int = 1, auto_pad: str = "NOTSET",
    kernel_shape: Sequence[int] | None = None,
) -> TensorLike:  # fmt: skip
    """The convolution."""
    ones = (1,) * (weight.ndim - 2)
    strides, dilations = strides or ones, dilations or ones
    pairs = _pads(x, weight.shape[2:], strides, dilations, pads, auto_pad)
    x, padding = _padded(x, pairs, 0)
    return convolution.convolution(x, weight, bias, strides, padding, dilations, group)


@operator("onnx.ConvTranspose")
def conv_transpose(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None,
    strides: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None, group: int = 1,
    output_padding: Sequence[int] | None = None, **options: Any,
) -> TensorLike:  # fmt: skip
    """Its transpose."""
    rank = weight.ndim - 2
    pads = pads or (0,) * (2 * rank)
    if tuple(pads[:rank]) != tuple(pads[rank:]) or "output_shape" in options:
        raise ValueError("a transposed convolution whose borders differ is not there")
    return convolution.convolution_transpose(
        x, weight, bias, strides or (1,) * rank, pads[:rank], output_padding or (0,) * rank, group,
        dilations or (1,) * rank,
    )  # fmt: skip


def _pool(kind: str) -> Callable[..., Any]:
    def function(
        x: TensorLike, kernel_shape: Sequence[int], strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None, dilations: Sequence[int] | None = None,
        ceil_mode: int = 0, auto_pad: str = "NOTSET", count_include_pad: int = 0,
        storage_order: int = 0,
    ) -> TensorLike:  # fmt: skip
        ones = (1,) * len(kernel_shape)
        strides, dilations = strides or ones, dilations or ones
        pairs = _pads(x, kernel_shape, strides, dilations, pads, auto_pad)
        rank = len(kernel_shape)
        if kind == "max":
            x, padding = _padded(x, pairs, -np.inf)
            pool = getattr(functional, f"max_pool{rank}d")
            return pool(x, kernel_shape, strides, padding, dilations, bool(ceil_mode))
        if any(before != after for before, after in pairs) and not count_include_pad:
            raise ValueError("a mean over windows whose borders differ is not there")
        x, padding = _padded(x, pairs, 0)
        pool = getattr(functional, f"avg_pool{rank}d")
        return pool(x, kernel_shape, strides, padding, bool(ceil_mode), bool(count_include_pad))

    return function


add_operator("onnx.MaxPool", _pool("max"))
add_operator("onnx.AveragePool", _pool("mean"))


@operator("onnx.GlobalAveragePool")
def global_average_pool(x: TensorLike) -> TensorLike:
    """The mean over space."""
    return np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("onnx.GlobalMaxPool")
def global_max_pool(x: TensorLike) -> TensorLike:
    """The largest over space."""
    return np.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("onnx.BatchNormalization", mode="training_mode")
def batch_normalization(
    x: TensorLike, scale: TensorLike, bias: TensorLike, mean: TensorLike, variance: TensorLike,
    epsilon: float = 1e-5, momentum: float = 0.9, training_mode: bool = False, spatial: int = 1,
) -> tuple[TensorLike, Any, Any]:  # fmt: skip
    """Each channel standardised, and the running statistics afterwards.

    `momentum` is what stays of the old ones, and the variance is that of the batch itself, where
    PyTorch takes the unbiased one.
    """
    out = normalisation.batch_norm(x, scale, bias, mean, variance, training_mode, eps=epsilon)
    if not training_mode:
        return out, mean, variance
    batch, axes = raw(x), (0, *range(2, x.ndim))
    moved = (
        (raw(old) * momentum + new * (1 - momentum)).astype(old.dtype)
        for old, new in ((mean, np.mean(batch, axis=axes)), (variance, np.var(batch, axis=axes)))
    )
    return out, *moved


@operator("onnx.LayerNormalization")
def layer_normalization(
    x: TensorLike, scale: TensorLike, bias: TensorLike | None = None, axis: int = -1,
    epsilon: float = 1e-5, stash_type: int = 1,
) -> TensorLike:  # fmt: skip
    """The last axes standardised."""
    return functional.layer_norm(x, x.shape[axis % x.ndim :], scale, bias, epsilon)


@operator("onnx.RMSNormalization")
def rms_normalization(
    x: TensorLike, scale: TensorLike, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> TensorLike:
    """The last axes over their root mean square."""
    return functional.rms_norm(x, x.shape[axis % x.ndim :], scale, epsilon)


@operator("onnx.InstanceNormalization")
def instance_normalization(
    x: TensorLike, scale: TensorLike, bias: TensorLike, epsilon: float = 1e-5
) -> TensorLike:
    """Each channel of each sample standardised."""
    return functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("onnx.GroupNormalization")
def group_normalization(
    x: TensorLike, scale: TensorLike, bias: TensorLike, num_groups: int, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> TensorLike:  # fmt: skip
    """Groups of channels standardised; scales are of channels (opset 21)."""
    if scale.shape[0] != x.shape[1]:
        scale, bias = (np.repeat(v, x.shape[1] // num_groups, axis=0) for v in (scale, bias))
    return functional.group_norm(x, num_groups, scale, bias, epsilon)


@operator("onnx.Dropout", mode="training_mode")
def dropout(
    x: TensorLike, ratio: Operand = 0.5, training_mode: Operand = False, seed: int = 0
) -> tuple[TensorLike, Any]:
    """Zeroes elements in training, by this library's generator, with a place for the mask."""
    return functional.dropout(x, float(raw(ratio)), bool(raw(training_mode))), None


@operator("onnx.Resize")
def resize(
    x: TensorLike, roi: Operand = None, scales: Operand = None, sizes: Operand = None,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75, **options: Any,
) -> TensorLike:  # fmt: skip
    """Other sizes of space, as PyTorch's exporters write them."""
    corners = coordinate_transformation_mode == "align_corners"
    known = ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
    if coordinate_transformation_mode not in known:
        raise ValueError(f"a resize by {coordinate_transformation_mode} is not there")
    new = None if sizes is None else (ints(sizes) or ())[2:]
    given = () if scales is None else backend.to_host(scales).reshape(-1)[2:]
    factors = tuple(map(float, given)) or None
    rank = x.ndim - 2
    names = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}[rank], "cubic": "bicubic"}
    kind = names.get(mode, "nearest")
    if kind == "nearest" and coordinate_transformation_mode != "asymmetric":
        kind = "nearest-exact"
    return functional.interpolate(
        x, new, None if new else factors, kind, corners if mode != "nearest" else None
    )
