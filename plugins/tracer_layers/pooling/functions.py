"""Pooling as functions, with the arguments of `torch.nn.functional`; the layers say what they do.

A function of a rank calls the layer of that rank, which checks the arguments.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tracer.extend import Array, TensorLike
from tracer_layers.pooling import adaptive_layers, layers, lp_layers

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
]


Sizes = int | Sequence[int]


def _named(function: Callable[..., Any], layer: type, name: str) -> Callable[..., Any]:
    """The function under its name, which pickles find it by."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"See `{layer.__name__}`."
    return function


def _max_pool(layer: type, name: str) -> Callable[..., Any]:
    def function(
        input: TensorLike,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> TensorLike | tuple[TensorLike, Array]:
        made = layer(kernel_size, stride, padding, dilation, return_indices, ceil_mode)
        return made.forward(input)

    return _named(function, layer, name)


def _with_indices(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which gives the places of maxima besides, whatever `return_indices` says."""

    @functools.wraps(function)
    def both(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options).arguments
        return function(**(given | {"return_indices": True}))

    signature = inspect.signature(function)
    both.__name__ = both.__qualname__ = f"{function.__name__}_with_indices"
    both.__doc__ = f"`{function.__name__}(..., return_indices=True)`."
    return both


def _avg_pool(layer: type, name: str) -> Callable[..., Any]:
    def function(
        input: TensorLike,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> TensorLike:
        options = (padding, ceil_mode, count_include_pad, divisor_override)
        return layer(kernel_size, stride, *options).forward(input)

    return _named(function, layer, name)


def _lp_pool(layer: type, name: str) -> Callable[..., Any]:
    def function(
        input: TensorLike,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> TensorLike:
        return layer(norm_type, kernel_size, stride, ceil_mode).forward(input)

    return _named(function, layer, name)


def _adaptive_avg_pool(layer: type, name: str) -> Callable[..., Any]:
    def function(input: TensorLike, output_size: int | Sequence[int | None] | None) -> TensorLike:
        return layer(output_size).forward(input)

    return _named(function, layer, name)


def _adaptive_max_pool(layer: type, name: str) -> Callable[..., Any]:
    def function(
        input: TensorLike,
        output_size: int | Sequence[int | None] | None,
        return_indices: bool = False,
    ) -> TensorLike | tuple[TensorLike, Array]:
        return layer(output_size, return_indices).forward(input)

    return _named(function, layer, name)


max_pool1d = _max_pool(layers.MaxPool1d, "max_pool1d")
max_pool2d = _max_pool(layers.MaxPool2d, "max_pool2d")
max_pool3d = _max_pool(layers.MaxPool3d, "max_pool3d")
avg_pool1d = _avg_pool(layers.AvgPool1d, "avg_pool1d")
avg_pool2d = _avg_pool(layers.AvgPool2d, "avg_pool2d")
avg_pool3d = _avg_pool(layers.AvgPool3d, "avg_pool3d")
lp_pool1d = _lp_pool(lp_layers.LPPool1d, "lp_pool1d")
lp_pool2d = _lp_pool(lp_layers.LPPool2d, "lp_pool2d")
lp_pool3d = _lp_pool(lp_layers.LPPool3d, "lp_pool3d")
adaptive_avg_pool1d = _adaptive_avg_pool(adaptive_layers.AdaptiveAvgPool1d, "adaptive_avg_pool1d")
adaptive_avg_pool2d = _adaptive_avg_pool(adaptive_layers.AdaptiveAvgPool2d, "adaptive_avg_pool2d")
adaptive_avg_pool3d = _adaptive_avg_pool(adaptive_layers.AdaptiveAvgPool3d, "adaptive_avg_pool3d")
adaptive_max_pool1d = _adaptive_max_pool(adaptive_layers.AdaptiveMaxPool1d, "adaptive_max_pool1d")
adaptive_max_pool2d = _adaptive_max_pool(adaptive_layers.AdaptiveMaxPool2d, "adaptive_max_pool2d")
adaptive_max_pool3d = _adaptive_max_pool(adaptive_layers.AdaptiveMaxPool3d, "adaptive_max_pool3d")
max_pool1d_with_indices = _with_indices(max_pool1d)
max_pool2d_with_indices = _with_indices(max_pool2d)
max_pool3d_with_indices = _with_indices(max_pool3d)
adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)
