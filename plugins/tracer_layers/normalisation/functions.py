"""Normalisation over batches, layers, groups, instances, and by the root mean square.

All but the core of layer normalisation are plain functions of NumPy's, so that every order and
every quantity follows from these; a statistic of the whole batch shows in the record, where the
engine finds it. Scales and shifts meet the channels as the last axis, where a vector broadcasts as
it is and has Kronecker factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import TensorLike, integers, narrowed, widened
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import floats
from tracer_layers.normalisation.operations import Standardise

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]


def layer_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> TensorLike:
    """`input` standardised over its last axes, of `normalized_shape` (Ba et al. 2016)."""
    x = floats(input, weight, bias)
    flat, weight, bias = _flattened("layer_norm", widened(x), normalized_shape, weight, bias)
    out = narrowed(_scaled(Standardise(flat, eps=eps), weight, bias), x.dtype)
    return out if out.shape == input.shape else out.reshape(input.shape)


def rms_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> TensorLike:
    """`input` over its root mean square (Zhang and Sennrich 2019).

    `eps` is that of the dtype by default.
    """
    x = floats(input, weight)
    flat, weight, _ = _flattened("rms_norm", widened(x), normalized_shape, weight, None)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    squares = np.mean(flat * flat, axis=-1, keepdims=True)
    out = narrowed(_scaled(flat / np.sqrt(squares + eps), weight, None), x.dtype)
    return out if out.shape == input.shape else out.reshape(input.shape)


def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> TensorLike:
    """`input [N, C, ...]` standardised within groups of channels (Wu and He 2018)."""
    at_least("group_norm", 1, num_groups=num_groups)
    if input.ndim < 2 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm expects inputs [N, C, ...] with channels that {num_groups} groups divide, "
            f"got {list(input.shape)}"
        )
    samples, channels = input.shape[:2]
    members = channels // num_groups * math.prod(input.shape[2:])
    x = floats(input, weight, bias)
    centred, variance = moments(widened(x).reshape(samples, num_groups, members), (-1,))
    out = per_channel((centred / np.sqrt(variance + eps)).reshape(input.shape), weight, bias)
    return narrowed(out, x.dtype)


def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> TensorLike:
    """Each channel of `input [N, C, ...]` standardised (Ioffe and Szegedy 2015).

    By the running statistics `[C]` given or, in training, by those of the batch. The running ones
    are then None: arrays are never written into, and `BatchNorm1d` to `3d` keep statistics.
    """
    axes = (0, *range(2, input.ndim))
    return _normalised(
        "batch_norm", input, axes, running_mean, running_var, training, weight, bias, eps
    )


def instance_norm(
    input: TensorLike,
    running_mean: TensorLike | None = None,
    running_var: TensorLike | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> TensorLike:
    """`input [N, C, *size]` standardised over each channel of a sample (Ulyanov et al. 2016).

    By the running statistics `[C]` given, if it is told not to use those of the input.
    """
    axes = tuple(range(2, input.ndim))
    return _normalised(
        "instance_norm", input, axes, running_mean, running_var, use_input_stats, weight, bias, eps
    )


def _normalised(
    name: str,
    input: TensorLike,
    axes: tuple[int, ...],
    mean: TensorLike | None,
    variance: TensorLike | None,
    own_statistics: bool,
    weight: TensorLike | None,
    bias: TensorLike | None,
    eps: float,
) -> TensorLike:
    """`input [N, C, ...]` by its own statistics over `axes`, or by those given."""
    given = mean is not None and variance is not None
    if own_statistics and (mean is not None or variance is not None):
        raise TracerError(
            f"{name} writes into no running statistics: give None for them where those of the "
            f"input are used, or use a layer that keeps them, such as BatchNorm1d"
        )
    if not own_statistics and not given:
        raise TracerError(f"{name} expects running_mean and running_var, got None")
    x = floats(input, weight, bias, mean, variance)
    wide = widened(x)
    if own_statistics:
        if not check_count(name, wide, axes):
            return narrowed(per_channel(wide, weight, bias), x.dtype)
        centred, variance = moments(wide, axes)
    else:
        shape = (-1, *(1,) * (x.ndim - 2))
        mean, variance = (widened(floats(v, x)).reshape(shape) for v in (mean, variance))
        centred = wide - mean
    return narrowed(per_channel(centred / np.sqrt(variance + eps), weight, bias), x.dtype)


def check_count(name: str, x: TensorLike, axes: tuple[int, ...]) -> int:
    """How many values each statistic is taken of; refuses one alone."""
    count = math.prod(x.shape[axis] for axis in axes)
    if count == 1:
        raise ShapeError(
            f"{name} expects more than one value per channel to take statistics of, got "
            f"{list(x.shape)}: give it more samples or positions, or call eval() on a layer "
            f"with running statistics"
        )
    return count


def moments(x: TensorLike, axes: tuple[int, ...]) -> tuple[TensorLike, TensorLike]:
    """`x` less its mean over `axes`, and its variance, with the axes kept."""
    centred = x - np.mean(x, axis=axes, keepdims=True)
    return centred, np.mean(centred * centred, axis=axes, keepdims=True)


def _scaled(x: TensorLike, weight: TensorLike | None, bias: TensorLike | None) -> TensorLike:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def per_channel(x: TensorLike, weight: TensorLike | None, bias: TensorLike | None) -> TensorLike:
    """`x [N, C, ...]` times `weight [C]` plus `bias [C]`."""
    if weight is None and bias is None:
        return x
    return np.moveaxis(_scaled(np.moveaxis(x, 1, -1), weight, bias), -1, 1)


def _flattened(
    name: str,
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None,
    bias: TensorLike | None,
) -> tuple[TensorLike, TensorLike | None, TensorLike | None]:
    """All with their last axes, of `normalized_shape`, as one: scales and shifts are vectors."""
    expected = integers(normalized_shape, "normalized_shape")
    lead = max(0, input.ndim - len(expected))
    if tuple(input.shape[lead:]) != expected:
        wanted = ", ".join(["...", *map(str, expected)])
        raise ShapeError(
            f"{name} expects inputs [{wanted}] for normalized_shape={expected}, got "
            f"{list(input.shape)}: give it the sizes of the last axes"
        )
    if len(expected) == 1:
        return input, weight, bias
    size = math.prod(expected)
    weight, bias = (v if v is None else v.reshape(size) for v in (weight, bias))
    return input.reshape(*input.shape[:lead], size), weight, bias
