"""Positions of a sequence, added to its embeddings: sinusoids, or learned vectors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer import Gather, Operation, operation, samples_first
from tracer.errors import ShapeError
from tracer.extend import (
    DType,
    Generator,
    TensorLike,
    backend,
    broadcast_tangent,
    lifted,
)
from tracer_layers.attention.layers import holds_sequences
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.initial import normal
from tracer_layers.module.module import Module
from tracer_layers.module.rules import arange, data_axis, raw

__all__ = ["LearnedPositions", "SinusoidalPositions"]


@operation("add_positions")
class AddPositions(Operation):
    """`x` plus the first L rows of `weight [K, D]`, for `x [N, L, D]`, `[L, N, D]` or `[L, D]`.

    `axis`, negative, is that of the positions. A sum whose cotangent is known to be one of rows.
    """

    saves = ()
    linear = True

    def forward(x, weight, *, axis):
        rows = weight[: x.shape[axis]]
        return x + (rows if axis == -2 else rows[:, None])

    def vjp(node, g):
        """g_x = g; g_W[v,l] = sum_n g[v,n,l], 0 for rows beyond the L of x."""
        axis, rows = node.params["axis"], node.input_shape(1)[0]

        def table():
            total = g if g.ndim == 3 else np.sum(g, axis=1 if axis == -2 else 2)
            rest = (len(g), rows - node.shape[axis], node.shape[-1])
            return np.concatenate([total, np.zeros_like(raw(g), shape=rest)], axis=1)

        return g, table

    def jvp(node, tangents):
        """t_x plus the first L rows of t_W."""
        (t_x, t_weight), axis = tangents, node.params["axis"]
        if t_weight is None:
            return t_x
        rows = t_weight[:, : node.shape[axis]]
        rows = lifted(rows if axis == -2 else rows[:, :, None], len(node.shape))
        return broadcast_tangent(rows, node.shape) if t_x is None else t_x + rows

    def batch_axis(node, axes):
        return data_axis(axes)

    def parameter_cotangent(node, slot, g):
        """U[v,n,l] = g[v,n,l], a `Gather` of the rows 0 to L - 1 by every sample."""
        rank, position = len(node.shape), node.params["axis"] + len(node.shape)
        if slot == 0 or rank == 2 or node.batch_axis in (position, rank - 1):
            return None
        right = samples_first(g, node.batch_axis, lead=1)
        samples, length = right.shape[1:3]
        index = np.broadcast_to(arange(raw(g), length), (samples, length))
        return Gather(index, right, node.input_shape(1))

    def examples(rng):
        return [
            ((rng.random((2, 3, 2)), rng.random((4, 2))), {"axis": -2}),
            ((rng.random((3, 2, 2)), rng.random((3, 2))), {"axis": -3}),
            ((rng.random((3, 2)), rng.random((4, 2))), {"axis": -2}),
        ]


class _Positions:
    """What both kinds share: which axis the positions are on, and how many there may be."""

    holds_samples = holds_sequences

    def _axis(self, input):
        """Of the positions in `[L, N, D]`, `[N, L, D]` or `[L, D]`, negative."""
        axis = -3 if self.sequence_first and input.ndim == 3 else -2
        if input.ndim not in (2, 3) or input.shape[-1] != self.embedding_dim:
            lead = "N, L" if self.batch_first else "L, N"
            raise ShapeError(
                f"{type(self).__name__}({self.extra_repr()}) expects inputs [{lead}, "
                f"{self.embedding_dim}] or [L, {self.embedding_dim}], got {list(input.shape)}"
            )
        if input.shape[axis] > self.max_length:
            raise ShapeError(
                f"{type(self).__name__} has {self.max_length} positions, got an input "
                f"{list(input.shape)} of length {input.shape[axis]}: give it a larger max_length, "
                f"or batch_first={not self.batch_first} if samples are on that axis"
            )
        return axis

    def extra_repr(self):
        return f"{self.max_length}, {self.embedding_dim}, batch_first={self.batch_first}"


class SinusoidalPositions(_Positions, Module):
    """Adds sines and cosines of geometrically spaced frequencies (Vaswani et al. 2017).

    Column 2i of position t is `sin(t / 10000^(2i / embedding_dim))`, column 2i + 1 the cosine.
    `[L, N, embedding_dim]` to the same; with `batch_first`, `[N, L, embedding_dim]`.
    """

    def __init__(self, max_length: int, embedding_dim: int, batch_first: bool = False):
        at_least("SinusoidalPositions", 1, max_length=max_length, embedding_dim=embedding_dim)
        self.max_length = max_length
        self.embedding_dim = embedding_dim
        self.batch_first = batch_first
        self.sequence_first = not batch_first

    def forward(self, input: TensorLike) -> TensorLike:
        axis, input = self._axis(input), floats(input)
        constant = backend.of(raw(input)).constant
        rows = constant(_rows, input.shape[axis], self.embedding_dim, input.dtype)
        return input + (rows if axis == -2 else rows[:, None])


def _rows(length: int, width: int, dtype: DType) -> np.ndarray:
    return sinusoids(length, width).astype(dtype)


def sinusoids(length: int, width: int) -> np.ndarray:
    """`[length, width]`: sines in the even columns, cosines in the odd ones, in float64."""
    columns = np.arange(width)
    rates = np.exp((columns - columns % 2) * (-math.log(10000.0) / width))
    angles = np.arange(length)[:, None] * rates
    return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles))


class LearnedPositions(_Positions, Module):
    """Adds row t of a trained table `weight [max_length, embedding_dim]` to position t.

    `[L, N, embedding_dim]` to the same; with `batch_first`, `[N, L, embedding_dim]`. Rows start
    normal, as those of an `Embedding`.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int,
        batch_first: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        at_least("LearnedPositions", 1, max_length=max_length, embedding_dim=embedding_dim)
        self.max_length = max_length
        self.embedding_dim = embedding_dim
        self.batch_first = batch_first
        self.sequence_first = not batch_first
        values = normal((max_length, embedding_dim), float_dtype(dtype, device), rng)
        self.weight = tracer.parameter(values)

    def forward(self, input: TensorLike) -> TensorLike:
        axis = self._axis(input)
        return AddPositions(floats(input, self.weight), self.weight, axis=axis)
