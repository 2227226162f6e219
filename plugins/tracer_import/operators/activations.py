"""Activation functions, and dropout by this library's generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.extend import TensorLike, raw
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional


def _plain(name: str) -> Callable[..., Any]:
    """The function of one array that the library has under a name."""
    function = getattr(functional, name)
    return lambda self: function(self)


for _name in ("relu", "relu6", "silu", "mish", "hardswish", "hardsigmoid", "selu", "softsign"):
    add_operator(f"{_name}.default", _plain(_name))
add_operator("log_sigmoid.default", _plain("logsigmoid"))


@operator("log_sigmoid_forward.default")
def log_sigmoid_forward(self: TensorLike) -> tuple[TensorLike, None]:
    """The logarithm of the sigmoid, with a place for what its gradient takes, not given here."""
    return functional.logsigmoid(self), None


@operator("gelu.default")
def gelu(self: TensorLike, approximate: str = "none") -> TensorLike:
    """`x Phi(x)`."""
    return functional.gelu(self, approximate)


@operator("hardtanh.default")
def hardtanh(self: TensorLike, min_val: float = -1, max_val: float = 1) -> TensorLike:
    """Clipped to an interval."""
    return functional.hardtanh(self, min_val, max_val)


@operator("leaky_relu.default")
def leaky_relu(self: TensorLike, negative_slope: float = 0.01) -> TensorLike:
    """With a slope where negative."""
    return functional.leaky_relu(self, negative_slope)


@operator("elu.default")
def elu(self: TensorLike, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> TensorLike:
    """`scale x` where positive, `scale alpha (exp(input_scale x) - 1)` elsewhere."""
    if input_scale == 1:
        out = functional.elu(self, alpha)
    else:
        below = alpha * np.expm1(np.minimum(self, 0) * input_scale)
        out = np.where(raw(self) > 0, self, below)
    return out if scale == 1 else out * scale


@operator("celu.default")
def celu(self: TensorLike, alpha: float = 1.0) -> TensorLike:
    """The ELU that is smooth for any `alpha`."""
    return functional.celu(self, alpha)


@operator("softplus.default")
def softplus(self: TensorLike, beta: float = 1, threshold: float = 20) -> TensorLike:
    """`log(1 + exp(beta x)) / beta`."""
    return functional.softplus(self, beta, threshold)


@operator("prelu.default", "_prelu_kernel.default")
def prelu(self: TensorLike, weight: TensorLike) -> TensorLike:
    """With a learned slope where negative."""
    out = functional.prelu(self, np.reshape(weight, (-1,)))
    return out if out.shape == self.shape else np.reshape(out, self.shape)


@operator("glu.default")
def glu(self: TensorLike, dim: int = -1) -> TensorLike:
    """One half, gated by the other."""
    return functional.glu(self, dim)


@operator("softshrink.default")
def softshrink(self: TensorLike, lambd: float = 0.5) -> TensorLike:
    """Moved towards zero."""
    return functional.softshrink(self, lambd)


@operator("hardshrink.default")
def hardshrink(self: TensorLike, lambd: float = 0.5) -> TensorLike:
    """Zero where small."""
    return functional.hardshrink(self, lambd)


@operator("threshold.default")
def threshold(self: TensorLike, threshold: float, value: float) -> TensorLike:
    """A value where not above the threshold."""
    return functional.threshold(self, threshold, value)


@operator("rrelu.default", mode="training")
def rrelu(
    self: TensorLike, lower: float = 0.125, upper: float = 1 / 3, training: bool = False,
    generator: Any = None,
) -> TensorLike:  # fmt: skip
    """With random slopes where negative."""
    return functional.rrelu(self, lower, upper, training)


@operator("rrelu_with_noise_functional.default", mode="training")
def rrelu_with_noise(
    self: TensorLike, noise: Any, lower: float = 0.125, upper: float = 1 / 3,
    training: bool = False, generator: Any = None,
) -> tuple[TensorLike, Any]:  # fmt: skip
    """The same as core ATen has it, with a place for the slopes, which are not given here."""
    return functional.rrelu(self, lower, upper, training), None


@operator("dropout.default", mode="train")
def dropout(input: TensorLike, p: float, train: bool) -> TensorLike:
    """Zeroes elements with probability `p` in training."""
    return functional.dropout(input, p, train)


@operator("native_dropout.default", mode="train")
def native_dropout(input: TensorLike, p: float, train: bool | None) -> tuple[TensorLike, Any]:
    """The same, with a place for the mask, which is not given here."""
    return functional.dropout(input, p, bool(train)), None


@operator("feature_dropout.default", mode="train")
def feature_dropout(input: TensorLike, p: float, train: bool) -> TensorLike:
    """Zeroes whole channels."""
    by_rank = {3: functional.dropout1d, 4: functional.dropout2d, 5: functional.dropout3d}
    return by_rank[input.ndim](input, p, train) if train and p else input


@operator("alpha_dropout.default", mode="train")
def alpha_dropout(input: TensorLike, p: float, train: bool) -> TensorLike:
    """Dropout that goes with SELU."""
    return functional.alpha_dropout(input, p, train)


@operator("feature_alpha_dropout.default", mode="train")
def feature_alpha_dropout(input: TensorLike, p: float, train: bool) -> TensorLike:
    """The same of whole channels."""
    return functional.feature_alpha_dropout(input, p, train)
