"""Activations as functions, named as in `torch.nn.functional`.

With `inplace=True`, a tensor moves on to the result, which all its names then see, as with
`t += u`. Its memory is not written into, and a raw array stays as it is; see `overwriting`.
"""

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
from tracer_layers.module.arguments import overwriting
from tracer_layers.module.dtypes import floats
from tracer_layers.module.rules import raw

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
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
    "threshold_",
]

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@overwriting
def relu(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`max(input, 0)`."""
    return Rectify(floats(input))


@overwriting
def relu6(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`min(max(input, 0), 6)`."""
    return Clamp(floats(input), min_val=0.0, max_val=6.0)


@overwriting
def leaky_relu(
    input: TensorLike, negative_slope: float = 0.01, inplace: bool = False
) -> TensorLike:
    """`input` where positive, `negative_slope * input` elsewhere."""
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


@overwriting
def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> TensorLike:
    """`input` where positive, `alpha (exp(input) - 1)` elsewhere (Clevert et al. 2016)."""
    return ExponentialLinear(floats(input), alpha=alpha, scale=1.0, rate=1.0)


@overwriting
def celu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> TensorLike:
    """`input` where positive, `alpha (exp(input / alpha) - 1)` elsewhere (Barron 2017)."""
    return ExponentialLinear(floats(input), alpha=alpha, scale=1.0, rate=1.0 / alpha)


@overwriting
def selu(input: TensorLike, inplace: bool = False) -> TensorLike:
    """The ELU that keeps mean and variance (Klambauer et al. 2017)."""
    return ExponentialLinear(floats(input), alpha=SELU_ALPHA, scale=SELU_SCALE, rate=1.0)


def gelu(input: TensorLike, approximate: str = "none") -> TensorLike:
    """`input Phi(input)`; `approximate="tanh"` for the approximation of Phi by a tanh."""
    if approximate not in ("none", "tanh"):
        raise TracerError(f'approximate is "none" or "tanh", got {approximate!r}')
    input = floats(input)
    return TanhGated(input) if approximate == "tanh" else GaussianGated(input)


@overwriting
def silu(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`input sigmoid(input)`."""
    return SigmoidWeighted(floats(input))


@overwriting
def mish(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`input tanh(softplus(input))`."""
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


@overwriting
def hardtanh(
    input: TensorLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> TensorLike:
    """`input` clipped to `[min_val, max_val]`."""
    return Clamp(floats(input), min_val=min_val, max_val=max_val)


@overwriting
def hardsigmoid(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`relu6(input + 3) / 6`."""
    return relu6(floats(input) + 3) / 6


@overwriting
def hardswish(input: TensorLike, inplace: bool = False) -> TensorLike:
    """`input relu6(input + 3) / 6` (Howard et al. 2019)."""
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


@overwriting
def threshold(
    input: TensorLike, threshold: float, value: float, inplace: bool = False
) -> TensorLike:
    """`input` where it is above `threshold`, `value` elsewhere."""
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


@overwriting
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


# -- the same in place, over their input -----------------------------------------------------------


def relu_(input: TensorLike) -> TensorLike:
    """`relu(input, inplace=True)`."""
    return relu(input, True)


def elu_(input: TensorLike, alpha: float = 1.0) -> TensorLike:
    """`elu(input, alpha, inplace=True)`."""
    return elu(input, alpha, True)


def celu_(input: TensorLike, alpha: float = 1.0) -> TensorLike:
    """`celu(input, alpha, inplace=True)`."""
    return celu(input, alpha, True)


def selu_(input: TensorLike) -> TensorLike:
    """`selu(input, inplace=True)`."""
    return selu(input, True)


def leaky_relu_(input: TensorLike, negative_slope: float = 0.01) -> TensorLike:
    """`leaky_relu(input, negative_slope, inplace=True)`."""
    return leaky_relu(input, negative_slope, True)


def hardtanh_(input: TensorLike, min_val: float = -1.0, max_val: float = 1.0) -> TensorLike:
    """`hardtanh(input, min_val, max_val, inplace=True)`."""
    return hardtanh(input, min_val, max_val, True)


_threshold = threshold  # whose name is that of an argument


def threshold_(input: TensorLike, threshold: float, value: float) -> TensorLike:
    """`threshold(input, threshold, value, inplace=True)`."""
    return _threshold(input, threshold, value, True)


def rrelu_(
    input: TensorLike,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`rrelu(input, lower, upper, training, inplace=True)`."""
    return rrelu(input, lower, upper, training, True, rng=rng)
