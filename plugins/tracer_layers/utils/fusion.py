"""Batch normalisation in evaluation, put into the linear map or convolution before it."""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, TensorLike, raw
from tracer_layers.module.module import Module

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]

#: a convolution or a linear map
Map = TypeVar("Map", bound=Module)


def fuse_conv_bn_eval(conv: Map, bn: Module, transpose: bool = False) -> Map:
    """A copy of a convolution that does what it and the normalisation behind it do in evaluation.

    `transpose` is for a transposed convolution, whose output channels are on axis 1.
    """
    return _fused("fuse_conv_bn_eval", conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Map, bn: Module) -> Map:
    """A copy of a linear map that does what it and the normalisation behind it do in evaluation."""
    return _fused("fuse_linear_bn_eval", linear, bn, 0)


def fuse_conv_bn_weights(
    conv_w: TensorLike,
    conv_b: TensorLike | None,
    bn_rm: TensorLike,
    bn_rv: TensorLike,
    bn_eps: float,
    bn_w: TensorLike | None,
    bn_b: TensorLike | None,
    transpose: bool = False,
) -> tuple[Tensor, Tensor]:
    """Weight and bias, new parameters, of a convolution and the normalisation behind it.

    `bn_rm` and `bn_rv` are running mean and variance, `bn_w` and `bn_b` scale and shift.
    """
    arrays = (conv_w, conv_b, bn_rm, bn_rv, bn_w, bn_b)
    weight, bias = _weights(arrays, bn_eps, 1 if transpose else 0)
    return tracer.parameter(weight), tracer.parameter(bias)


def fuse_linear_bn_weights(
    linear_w: TensorLike,
    linear_b: TensorLike | None,
    bn_rm: TensorLike,
    bn_rv: TensorLike,
    bn_eps: float,
    bn_w: TensorLike,
    bn_b: TensorLike,
) -> tuple[Tensor, Tensor]:
    """The same of a linear map."""
    weight, bias = _weights((linear_w, linear_b, bn_rm, bn_rv, bn_w, bn_b), bn_eps, 0)
    return tracer.parameter(weight), tracer.parameter(bias)


def _fused(name: str, before: Map, bn: Module, axis: int) -> Map:
    if before.training or bn.training:
        raise TracerError(f"{name} is for evaluation: call eval() on both before")
    if bn.running_mean is None:
        raise TracerError(f"{name} expects a normalisation with running statistics, got {bn!r}")
    arrays = (before.weight, before.bias, bn.running_mean, bn.running_var, bn.weight, bn.bias)
    weight, bias = _weights(arrays, bn.eps, axis)
    fused = copy.deepcopy(before)
    fused.weight.data = weight
    fused.register_parameter("bias", tracer.parameter(bias))
    return fused


def _weights(arrays: tuple[TensorLike | None, ...], eps: float, axis: int) -> tuple[Array, Array]:
    """`scale w` and `scale (b - mean) + shift`, with `scale = weight / sqrt(var + eps)`."""
    w, b, mean, variance, weight, shift = (x if x is None else raw(x) for x in arrays)
    rate = 1 / np.sqrt(variance + eps)
    scale = rate if weight is None else rate * weight
    along = [1] * w.ndim
    along[axis] = -1
    moved = -mean if b is None else b - mean
    bias = moved * scale if shift is None else moved * scale + shift
    return (w * scale.reshape(along)).astype(w.dtype), bias.astype(w.dtype)
