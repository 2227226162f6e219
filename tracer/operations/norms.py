"""Norms of vectors and of matrices, and what is made of singular values: nothing needs a rule.

Norms have the subgradient zero at zero, and share it where several singular values are largest.
"""

import numpy as np

from tracer.errors import ShapeError
from tracer.operations import clusters
from tracer.operations.arguments import negative_axes, operand, raw, several_axes
from tracer.operations.arithmetic import root, square_of_size
from tracer.operations.flat import NOT_DIFFERENTIABLE
from tracer.operations.linalg import largest
from tracer.operations.parts import matrices, square
from tracer.operations.reductions import Sum
from tracer.operations.singular_values import singular_values
from tracer.record.dispatch import implements
from tracer.record.tensor import Tensor


@implements(np.linalg.norm)
def norm(x, ord=None, axis=None, keepdims=False):
    x = _floats(x if isinstance(x, Tensor) else operand(x))
    if axis is not None:
        axes = tuple(several_axes(axis, x.ndim))
    elif ord is None or x.ndim in (1, 2):
        axes = tuple(range(-x.ndim, 0))
    else:
        raise ShapeError(
            f"np.linalg.norm takes an `ord` for vectors and matrices, got {x.ndim} axes: say which "
            f"are meant with axis="
        )
    ord = ord.item() if isinstance(ord, np.generic) else ord
    euclidean = ord is None and (axis is None or len(axes) in (1, 2))
    vector = len(axes) == 1 and isinstance(ord, int | float)
    if euclidean or (vector and ord == 2) or (len(axes) == 2 and ord in ("fro", "f")):
        squares = square_of_size(x)
        return root(Sum(squares, axis=tuple(sorted(axes)), keepdims=bool(keepdims)), order=2)
    if vector:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2 and ord in (1, -1, np.inf, -np.inf):
        summed, chosen = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(abs(x), axis=summed, keepdims=True)
        top = (np.max if ord > 0 else np.min)(sums, axis=chosen, keepdims=True)
        return top if keepdims else np.squeeze(top, axis=axes)
    if len(axes) == 2 and ord in (2, -2, "nuc"):
        out = _of_singular_values(np.moveaxis(x, axes, (-2, -1)), ord)
        return np.expand_dims(out, tuple(sorted(axes))) if keepdims else out
    raise ShapeError(
        f"np.linalg.norm on tensors takes ord None or a number for vectors and 'fro', 'nuc', 1, "
        f"-1, 2, -2, inf, -inf for matrices; got {ord!r} over axes {axes}"
    )


def _floats(x):
    return x if x.dtype.kind in "fc" else x.astype(np.float64)


def _vector_norm(x, ord, axes, keepdims):
    if ord == np.inf:
        return np.max(abs(x), axis=axes, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(abs(x), axis=axes, keepdims=keepdims)
    if ord == 0:
        return np.sum((raw(x) != 0).astype(abs(raw(x)).dtype), axis=axes, keepdims=keepdims)
    if ord == 1:
        return np.sum(abs(x), axis=axes, keepdims=keepdims)
    sizes = abs(x)
    if 0 < ord < 1:  # powers whose slope at zero is infinite
        reached = raw(sizes) > 0
        powers = np.where(reached, np.where(reached, sizes, 1) ** ord, 0)
    else:
        powers = sizes**ord
    return root(np.sum(powers, axis=axes, keepdims=keepdims), order=ord)


def _of_singular_values(x, ord):
    """The sum of singular values, the largest or the smallest: the mean of all that are that."""
    s = singular_values(matrices(x, f"np.linalg.norm with ord={ord!r}"))
    tolerance = clusters.smallest(s, max(x.shape[-2:]))
    counted = raw(s) > tolerance
    if ord != "nuc":
        extreme = largest(s) if ord == 2 else np.min(raw(s), axis=-1, keepdims=True)
        tied = abs(raw(s) - extreme) <= tolerance
        count = np.sum(tied, axis=-1, keepdims=True).astype(s.dtype)
        s, counted = s / count, counted & tied
    return np.sum(np.where(counted, s, 0), axis=-1)


@implements(np.linalg.cond)
def cond(x, p=None):
    x = matrices(x, "np.linalg.cond")
    if p is not None and p not in (2, -2):
        x = square(x, f"np.linalg.cond with p={p!r}")
        norms = (np.linalg.norm(each, p, axis=(-2, -1)) for each in (x, np.linalg.inv(x)))
        return next(norms) * next(norms)
    s = singular_values(x)
    largest, smallest = s[..., 0], s[..., -1]
    return smallest / largest if p == -2 else largest / smallest


@implements(np.linalg.vector_norm)
def vector_norm(x, /, *, axis=None, keepdims=False, ord=2):
    x = operand(x)
    if axis is not None and np.ndim(axis) == 0:
        return np.linalg.norm(x, ord, axis, keepdims)
    axes = negative_axes(axis, x.ndim)
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    flat = np.reshape(moved, (*moved.shape[: x.ndim - len(axes)], -1 if x.size else 0))
    out = np.linalg.norm(flat, ord, -1)
    return np.expand_dims(out, axes) if keepdims else out


@implements(np.linalg.matrix_norm)
def matrix_norm(x, /, *, keepdims=False, ord="fro"):
    return np.linalg.norm(x, ord, axis=(-2, -1), keepdims=keepdims)


def _rank(A, tol=None, hermitian=False, **options):
    """An integer for each matrix, without a derivative."""
    return np.linalg.matrix_rank(raw(A), raw(tol), hermitian, **options)


NOT_DIFFERENTIABLE.append(implements(np.linalg.matrix_rank)(_rank))

OPERATIONS: list = []
