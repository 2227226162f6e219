"""Arithmetic, comparisons and other functions of single elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer import registry
from tracer.extend import TensorLike, raw
from tracer_import.operators.context import Operand
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional

#: ATen's name -> NumPy's function, of one argument
UNARY: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "neg": np.negative,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "square": np.square,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "floor": np.floor,
    "trunc": np.trunc,
    "round": np.rint,
    "sign": np.sign,
    "sgn": np.sign,
    "logical_not": np.logical_not,
    "bitwise_not": np.bitwise_not,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "real": np.real,
    "imag": np.imag,
}
#: of two, with overloads for tensors and numbers
BINARY: dict[str, Callable[..., Any]] = {
    "mul": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "fmax": np.fmax,
    "fmin": np.fmin,
    "fmod": np.fmod,
    "remainder": np.remainder,
    "floor_divide": np.floor_divide,
    "atan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
    "heaviside": np.heaviside,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "copysign": np.copysign,
}


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: function(self)


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: function(self, other)


def _special(name: str) -> Callable[..., Any]:
    """A function of SciPy's that is an operation."""
    return lambda self: registry.operations[name](self)


for _name, _function in UNARY.items():
    add_operator(f"{_name}.default", _unary(_function))
for _name, _function in BINARY.items():
    for _overload in ("default", "Tensor", "Scalar"):
        add_operator(f"{_name}.{_overload}", _binary(_function))
for _name in ("erf", "erfc", "digamma"):
    add_operator(f"{_name}.default", _special(_name))
add_operator("lgamma.default", _special("gammaln"))
add_operator("sigmoid.default", _unary(functional.sigmoid))
for _name, _function in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
    for _overload in ("Tensor", "Scalar"):
        add_operator(f"__{_name}__.{_overload}", _binary(_function))
add_operator("max.other", _binary(np.maximum))
add_operator("min.other", _binary(np.minimum))


@operator("add.Tensor", "add.Scalar")
def add(self: TensorLike, other: Operand, alpha: Operand = 1) -> TensorLike:
    """`self + alpha other`."""
    return np.add(self, other if alpha == 1 else other * alpha)


@operator("sub.Tensor", "sub.Scalar")
def sub(self: TensorLike, other: Operand, alpha: Operand = 1) -> TensorLike:
    """`self - alpha other`."""
    return np.subtract(self, other if alpha == 1 else other * alpha)


@operator("rsub.Tensor", "rsub.Scalar")
def rsub(self: TensorLike, other: Operand, alpha: Operand = 1) -> TensorLike:
    """`other - alpha self`."""
    return np.subtract(other, self if alpha == 1 else self * alpha)


@operator("div.Tensor", "div.Scalar", "true_divide.Tensor", "div.Tensor_mode", "div.Scalar_mode")
def div(self: TensorLike, other: Operand, rounding_mode: str | None = None) -> TensorLike:
    """`self / other`, rounded down ("floor") or towards zero ("trunc") if asked."""
    if rounding_mode == "floor":
        return np.floor_divide(self, other)
    quotient = np.true_divide(self, other)
    return quotient if rounding_mode is None else np.trunc(quotient)


@operator("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")
def power(self: TensorLike, exponent: Operand) -> TensorLike:
    """`self ** exponent`."""
    if isinstance(exponent, int | float) and not isinstance(exponent, bool):
        if exponent == 2:
            return np.square(self)
        if exponent == 0.5:
            return np.sqrt(self)
        if exponent == int(exponent) and exponent > 0:
            exponent = int(exponent)
    return np.power(self, exponent)


@operator("rsqrt.default")
def rsqrt(self: TensorLike) -> TensorLike:
    """`1 / sqrt(self)`."""
    return 1 / np.sqrt(self)


@operator("clamp.default", "clamp.Tensor", "clip.default", "clip.Tensor")
def clamp(self: TensorLike, min: Operand = None, max: Operand = None) -> TensorLike:
    """`self` between two bounds, either of which may be missing."""
    return np.clip(self, min, max)


@operator("clamp_min.default", "clamp_min.Tensor")
def clamp_min(self: TensorLike, min: Operand) -> TensorLike:
    """`self`, at least the bound."""
    return np.clip(self, min, None)


@operator("clamp_max.default", "clamp_max.Tensor")
def clamp_max(self: TensorLike, max: Operand) -> TensorLike:
    """`self`, at most the bound."""
    return np.clip(self, None, max)


@operator("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(condition: TensorLike, self: Operand, other: Operand) -> Operand:
    """`self` where the condition holds, `other` elsewhere."""
    return np.where(raw(condition).astype(bool, copy=False), self, other)


@operator("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(self: TensorLike, mask: TensorLike, value: Operand) -> TensorLike:
    """`value` where the mask is true, `self` elsewhere."""
    return np.where(mask, value, self)


@operator("lerp.Scalar", "lerp.Tensor")
def lerp(self: TensorLike, end: TensorLike, weight: Operand) -> TensorLike:
    """From `self` to `end` by `weight`."""
    return self + weight * (end - self)


@operator("addcmul.default")
def addcmul(self: TensorLike, tensor1: TensorLike, tensor2: TensorLike, value: Operand = 1) -> Any:
    """`self + value tensor1 tensor2`."""
    return self + value * (tensor1 * tensor2)


@operator("addcdiv.default")
def addcdiv(self: TensorLike, tensor1: TensorLike, tensor2: TensorLike, value: Operand = 1) -> Any:
    """`self + value tensor1 / tensor2`."""
    return self + value * (tensor1 / tensor2)


@operator("nan_to_num.default")
def nan_to_num(
    self: TensorLike, nan: Operand = None, posinf: Operand = None, neginf: Operand = None
) -> TensorLike:
    """`self` with numbers for what is none."""
    return np.nan_to_num(self, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


@operator(
    *("bitwise_left_shift.Tensor", "bitwise_left_shift.Tensor_Scalar"),
    *("__lshift__.Tensor", "__lshift__.Scalar"),
)
def left_shift(self: TensorLike, other: Operand) -> TensorLike:
    """`self << other`."""
    return np.left_shift(self, other)


@operator(
    *("bitwise_right_shift.Tensor", "bitwise_right_shift.Tensor_Scalar"),
    *("__rshift__.Tensor", "__rshift__.Scalar"),
)
def right_shift(self: TensorLike, other: Operand) -> TensorLike:
    """`self >> other`."""
    return np.right_shift(self, other)


@operator("round.decimals")
def round_to(self: TensorLike, decimals: int) -> TensorLike:
    """The nearest number of so many decimals."""
    return np.round(self, decimals)
