"""How alike two vectors are: `CosineSimilarity`, `PairwiseDistance`."""

from __future__ import annotations

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import DType, TensorLike, backend, narrowed, widened
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = [
    "CosineSimilarity",
    "PairwiseDistance",
    "cosine_similarity",
    "normalize",
    "pairwise_distance",
    "pdist",
]


def cosine_similarity(
    x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8
) -> TensorLike:
    """`<x1, x2> / (|x1| |x2|)` along `dim`; norms below `eps` count as `eps`."""
    x1, x2, dtype = _widened(x1, x2)
    first, second = (np.sqrt(np.maximum(np.sum(x * x, axis=dim), eps**2)) for x in (x1, x2))
    return narrowed(np.sum(x1 * x2, axis=dim) / (first * second), dtype)


def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> TensorLike:
    """The p-norm of `x1 - x2 + eps` along the last axis, with the subgradient zero at zero."""
    x1, x2, dtype = _widened(x1, x2)
    return narrowed(np.linalg.norm(x1 - x2 + eps, p, axis=-1, keepdims=keepdim), dtype)


def pdist(input: TensorLike, p: float = 2.0) -> TensorLike:
    """The p-norms of the differences of all rows of `[N, M]`, `[N (N - 1) / 2]`.

    They are of rows 0 and 1, 0 and 2, ..., 1 and 2, ... A norm has the subgradient zero at zero.
    """
    x = floats(input)
    if x.ndim != 2 or not p >= 0:
        raise ShapeError(
            f"pdist expects rows [N, M] and a p from 0, got {list(x.shape)} and p={p}: reshape it"
        )
    first, second = backend.of(raw(x)).constant(np.triu_indices, len(x), 1)
    difference = widened(x)[first] - widened(x)[second]
    return narrowed(np.linalg.norm(difference, p, axis=-1), x.dtype)


def _widened(x1: TensorLike, x2: TensorLike) -> tuple[TensorLike, TensorLike, DType]:
    """Both in the dtype to compute in, and that of the result."""
    x1, x2 = floats(x1, x2), floats(x2, x1)
    return widened(x1), widened(x2), np.result_type(x1.dtype, x2.dtype)


def normalize(
    input: TensorLike,
    p: float = 2.0,
    dim: int | tuple[int, ...] = 1,
    eps: float = 1e-12,
    out: object = None,
) -> TensorLike:
    """`input` over its p-norm along `dim`, or over `eps` where that is larger."""
    if out is not None:
        raise TracerError("normalize(out=...): tensors are never written into: leave out out")
    x = floats(input)
    wide = widened(x)
    sizes = np.abs(wide)
    if np.isinf(p):
        norm = np.max(sizes, axis=dim, keepdims=True)
    else:
        total = np.sum(sizes**p, axis=dim, keepdims=True)
        reached = raw(total) > 0  # at zero the root has no derivative
        norm = np.where(reached, np.where(reached, total, 1) ** (1 / p), 0)
    return narrowed(wide / np.maximum(norm, eps), x.dtype)


class CosineSimilarity(Module):
    """The cosine of the angle between two vectors; see `cosine_similarity`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8):
        self.dim = dim
        self.eps = eps

    def forward(self, x1: TensorLike, x2: TensorLike) -> TensorLike:
        return cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of a difference; see `pairwise_distance`."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: TensorLike, x2: TensorLike) -> TensorLike:
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
