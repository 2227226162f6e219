"""Linear maps and products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.extend import TensorLike
from tracer_import.operators.context import Operand
from tracer_import.operators.table import operator
from tracer_layers import functional

#: names of axes
LETTERS = "abcdefghijkl"


@operator("linear.default")
def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> TensorLike:
    """`input @ weight.T + bias`."""
    return functional.linear(input, weight, bias)


@operator("bilinear.default")
def bilinear(
    input1: TensorLike, input2: TensorLike, weight: TensorLike, bias: TensorLike | None = None
) -> TensorLike:
    """`input1 @ weight[o] @ input2 + bias`."""
    return functional.bilinear(input1, input2, weight, bias)


@operator("_trilinear.default")
def trilinear(
    i1: TensorLike, i2: TensorLike, i3: TensorLike, expand1: Sequence[int], expand2: Sequence[int],
    expand3: Sequence[int], sumdim: Sequence[int], unroll_dim: int = 1,
) -> TensorLike:  # fmt: skip
    """The product of three arrays, each with more axes, summed over some: a bilinear map.

    `expand1` and the like are where axes of size 1 are added; `sumdim`, what is summed over.
    """
    pairs = zip((i1, i2, i3), (expand1, expand2, expand3), strict=True)
    rank = i1.ndim + len(expand1)
    of = ["".join(LETTERS[axis] for axis in range(rank) if axis not in axes) for _, axes in pairs]
    left = "".join(LETTERS[axis] for axis in range(rank) if axis not in sumdim)
    return np.einsum(f"{','.join(of)}->{left}", i1, i2, i3)


@operator("mm.default", "bmm.default", "matmul.default", "mv.default", "dot.default")
def matmul(self: TensorLike, other: Operand = None, **named: TensorLike) -> TensorLike:
    """The product of matrices."""
    if other is None:
        (other,) = named.values()
    return np.matmul(self, other)


@operator("outer.default")
def outer(self: TensorLike, vec2: TensorLike) -> TensorLike:
    """All products of elements."""
    return self[:, None] * vec2


def _sum(shift: TensorLike, product: TensorLike, beta: Operand, alpha: Operand) -> TensorLike:
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (shift if beta == 1 else shift * beta)


@operator("addmm.default")
def addmm(
    self: TensorLike, mat1: TensorLike, mat2: TensorLike, beta: Operand = 1, alpha: Operand = 1
) -> TensorLike:
    """`beta self + alpha mat1 @ mat2`."""
    return _sum(self, np.matmul(mat1, mat2), beta, alpha)


@operator("baddbmm.default")
def baddbmm(
    self: TensorLike, batch1: TensorLike, batch2: TensorLike, beta: Operand = 1, alpha: Operand = 1
) -> TensorLike:
    """The same of stacks of matrices."""
    return _sum(self, np.matmul(batch1, batch2), beta, alpha)


@operator("einsum.default")
def einsum(equation: str, tensors: Sequence[TensorLike], path: Any = None) -> TensorLike:
    """Products summed over letters."""
    return np.einsum(equation.replace(" ", ""), *tensors)


@operator("_weight_norm.default", "_weight_norm_interface.default")
def weight_norm(v: TensorLike, g: TensorLike, dim: int = 0) -> TensorLike:
    """`g v / |v|`, the norm over all axes but one (Salimans and Kingma 2016)."""
    axes = tuple(range(v.ndim)) if dim == -1 else tuple(i for i in range(v.ndim) if i != dim)
    return v * (g / np.sqrt(np.sum(np.square(v), axis=axes, keepdims=True)))
