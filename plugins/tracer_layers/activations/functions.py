"""Activations as functions, named as in `torch.nn.functional`."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tracer.errors import ShapeError, TracerError
from tracer.extend import Generator, TensorLike, drawn, generator, integer
from tracer_layers.activations.operations import (
    Clamp,
    Cut,
    ExponentialLinear,
    GaussianGated,
    HardShrink,
    LeakyRectify,
    Logistic,
    LogLogistic,
    LogNormalisedExponential,
    NormalisedExponential,
    ParametricRectify,
    Rectify,
    SigmoidWeighted,
    SoftplusGated,
    SoftRectify,
    SoftShrink,
    TanhGated,
)
from tracer_layers.module.arguments import not_in_place
from tracer_layers.module.dtypes import floats
from tracer_layers.module.rules import raw

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def relu(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`max(input, 0)`."""
    not_in_place("relu", inplace)
    return Rectify(floats(input))


def relu6(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`min(max(input, 0), 6)`."""
    not_in_place("relu6", inplace)
    return Clamp(floats(input), min_val=0.0, max_val=6.0)


def leaky_relu(
    input: TensorLike, negative_slope: float = 0.01, inplace: bool = False
) -> TensorLike:
    """`input` where positive, `negative_slope * input` elsewhere."""
    not_in_place("leaky_relu", inplace)
    return LeakyRectify(floats(input), negative_slope=negative_slope)


def prelu(input: TensorLike, weight: TensorLike) -> TensorLike:
    """`input` where positive, `weight * input` elsewhere; `weight` is `[1]` or `[channels]`."""
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ShapeError(
            f"PReLU expects a slope for each of {channels} channels of its input "
            f"{list(input.shape)}, or one for all, got {list(weight.shape)}: give it "
            f"num_parameters={channels}"
        )
    return ParametricRectify(floats(input, weight), weight)


def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> TensorLike:
    """`input` where positive, `alpha (exp(input) - 1)` elsewhere (Clevert et al. 2016)."""
    not_in_place("elu", inplace)
    return ExponentialLinear(floats(input), alpha=alpha, scale=1.0, rate=1.0)


def celu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> TensorLike:
    """`input` where positive, `alpha (exp(input / alpha) - 1)` elsewhere (Barron 2017)."""
    not_in_place("celu", inplace)
    return ExponentialLinear(floats(input), alpha=alpha, scale=1.0, rate=1.0 / alpha)


def selu(input: TensorLike, inplace: bool = False) -> TensorLike:
    """The ELU that keeps mean and variance (Klambauer et al. 2017)."""
    not_in_place("selu", inplace)
    return ExponentialLinear(floats(input), alpha=SELU_ALPHA, scale=SELU_SCALE, rate=1.0)


def gelu(input: TensorLike, approximate: str = "none") -> TensorLike:
    """`input Phi(input)`; `approximate="tanh"` for the approximation of Phi by a tanh."""
    if approximate not in ("none", "tanh"):
        raise TracerError(f'approximate is "none" or "tanh", got {approximate!r}')
    input = floats(input)
    return TanhGated(input) if approximate == "tanh" else GaussianGated(input)


def silu(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`input sigmoid(input)`."""
    not_in_place("silu", inplace)
    return SigmoidWeighted(floats(input))


def mish(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`input tanh(softplus(input))`."""
    not_in_place("mish", inplace)
    return SoftplusGated(floats(input))


def sigmoid(input: TensorLike) -> TensorLike:
    """`1 / (1 + exp(-input))`."""
    return Logistic(floats(input))


def tanh(input: TensorLike) -> TensorLike:
    """`np.tanh(input)`."""
    return np.tanh(floats(input))


def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> TensorLike:
    """`log(1 + exp(beta input)) / beta`, and `input` where `beta input > threshold`."""
    return SoftRectify(floats(input), beta=beta, threshold=threshold)


def logsigmoid(input: TensorLike) -> TensorLike:
    """`log(sigmoid(input))`."""
    return LogLogistic(floats(input))


def hardtanh(
    input: TensorLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> TensorLike:
    """`input` clipped to `[min_val, max_val]`."""
    not_in_place("hardtanh", inplace)
    return Clamp(floats(input), min_val=min_val, max_val=max_val)


def hardsigmoid(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`relu6(input + 3) / 6`."""
    not_in_place("hardsigmoid", inplace)
    return relu6(floats(input) + 3) / 6


def hardswish(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`input relu6(input + 3) / 6` (Howard et al. 2019)."""
    not_in_place("hardswish", inplace)
    input = floats(input)
    return input * relu6(input + 3) / 6


def softsign(input: TensorLike) -> TensorLike:
    """`input / (1 + |input|)`."""
    input = floats(input)
    return input / (1 + abs(input))


def softshrink(input: TensorLike, lambd: float = 0.5) -> TensorLike:
    """`input` moved towards zero by `lambd`."""
    return SoftShrink(floats(input), lambd=lambd)


def hardshrink(input: TensorLike, lambd: float = 0.5) -> TensorLike:
    """`input` where `|input| > lambd`, zero elsewhere."""
    return HardShrink(floats(input), lambd=lambd)


def tanhshrink(input: TensorLike) -> TensorLike:
    """`input - tanh(input)`."""
    input = floats(input)
    return input - np.tanh(input)


def threshold(
    input: TensorLike, threshold: float, value: float, inplace: bool = False
) -> TensorLike:
    """`input` where it is above `threshold`, `value` elsewhere."""
    not_in_place("threshold", inplace)
    return Cut(floats(input), threshold=threshold, value=value)


def softmax(
    input: TensorLike, dim: int | None = None, _stacklevel: int = 3, dtype: DTypeLike | None = None
) -> TensorLike:
    """`exp(input)` normalised to sum to one along `dim`, in `dtype` if given."""
    input = floats(input) if dtype is None else input.astype(dtype)
    return NormalisedExponential(input, axis=_negative_axis("softmax", input, dim))


def log_softmax(
    input: TensorLike, dim: int | None = None, _stacklevel: int = 3, dtype: DTypeLike | None = None
) -> TensorLike:
    """The logarithm of `softmax`."""
    input = floats(input) if dtype is None else input.astype(dtype)
    return LogNormalisedExponential(input, axis=_negative_axis("log_softmax", input, dim))


def softmin(
    input: TensorLike, dim: int | None = None, _stacklevel: int = 3, dtype: DTypeLike | None = None
) -> TensorLike:
    """`softmax(-input)`."""
    return softmax(-floats(input), dim, dtype=dtype)


def _negative_axis(function: str, input: TensorLike, dim: int | None) -> int:
    if dim is None:
        raise ShapeError(
            f"{function} expects dim, the axis to normalise over, which is not guessed as PyTorch "
            f"once did: give dim=-1 for the last axis"
        )
    dim = integer(dim, f"dim of {function}")
    if not -input.ndim <= dim < input.ndim:
        raise ShapeError(f"{function} got dim={dim} for an input {list(input.shape)}")
    return dim if dim < 0 else dim - input.ndim


def rrelu(
    input: TensorLike,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`input` where positive, elsewhere times a slope (Xu et al. 2015).

    In training each element draws its own from `[lower, upper]`; otherwise it is their mean.
    """
    not_in_place("rrelu", inplace)
    if not lower <= upper:
        raise TracerError(f"rrelu expects lower up to upper, got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    input = floats(input)
    data = raw(input)
    slopes = (rng or generator(data)).uniform(lower, upper, data.shape).astype(data.dtype)
    return input * np.where(data > 0, 1, drawn(slopes, data))


def glu(input: TensorLike, dim: int = -1) -> TensorLike:
    """The first half of `dim` times the sigmoid of the second (Dauphin et al. 2017)."""
    if not -input.ndim <= dim < input.ndim or input.shape[dim] % 2:
        raise ShapeError(
            f"glu expects an axis of even size, got dim={dim} of an input {list(input.shape)}"
        )
    values, gates = np.split(floats(input), 2, axis=dim)
    return values * sigmoid(gates)
