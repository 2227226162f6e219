"""Normalisation over batches, layers, groups and instances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import TracingError
from tracer.extend import TensorLike, raw
from tracer_import.operators.context import sizes
from tracer_import.operators.table import operator
from tracer_layers import functional

Maybe: TypeAlias = "TensorLike | None"


@operator("batch_norm.default", mode="training")
def batch_norm(
    input: TensorLike, weight: Maybe, bias: Maybe, running_mean: Maybe, running_var: Maybe,
    training: bool, momentum: float = 0.1, eps: float = 1e-5, cudnn_enabled: bool = False,
) -> TensorLike:  # fmt: skip
    """Each channel standardised, by its statistics or, in evaluation, by the running ones."""
    if training or running_mean is None:
        return functional.batch_norm(input, None, None, weight, bias, True, momentum, eps)
    return functional.batch_norm(
        input, raw(running_mean), raw(running_var), weight, bias, False, momentum, eps
    )


@operator("_native_batch_norm_legit_functional.default", mode="training")
def functional_batch_norm(
    input: TensorLike, weight: Maybe, bias: Maybe, running_mean: TensorLike,
    running_var: TensorLike, training: bool, momentum: float = 0.1, eps: float = 1e-5,
) -> tuple[Any, ...]:  # fmt: skip
    """The same, with the statistics of the batch (not given here) and the new running ones."""
    out = batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)
    if not training:
        return out, None, None, running_mean, running_var
    x, axes = raw(input), (0, *range(2, input.ndim))
    count = math.prod(x.shape[axis] for axis in axes)
    mean, variance = np.mean(x, axis=axes), np.var(x, axis=axes)
    if count > 1:
        variance = variance * (count / (count - 1))
    moved = (
        (old + momentum * (new - old)).astype(old.dtype)
        for old, new in ((raw(running_mean), mean), (raw(running_var), variance))
    )
    return out, None, None, *moved


@operator("_native_batch_norm_legit_no_training.default")
def evaluated_batch_norm(
    input: TensorLike, weight: Maybe, bias: Maybe, running_mean: TensorLike,
    running_var: TensorLike, momentum: float = 0.1, eps: float = 1e-5,
) -> tuple[Any, ...]:  # fmt: skip
    """The same in evaluation."""
    out = batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps)
    return out, None, None


@operator("_native_batch_norm_legit.no_stats")
def batch_norm_without_statistics(
    input: TensorLike,
    weight: Maybe,
    bias: Maybe,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """The same without running statistics."""
    return functional.batch_norm(input, None, None, weight, bias, True, momentum, eps), None, None


@operator("native_batch_norm.default", mode="training")
def native_batch_norm(
    input: TensorLike, weight: Maybe, bias: Maybe, running_mean: Maybe, running_var: Maybe,
    training: bool, momentum: float = 0.1, eps: float = 1e-5,
) -> tuple[Any, ...]:  # fmt: skip
    """The same, with places for the statistics of the batch, which are not given here."""
    return (
        batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps),
        None,
        None,
    )


@operator("instance_norm.default")
def instance_norm(
    input: TensorLike, weight: Maybe, bias: Maybe, running_mean: Maybe, running_var: Maybe,
    use_input_stats: bool, momentum: float = 0.1, eps: float = 1e-5, cudnn_enabled: bool = False,
) -> TensorLike:  # fmt: skip
    """Each channel of each sample standardised."""
    if use_input_stats and running_mean is not None:
        raise TracingError(
            "instance normalisation moves running statistics, which is not there: build it with "
            "track_running_stats=False, or export the model in evaluation"
        )
    mean, variance = (None if x is None else raw(x) for x in (running_mean, running_var))
    return functional.instance_norm(
        input, mean, variance, weight, bias, use_input_stats, momentum, eps
    )


@operator("layer_norm.default")
def layer_norm(
    input: TensorLike, normalized_shape: Sequence[int], weight: Maybe = None, bias: Maybe = None,
    eps: float = 1e-5, cudnn_enable: bool = True,
) -> TensorLike:  # fmt: skip
    """The last axes standardised."""
    return functional.layer_norm(input, sizes(normalized_shape), weight, bias, eps)


@operator("native_layer_norm.default")
def native_layer_norm(
    input: TensorLike, normalized_shape: Sequence[int], weight: Maybe, bias: Maybe, eps: float
) -> tuple[Any, ...]:
    """The same, with places for the moments, which are not given here."""
    return layer_norm(input, normalized_shape, weight, bias, eps), None, None


@operator("rms_norm.default")
def rms_norm(
    input: TensorLike, normalized_shape: Sequence[int], weight: Maybe = None,
    eps: float | None = None,
) -> TensorLike:  # fmt: skip
    """The last axes over their root mean square."""
    return functional.rms_norm(input, sizes(normalized_shape), weight, eps)


@operator("_fused_rms_norm.default")
def fused_rms_norm(
    input: TensorLike, normalized_shape: Sequence[int], weight: Maybe, eps: float | None
) -> tuple[Any, ...]:
    """The same, with a place for the root, which is not given here."""
    return rms_norm(input, normalized_shape, weight, eps), None


@operator("group_norm.default")
def group_norm(
    input: TensorLike, num_groups: int, weight: Maybe = None, bias: Maybe = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> TensorLike:  # fmt: skip
    """Groups of channels standardised."""
    return functional.group_norm(input, num_groups, weight, bias, eps)


@operator("native_group_norm.default")
def native_group_norm(
    input: TensorLike, weight: Maybe, bias: Maybe, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Any, ...]:
    """The same, with places for the moments, which are not given here."""
    return group_norm(input, group, weight, bias, eps), None, None
