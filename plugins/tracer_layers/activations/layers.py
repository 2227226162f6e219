"""Activations as layers, with the arguments of `torch.nn`; see `functions` for the formulas.

With `inplace=True` the result is the same, and the input's other names see it, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer.errors import ShapeError, TracerError
from tracer.extend import Generator, TensorLike
from tracer_layers.activations import functions
from tracer_layers.module.dtypes import float_dtype
from tracer_layers.module.module import Module

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


def _with_inplace(layer: Module, text: str = "") -> str:
    """The text of a layer's arguments, with that it is in place, if it is."""
    return ", ".join(filter(None, [text, "inplace=True" if layer.inplace else ""]))


class ReLU(Module):
    """`max(x, 0)`."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.relu(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self)


class ReLU6(Module):
    """`min(max(x, 0), 6)`."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.relu6(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self)


class SELU(Module):
    """Scaled ELU (Klambauer et al. 2017)."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.selu(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self)


class SiLU(Module):
    """`x sigmoid(x)`, also called swish."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.silu(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self)


class Mish(Module):
    """`x tanh(softplus(x))`."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.mish(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self)


class Hardsigmoid(Module):
    """`relu6(x + 3) / 6`."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.hardsigmoid(input, inplace=self.inplace)


class Hardswish(Module):
    """`x relu6(x + 3) / 6`."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.hardswish(input, inplace=self.inplace)


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.sigmoid(input)


class Tanh(Module):
    """`tanh(x)`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.tanh(input)


class LogSigmoid(Module):
    """`log(sigmoid(x))`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.logsigmoid(input)


class Softsign(Module):
    """`x / (1 + |x|)`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.softsign(input)


class Tanhshrink(Module):
    """`x - tanh(x)`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.tanhshrink(input)


class LeakyReLU(Module):
    """`x` where positive, `negative_slope * x` elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.inplace = inplace
        self.negative_slope = negative_slope

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.leaky_relu(input, self.negative_slope, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self, f"negative_slope={self.negative_slope}")


class ELU(Module):
    """`x` where positive, `alpha (exp(x) - 1)` elsewhere."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.inplace = inplace
        self.alpha = alpha

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.elu(input, self.alpha, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self, f"alpha={self.alpha}")


class CELU(Module):
    """`x` where positive, `alpha (exp(x / alpha) - 1)` elsewhere."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.inplace = inplace
        self.alpha = alpha

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.celu(input, self.alpha, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self, f"alpha={self.alpha}")


class GELU(Module):
    """`x Phi(x)`, exact or with the tanh approximation."""

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """`log(1 + exp(beta x)) / beta`, and `x` where `beta x` is above `threshold`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """`x` clipped to `[min_val, max_val]`."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ):
        self.inplace = inplace
        if min_value is not None or max_value is not None:
            raise TracerError(
                "Hardtanh expects min_val and max_val in place of min_value and max_value, which "
                "PyTorch has deprecated"
            )
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.hardtanh(input, self.min_val, self.max_val, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self, f"min_val={self.min_val}, max_val={self.max_val}")


class Softshrink(Module):
    """`x` moved towards zero by `lambd`."""

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Hardshrink(Module):
    """`x` where `|x| > lambd`, zero elsewhere."""

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Threshold(Module):
    """`x` where it is above `threshold`, `value` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        self.inplace = inplace
        self.threshold = threshold
        self.value = value

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.threshold(input, self.threshold, self.value, inplace=self.inplace)

    def extra_repr(self) -> str:
        return _with_inplace(self, f"threshold={self.threshold}, value={self.value}")


class Softmax(Module):
    """`exp(x)` normalised along `dim`."""

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """`log(softmax(x))` along `dim`."""

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmin(Module):
    """`softmax(-x)` along `dim`."""

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.softmin(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class PReLU(Module):
    """`x` where positive, `weight * x` elsewhere, with a trained weight per channel or for all."""

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: object = None,
        dtype: DTypeLike | None = None,
    ):
        self.num_parameters = num_parameters
        self.init = init
        self.weight = tracer.parameter(np.full(num_parameters, init, float_dtype(dtype, device)))

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """Leaky ReLU with a slope drawn for each element in training, fixed in evaluation."""

    def __init__(
        self,
        lower: float = 1 / 8,
        upper: float = 1 / 3,
        inplace: bool = False,
        *,
        rng: Generator | None = None,
    ):
        self.inplace = inplace
        self.lower = lower
        self.upper = upper
        self.rng = rng

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.rrelu(
            input, self.lower, self.upper, self.training, self.inplace, rng=self.rng
        )

    def extra_repr(self) -> str:
        return _with_inplace(self, f"lower={self.lower}, upper={self.upper}")


class GLU(Module):
    """The first half of `dim` times the sigmoid of the second."""

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, input: TensorLike) -> TensorLike:
        return functions.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax2d(Module):
    """`Softmax` over the channels of `[N, C, H, W]` or `[C, H, W]`."""

    def forward(self, input: TensorLike) -> TensorLike:
        if input.ndim not in (3, 4):
            raise ShapeError(
                f"Softmax2d expects inputs [N, C, H, W] or [C, H, W], got {list(input.shape)}: use "
                f"Softmax(dim)"
            )
        return functions.softmax(input, -3)
