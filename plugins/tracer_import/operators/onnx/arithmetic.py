"""ONNX's arithmetic, activations, and reductions, in terms of ATen's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.extend import TensorLike, raw
from tracer_import.operators import (
    elementwise,
    reductions,
)
from tracer_import.operators.context import Operand
from tracer_import.operators.onnx.sizes import ints
from tracer_import.operators.table import OPERATORS, add_operator, operator
from tracer_layers import functional

#: ONNX's name -> the operator of ATen's that takes the same arguments
SAME = {
    **{name: f"{name.lower()}.default" for name in (
        "Sqrt Exp Log Abs Neg Erf Relu Sigmoid Tanh Sin Cos Tan Sinh Cosh Floor Ceil Round Sign "
        "Reciprocal Asin Acos Atan Mish Softsign IsNaN IsInf Gelu Celu Identity"
    ).split() if f"aten.{name.lower()}.default" in OPERATORS and name not in ("Gelu", "Celu")},
    "Add": "add.Tensor", "Sub": "sub.Tensor", "Mul": "mul.Tensor", "Pow": "pow.Tensor_Tensor",
    "MatMul": "matmul.default", "Where": "where.self", "Equal": "eq.Tensor",
    "Greater": "gt.Tensor", "Less": "lt.Tensor", "GreaterOrEqual": "ge.Tensor",
    "LessOrEqual": "le.Tensor", "And": "logical_and.default", "Or": "logical_or.default",
    "Xor": "logical_xor.default", "Not": "logical_not.default", "PRelu": "prelu.default",
    "Identity": "alias.default", "IsNaN": "isnan.default", "HardSwish": "hardswish.default",
}  # fmt: skip
for _name, _target in SAME.items():
    add_operator(f"onnx.{_name}", OPERATORS[f"aten.{_target}"].function)


def _several(function: Callable[..., Any]) -> Callable[..., Any]:
    def combined(*arrays: TensorLike) -> Operand:
        total, *rest = arrays
        for each in rest:
            total = function(total, each)
        return total

    return combined


for _name, _function in (("Max", np.maximum), ("Min", np.minimum), ("Sum", np.add)):
    add_operator(f"onnx.{_name}", _several(_function))


@operator("onnx.Div")
def divide(a: TensorLike, b: TensorLike) -> Operand:
    """The quotient; of integers, towards zero."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.trunc(np.true_divide(a, b)).astype(a.dtype)
    return np.true_divide(a, b)


@operator("onnx.Mod")
def modulo(a: TensorLike, b: TensorLike, fmod: int = 0) -> Operand:
    """The remainder, of the divisor's sign or, with `fmod`, of the dividend's."""
    return np.fmod(a, b) if fmod else np.remainder(a, b)


@operator("onnx.Clip")
def clip(x: TensorLike, min: Operand = None, max: Operand = None) -> Operand:
    """Between two bounds."""
    return elementwise.clamp(x, *(None if each is None else raw(each) for each in (min, max)))


@operator("onnx.Gelu")
def gelu(x: TensorLike, approximate: str = "none") -> TensorLike:
    """`x Phi(x)`."""
    return functional.gelu(x, approximate)


@operator("onnx.LeakyRelu")
def leaky_relu(x: TensorLike, alpha: float = 0.01) -> TensorLike:
    """With a slope where negative."""
    return functional.leaky_relu(x, alpha)


@operator("onnx.Elu")
def elu(x: TensorLike, alpha: float = 1.0) -> TensorLike:
    """The exponential linear unit."""
    return functional.elu(x, alpha)


@operator("onnx.HardSigmoid")
def hard_sigmoid(x: TensorLike, alpha: float = 0.2, beta: float = 0.5) -> TensorLike:
    """`alpha x + beta`, between 0 and 1."""
    return np.clip(alpha * x + beta, 0, 1)


@operator("onnx.Softplus")
def softplus(x: TensorLike) -> TensorLike:
    """`log(1 + exp(x))`."""
    return functional.softplus(x)


@operator("onnx.Softmax")
def softmax(x: TensorLike, axis: int = -1) -> TensorLike:
    """Exponentials that sum to one."""
    return functional.softmax(x, axis)


@operator("onnx.LogSoftmax")
def log_softmax(x: TensorLike, axis: int = -1) -> TensorLike:
    """The logarithm of `softmax`."""
    return functional.log_softmax(x, axis)


@operator("onnx.Gemm")
def gemm(
    a: TensorLike, b: TensorLike, c: TensorLike | None = None, alpha: float = 1.0,
    beta: float = 1.0, transA: int = 0, transB: int = 0,
) -> TensorLike:  # fmt: skip
    """`alpha a @ b + beta c`; with `transB` and neither factor, the linear map that it is."""
    a = np.swapaxes(a, 0, 1) if transA else a
    if transB and alpha == beta == 1 and (c is None or c.ndim == 1):
        return functional.linear(a, b, c)
    out = np.matmul(a, np.swapaxes(b, 0, 1) if transB else b)
    out = out if alpha == 1 else out * alpha
    return out if c is None else out + (c if beta == 1 else c * beta)


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(
        x: TensorLike, axes: Operand = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> TensorLike:
        over = ints(axes)
        if not over and noop_with_empty_axes:
            return x
        return function(x, axis=over or None, keepdims=bool(keepdims))

    return reduced


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSumSquare": lambda x, **options: np.sum(np.square(x), **options),
    "ReduceL1": lambda x, **options: np.sum(np.abs(x), **options),
}
for _name, _reduce in REDUCTIONS.items():
    add_operator(f"onnx.{_name}", _reduction(_reduce))


@operator("onnx.ReduceL2")
def reduce_l2(
    x: TensorLike, axes: Operand = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> TensorLike:
    """The root of the sum of squares."""
    return reductions.vector_norm(x, 2, ints(axes), bool(keepdims))


@operator("onnx.ArgMax")
def argmax(x: TensorLike, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    """Where the largest is."""
    return np.argmax(x, axis=axis, keepdims=bool(keepdims))


@operator("onnx.CumSum")
def cumsum(x: TensorLike, axis: TensorLike, exclusive: int = 0, reverse: int = 0) -> TensorLike:
    """Sums up to each place."""
    along = int(raw(axis))
    if exclusive or reverse:
        raise ValueError("sums that are exclusive or from the end are not there")
    return np.cumsum(x, axis=along)


@operator("onnx.TopK")
def topk(
    x: TensorLike, k: TensorLike, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[TensorLike, Any]:
    """The largest along an axis, and where they are."""
    return reductions.topk(x, int(raw(k).reshape(-1)[0]), axis, bool(largest))
