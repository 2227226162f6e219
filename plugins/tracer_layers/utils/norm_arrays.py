"""Norms of weights: of all axes but one, and the largest singular value."""

from __future__ import annotations

import numpy as np

from tracer.errors import ShapeError
from tracer.extend import Array, Generator, TensorLike, drawn, generator, widened

#: a division by a smaller norm is one by this
EPS = 1e-12


def norm_except(weight: TensorLike, dim: int | None) -> TensorLike:
    """The norm over all axes but `dim`, `[1, ..., size, ..., 1]`; over all, `[]`, for None or -1.

    -1 is no last axis: it is so in PyTorch. Squares of half precision are summed in float32.
    """
    wide = weight.astype(np.float32) if weight.dtype == np.float16 else weight
    if dim is None or dim == -1:
        return np.sqrt(np.sum(np.square(wide))).astype(weight.dtype)
    others = tuple(axis for axis in range(weight.ndim) if axis != axis_of(weight, dim))
    return np.sqrt(np.sum(np.square(wide), axis=others, keepdims=True)).astype(weight.dtype)


def normalised_weight(g: TensorLike, v: TensorLike, dim: int | None) -> TensorLike:
    """`g v / |v|` (Salimans and Kingma 2016, equation 2)."""
    return v * (g / norm_except(v, dim))


def axis_of(weight: TensorLike, dim: int) -> int:
    if not -weight.ndim <= dim < weight.ndim:
        raise ShapeError(
            f"dim is an axis of the weight {list(weight.shape)}, from {-weight.ndim} to "
            f"{weight.ndim - 1}, got {dim}"
        )
    return dim % weight.ndim


def as_matrix(weight: TensorLike, dim: int) -> TensorLike:
    """A weight as `[size of dim, all others]`."""
    axis = axis_of(weight, dim)
    if axis:
        weight = np.moveaxis(weight, axis, 0)
    return weight.reshape(weight.shape[0], -1)


def unit(vector: Array, eps: float) -> Array:
    """A vector of length 1, or shorter where it is shorter than `eps`."""
    wide = widened(vector)
    return (wide / np.maximum(np.sqrt(wide @ wide), eps)).astype(vector.dtype)


def random_unit(size: int, like: Array, eps: float, rng: Generator | None = None) -> Array:
    """A vector in any direction, where and as `like` is."""
    values = (rng or generator()).standard_normal(size)
    return unit(drawn(values.astype(like.dtype), like), eps)


def iterate(matrix: Array, u: Array, v: Array, eps: float, *, first_u: bool) -> tuple[Array, Array]:
    """One step of the power method for the largest singular value, `u^T matrix v`."""
    if first_u:
        u = unit(matrix @ v, eps)
    v = unit(matrix.T @ u, eps)
    return (u if first_u else unit(matrix @ v, eps)), v


def spectrally_normalised(weight: TensorLike, u: Array, v: Array, dim: int) -> TensorLike:
    """`weight / (u^T W v)`, W the weight as a matrix (Miyato et al. 2018, equation 8)."""
    return weight / (u @ (as_matrix(weight, dim) @ v))
