"""Normalisation as layers: their parameters and running statistics; see `functions`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, TensorLike, integers, narrowed, widened
from tracer_layers.module.arguments import at_least, axes_of
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw
from tracer_layers.normalisation.functions import (
    check_count,
    group_norm,
    layer_norm,
    moments,
    per_channel,
    rms_norm,
)

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchNormNd",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "InstanceNormNd",
    "LayerNorm",
    "RMSNorm",
]


def _vectors(
    layer: Module, shape: int | Sequence[int], scale: bool, shift: bool, dtype: DTypeLike | None
) -> None:
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
        return narrowed(per_channel(standard, self.weight, self.bias), x.dtype)

    def _standardised(self, x, axes):
        """By statistics over `axes`: of `x` itself, or the running ones in evaluation."""
        if not self.training and self.track_running_stats:
            shape = (-1, *(1,) * (x.ndim - 2))
            running = widened(self.running_mean), widened(self.running_var)
            mean, variance = (statistic.reshape(shape) for statistic in running)
            return (x - mean) / np.sqrt(variance + self.eps)
        count = check_count(repr(self), x, axes)
        if not count:
            return x
        centred, variance = moments(x, axes)
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
        device: object = None,
        dtype: DTypeLike | None = None,
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

    def forward(self, input: TensorLike) -> TensorLike:
        fits = input.ndim >= 2 if self.ranks is None else input.ndim in self.ranks
        expected = f"[N, {self.num_features}, ...]"
        if self.ranks is not None:
            expected += f" with {' or '.join(map(str, self.ranks))} axes"
        self._check_channels(input, input.shape[1] if fits else None, expected)
        return self._normalised(input, (0, *range(2, input.ndim)))

    def _momentum(self) -> tuple[float, dict[str, Array]]:
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
        device: object = None,
        dtype: DTypeLike | None = None,
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

    def forward(self, input: TensorLike) -> TensorLike:
        alone = self.rank is not None and input.ndim == self.rank + 1
        x = input[None] if alone else input
        fits = x.ndim >= 3 if self.rank is None else x.ndim == self.rank + 2
        spatial = "*size" if self.rank is None else axes_of(self.rank)
        expected = f"[N, {self.num_features}, {spatial}]"
        self._check_channels(input, x.shape[1] if fits else None, expected)
        x = self._normalised(x, tuple(range(2, x.ndim)))
        return x[0] if alone else x

    def _momentum(self) -> tuple[float, dict[str, Array]]:
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
        device: object = None,
        dtype: DTypeLike | None = None,
    ):
        self.normalized_shape = _sizes("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shift = elementwise_affine and bias
        dtype = float_dtype(dtype, device)
        _vectors(self, self.normalized_shape, elementwise_affine, shift, dtype)

    def forward(self, input: TensorLike) -> TensorLike:
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
        device: object = None,
        dtype: DTypeLike | None = None,
    ):
        self.normalized_shape = _sizes("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        ones = np.ones(self.normalized_shape, float_dtype(dtype, device))
        scale = tracer.parameter(ones) if elementwise_affine else None
        self.register_parameter("weight", scale)

    def forward(self, input: TensorLike) -> TensorLike:
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
        device: object = None,
        dtype: DTypeLike | None = None,
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

    def forward(self, input: TensorLike) -> TensorLike:
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
