"""Normalisation over batches, layers, groups, instances, and by the root mean square.

All but the core of layer normalisation are plain functions of NumPy's, so that every order and
every quantity follows from these; a statistic of the whole batch shows in the record, where the
engine finds it. Scales and shifts meet the channels as the last axis, where a vector broadcasts as
it is and has Kronecker factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tracer
from tracer.dtypes import narrowed, widened
from tracer.errors import ShapeError, TracerError
from tracer.operations.arguments import integers
from tracer_layers.dtypes import floats
from tracer_layers.module import Module, float_dtype
from tracer_layers.rules import at_least, axes_of, raw
from tracer_layers.standardisation import Standardise


def layer_norm(
    input: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Any:
    """`input` standardised over its last axes, of `normalized_shape` (Ba et al. 2016)."""
    x = floats(input, weight, bias)
    flat, weight, bias = _flattened("layer_norm", widened(x), normalized_shape, weight, bias)
    out = narrowed(_scaled(Standardise(flat, eps=eps), weight, bias), x.dtype)
    return out if out.shape == input.shape else out.reshape(input.shape)


def rms_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None
) -> Any:
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
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
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
    centred, variance = _moments(widened(x).reshape(samples, num_groups, members), (-1,))
    out = _per_channel((centred / np.sqrt(variance + eps)).reshape(input.shape), weight, bias)
    return narrowed(out, x.dtype)


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Each channel of `input [N, C, ...]` standardised (Ioffe and Szegedy 2015).

    By the running statistics `[C]` given or, in training, by those of the batch. The running ones
    are then None: arrays are never written into, and `BatchNorm1d` to `3d` keep statistics.
    """
    axes = (0, *range(2, input.ndim))
    return _normalised(
        "batch_norm", input, axes, running_mean, running_var, training, weight, bias, eps
    )


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """`input [N, C, *size]` standardised over each channel of a sample (Ulyanov et al. 2016).

    By the running statistics `[C]` given, if it is told not to use those of the input.
    """
    axes = tuple(range(2, input.ndim))
    return _normalised(
        "instance_norm", input, axes, running_mean, running_var, use_input_stats, weight, bias, eps
    )


def _normalised(
    name: str,
    input: Any,
    axes: tuple[int, ...],
    mean: Any,
    variance: Any,
    own_statistics: bool,
    weight: Any,
    bias: Any,
    eps: float,
) -> Any:
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
        if not _check_count(name, wide, axes):
            return narrowed(_per_channel(wide, weight, bias), x.dtype)
        centred, variance = _moments(wide, axes)
    else:
        shape = (-1, *(1,) * (x.ndim - 2))
        mean, variance = (widened(floats(v, x)).reshape(shape) for v in (mean, variance))
        centred = wide - mean
    return narrowed(_per_channel(centred / np.sqrt(variance + eps), weight, bias), x.dtype)


def _check_count(name: str, x: Any, axes: tuple[int, ...]) -> int:
    """How many values each statistic is taken of; refuses one alone."""
    count = math.prod(x.shape[axis] for axis in axes)
    if count == 1:
        raise ShapeError(
            f"{name} expects more than one value per channel to take statistics of, got "
            f"{list(x.shape)}: give it more samples or positions, or call eval() on a layer "
            f"with running statistics"
        )
    return count


def _moments(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """`x` less its mean over `axes`, and its variance, with the axes kept."""
    centred = x - np.mean(x, axis=axes, keepdims=True)
    return centred, np.mean(centred * centred, axis=axes, keepdims=True)


def _scaled(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _per_channel(x: Any, weight: Any, bias: Any) -> Any:
    """`x [N, C, ...]` times `weight [C]` plus `bias [C]`."""
    if weight is None and bias is None:
        return x
    return np.moveaxis(_scaled(np.moveaxis(x, 1, -1), weight, bias), -1, 1)


def _flattened(
    name: str, input: Any, normalized_shape: int | Sequence[int], weight: Any, bias: Any
) -> tuple[Any, Any, Any]:
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


def _vectors(layer: Module, shape: Any, scale: bool, shift: bool, dtype: Any) -> None:
    """Register the parameters: ones for the scale, zeros for the shift."""
    layer.register_parameter("weight", tracer.parameter(np.ones(shape, dtype)) if scale else None)
    layer.register_parameter("bias", tracer.parameter(np.zeros(shape, dtype)) if shift else None)


class _Running:
    """Running statistics, which batch and instance normalisation share."""

    def _register_arrays(self, shift, dtype):
        count, tracked = self.num_features, self.track_running_stats
        _vectors(self, count, self.affine, shift, dtype)
        self.register_buffer("running_mean", np.zeros(count, dtype) if tracked else None)
        self.register_buffer("running_var", np.ones(count, dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def _normalised(self, input, axes):
        """Standardised over `axes`, scaled and shifted."""
        x = floats(input, self.weight, self.bias)
        standard = self._standardised(widened(x), axes)
        return narrowed(_per_channel(standard, self.weight, self.bias), x.dtype)

    def _standardised(self, x, axes):
        """By statistics over `axes`: of `x` itself, or the running ones in evaluation."""
        if not self.training and self.track_running_stats:
            shape = (-1, *(1,) * (x.ndim - 2))
            running = widened(self.running_mean), widened(self.running_var)
            mean, variance = (statistic.reshape(shape) for statistic in running)
            return (x - mean) / np.sqrt(variance + self.eps)
        count = _check_count(repr(self), x, axes)
        if not count:
            return x
        centred, variance = _moments(x, axes)
        if self.training and self.track_running_stats:
            self._track(raw(x), raw(variance), axes, count)
        return centred / np.sqrt(variance + self.eps)

    def _track(self, x, variance, axes, count):
        """Move the running statistics towards those of `x`; the variance is the unbiased one.

        They are new arrays, and all are set in one step: what a tape has seen stays as it was, and
        one that is interrupted has moved none.
        """
        momentum, moved = self._momentum()
        others = tuple(axis for axis in range(x.ndim) if axis != 1)
        seen = {
            "running_mean": np.mean(x, axis=others),
            "running_var": np.mean(variance, axis=others) * (count / (count - 1)),
        }
        for name, value in seen.items():
            old = getattr(self, name)
            moved[name] = (old + momentum * (value - old)).astype(old.dtype)
        vars(self).update(moved)

    def _check_channels(self, input, channels, expected):
        if channels != self.num_features:
            raise ShapeError(
                f"{type(self).__name__} expects inputs {expected} for num_features="
                f"{self.num_features}, got {list(input.shape)}: give it the number of channels, or "
                f"transpose the input"
            )

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNormNd(_Running, Module):
    """Each channel of `[N, C, ...]` standardised over all samples (Ioffe and Szegedy 2015).

    In training by the statistics of the batch, which couples its samples: quantities of single
    samples are undefined then. In evaluation by running statistics, if it keeps them.
    """

    #: the numbers of axes that an input may have; None for any from two up
    ranks: tuple[int, ...] | None = None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        at_least(type(self).__name__, 0, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._register_arrays(affine and bias, float_dtype(dtype, device))

    def forward(self, input: Any) -> Any:
        fits = input.ndim >= 2 if self.ranks is None else input.ndim in self.ranks
        expected = f"[N, {self.num_features}, ...]"
        if self.ranks is not None:
            expected += f" with {' or '.join(map(str, self.ranks))} axes"
        self._check_channels(input, input.shape[1] if fits else None, expected)
        return self._normalised(input, (0, *range(2, input.ndim)))

    def _momentum(self) -> tuple[float, dict[str, Any]]:
        """The weight of a new batch, and the buffer that counts them, to be set.

        Without a momentum all batches weigh the same.
        """
        old = self.num_batches_tracked
        count = np.add(old, 1, out=np.empty_like(old))
        weight = 1 / int(count) if self.momentum is None else self.momentum
        return weight, {"num_batches_tracked": count}


class BatchNorm1d(BatchNormNd):
    """`BatchNormNd` for `[N, C]` and `[N, C, L]`."""

    ranks = (2, 3)


class BatchNorm2d(BatchNormNd):
    """`BatchNormNd` for `[N, C, H, W]`."""

    ranks = (4,)


class BatchNorm3d(BatchNormNd):
    """`BatchNormNd` for `[N, C, D, H, W]`."""

    ranks = (5,)


class InstanceNormNd(_Running, Module):
    """Each channel of each sample of `[N, C, *size]` standardised (Ulyanov et al. 2016).

    With running statistics, which it does not keep by default, these are used in evaluation.
    `InstanceNorm1d` to `3d` take one sample `[C, *size]` too.
    """

    rank: int | None = None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        at_least(type(self).__name__, 0, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._register_arrays(affine and bias, float_dtype(dtype, device))

    def forward(self, input: Any) -> Any:
        alone = self.rank is not None and input.ndim == self.rank + 1
        x = input[None] if alone else input
        fits = x.ndim >= 3 if self.rank is None else x.ndim == self.rank + 2
        spatial = "*size" if self.rank is None else axes_of(self.rank)
        expected = f"[N, {self.num_features}, {spatial}]"
        self._check_channels(input, x.shape[1] if fits else None, expected)
        x = self._normalised(x, tuple(range(2, x.ndim)))
        return x[0] if alone else x

    def _momentum(self) -> tuple[float, dict[str, Any]]:
        """The weight of a new batch; PyTorch counts none, so that no momentum leaves them out."""
        return (0.0 if self.momentum is None else self.momentum), {}


class InstanceNorm1d(InstanceNormNd):
    """`InstanceNormNd` for `[N, C, L]`."""

    rank = 1


class InstanceNorm2d(InstanceNormNd):
    """`InstanceNormNd` for `[N, C, H, W]`."""

    rank = 2


class InstanceNorm3d(InstanceNormNd):
    """`InstanceNormNd` for `[N, C, D, H, W]`."""

    rank = 3


class LayerNorm(Module):
    """The last axes, of `normalized_shape`, standardised; see `layer_norm`."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        self.normalized_shape = _sizes("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shift = elementwise_affine and bias
        dtype = float_dtype(dtype, device)
        _vectors(self, self.normalized_shape, elementwise_affine, shift, dtype)

    def forward(self, input: Any) -> Any:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """The last axes, of `normalized_shape`, over their root mean square; see `rms_norm`."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        self.normalized_shape = _sizes("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        ones = np.ones(self.normalized_shape, float_dtype(dtype, device))
        scale = tracer.parameter(ones) if elementwise_affine else None
        self.register_parameter("weight", scale)

    def forward(self, input: Any) -> Any:
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Groups of the channels of `[N, C, ...]` standardised; see `group_norm`."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        at_least("GroupNorm", 1, num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise TracerError(
                f"GroupNorm expects num_groups that divides num_channels, got "
                f"num_groups={num_groups}, num_channels={num_channels}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _vectors(self, num_channels, affine, affine and bias, float_dtype(dtype, device))

    def forward(self, input: Any) -> Any:
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ShapeError(
                f"GroupNorm expects inputs [N, {self.num_channels}, ...] for num_channels="
                f"{self.num_channels}, got {list(input.shape)}: give it the number of channels, or "
                f"transpose the input"
            )
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


def _sizes(layer: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = integers(normalized_shape, "normalized_shape")
    if not sizes:
        raise TracerError(f"{layer} expects normalized_shape with at least one size, got ()")
    for size in sizes:
        at_least(layer, 1, normalized_shape=size)
    return sizes
