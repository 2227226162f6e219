"""Dropout of elements and of whole channels, to zero or to the value that `SELU` tends to."""

from __future__ import annotations

import math

import numpy as np

from tracer.errors import ShapeError
from tracer.extend import Array, Generator, Shape, TensorLike, drawn, generator
from tracer_layers.activations.functions import SELU_ALPHA, SELU_SCALE
from tracer_layers.module.arguments import axes_of, overwriting, probability
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]

#: what SELU gives for very negative inputs, where alpha dropout puts what it drops
LEAST = -SELU_ALPHA * SELU_SCALE


@overwriting
def dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """In training, zeroes elements with probability `p` and divides the others by `1 - p`."""
    probability("dropout", p)
    if not training or p == 0:
        return input
    return _zeroed(input, p, input.shape, rng)


def channel_dropout(
    input: TensorLike,
    rank: int,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`dropout` of whole channels of `[N, C, *size]`, or `[C, *size]`, with `rank` sizes."""
    probability("channel_dropout", p)
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"dropout of channels over {rank} axes expects inputs [N, C, {axes_of(rank)}], or one "
            f"sample without N, got {list(input.shape)}"
        )
    if not training or p == 0:
        return input
    return _zeroed(input, p, _channels(input, rank), rng)


@overwriting
def dropout1d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`dropout` of whole channels of `[N, C, L]`, or `[C, L]` (Tompson et al. 2015)."""
    return channel_dropout(input, 1, p, training, rng=rng)


@overwriting
def dropout2d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`dropout` of whole channels of `[N, C, H, W]` (Tompson et al. 2015)."""
    if input.ndim == 3:
        raise ShapeError(
            f"Dropout2d expects inputs [N, C, H, W], got {list(input.shape)}, which PyTorch "
            f"reads as [N, C, L]: use Dropout1d for that, or add an axis of samples"
        )
    return channel_dropout(input, 2, p, training, rng=rng)


@overwriting
def dropout3d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`dropout` of whole channels of `[N, C, D, H, W]`, or `[C, D, H, W]` (Tompson et al. 2015)."""
    return channel_dropout(input, 3, p, training, rng=rng)


@overwriting
def alpha_dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """Dropout that keeps mean and variance of standardised inputs (Klambauer et al. 2017).

    As in PyTorch, it does nothing unless told that this is training, other than `dropout`.
    """
    probability("alpha_dropout", p)
    return _to_least(input, p, input.shape, rng) if training and p else input


@overwriting
def feature_alpha_dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`alpha_dropout` of whole channels of `[N, C, ...]`."""
    probability("feature_alpha_dropout", p)
    if input.ndim < 2:
        raise ShapeError(f"feature_alpha_dropout expects inputs [N, C, ...], got {input.shape}")
    return _to_least(input, p, _channels(input, input.ndim - 2), rng) if training and p else input


def _channels(input: TensorLike, rank: int) -> tuple[int, ...]:
    return (*input.shape[: input.ndim - rank], *(1,) * rank)


def _kept(p: float, shape: Shape, rng: Generator | None, data: Array) -> Array:
    """Which elements are kept: booleans in the library of `data`."""
    return drawn((rng or generator(data)).random(shape, dtype=np.float32) >= p, data)


def _zeroed(input: TensorLike, p: float, shape: Shape, rng: Generator | None) -> TensorLike:
    input = floats(input)
    data = raw(input)
    scale = _kept(p, shape, rng, data).astype(data.dtype)
    scale *= 1 / (1 - p) if p < 1 else 0.0
    return input * scale


def _to_least(input: TensorLike, p: float, shape: Shape, rng: Generator | None) -> TensorLike:
    input = floats(input)
    if p == 1:
        return input * 0
    data = raw(input)
    scale = 1 / math.sqrt((1 - p) * (1 + p * LEAST**2))
    kept = _kept(p, shape, rng, data).astype(data.dtype)
    return input * (kept * scale) + ((1 - kept) - p) * (LEAST * scale)


class _Dropout(Module):
    """What the layers of this file share: the probability `p`."""

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: Generator | None = None):
        probability(type(self).__name__, p)
        self.p = p
        self.inplace = inplace
        self.rng = rng

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zeroes elements with probability `p` in training (Srivastava et al. 2014)."""

    def forward(self, input: TensorLike) -> TensorLike:
        return dropout(input, self.p, self.training, self.inplace, rng=self.rng)


class Dropout1d(_Dropout):
    """Zeroes channels of `[N, C, L]` (Tompson et al. 2015)."""

    def forward(self, input: TensorLike) -> TensorLike:
        return dropout1d(input, self.p, self.training, self.inplace, rng=self.rng)


class Dropout2d(_Dropout):
    """Zeroes channels of `[N, C, H, W]` (Tompson et al. 2015)."""

    def forward(self, input: TensorLike) -> TensorLike:
        return dropout2d(input, self.p, self.training, self.inplace, rng=self.rng)


class Dropout3d(_Dropout):
    """Zeroes channels of `[N, C, D, H, W]` (Tompson et al. 2015)."""

    def forward(self, input: TensorLike) -> TensorLike:
        return dropout3d(input, self.p, self.training, self.inplace, rng=self.rng)


class AlphaDropout(_Dropout):
    """Dropout that goes with `SELU`; see `alpha_dropout`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return alpha_dropout(input, self.p, self.training, self.inplace, rng=self.rng)


class FeatureAlphaDropout(_Dropout):
    """The same for whole channels; see `feature_alpha_dropout`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return feature_alpha_dropout(input, self.p, self.training, self.inplace, rng=self.rng)
