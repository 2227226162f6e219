"""Functions of `np.linalg` on matrices: powers, pseudoinverses, least squares, other names."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, meeting, widened
from tracer.errors import ShapeError
from tracer.operations.arguments import ABSENT, integer, operand, raw
from tracer.operations.arithmetic import square_of_size
from tracer.operations.linalg import (
    Matrix,
    adjoint,
    conjugated,
    hermitian_of,
    real_part,
    regular,
    right_side,
    widened_stack,
)
from tracer.operations.parts import matrices, square
from tracer.operations.singular_values import singular_values
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements, refuse_out
from tracer.record.frames import warn_at
from tracer.record.operation import operation
from tracer.sweep.slopes import first


@implements(np.linalg.matrix_power)
def matrix_power(a, n):
    n = integer(n, "the exponent of np.linalg.matrix_power")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"np.linalg.matrix_power takes square matrices, got {list(a.shape)}")
    if n < 0:
        a, n = np.linalg.inv(a), -n
    if n == 0:
        one = backend.of(a).from_host(np.eye(a.shape[-1], dtype=a.dtype))
        return np.zeros_like(raw(a)) + one
    out = None
    while n:
        if n % 2:
            out = a if out is None else out @ a
        n //= 2
        if n:
            a = a @ a
    return out


@implements(np.linalg.multi_dot)
def multi_dot(arrays, *, out=None):
    refuse_out("linalg.multi_dot", out)
    left, *rest = arrays
    for right in rest:
        left = np.dot(left, right)
    return left


# -- pseudoinverses and least squares -------------------------------------------------------------


def _is_deficient(a, cutoff, node):
    """Whether a matrix has less than full rank, where a pseudoinverse jumps as the rank changes."""
    a = raw(a)
    if not a.size:
        return False
    s = np.linalg.svd(a, compute_uv=False)
    bound = max(cutoff or 0, max(a.shape[-2:]) * float(np.finfo(s.dtype).eps))
    if not (s[..., -1] <= bound * s[..., 0]).any():
        return False
    warn_at(
        node,
        f"the derivative of {node.op.name} is that along matrices of the same rank, as of x.T @ x "
        f"for a wide x: this one has less than full rank, and its value jumps where that changes; "
        f"leave out dependent rows or columns, or solve a.T @ a + c * I",
    )
    return True


@operation("pinv")
class PseudoInverse(Matrix):
    """The pseudoinverse [n, m] of a matrix [m, n], singular values up to a cutoff being zero."""

    takes_complex = True

    @in_single
    def forward(a, *, cutoff):
        return np.linalg.pinv(a) if cutoff is None else np.linalg.pinv(a, cutoff)

    def vjp(node, g):
        """-P^H g P^H + (1 - A P) g^H P P^H + P^H P g^H (1 - P A) (Golub and Pereyra 1973).

        Of complex numbers this holds for the conjugates of cotangents.
        """
        a, p, g = (widened(x) for x in (node.inputs[0], node.output, g))
        deficient = _is_deficient(a, node.params["cutoff"], node)
        m, n = a.shape[-2:]
        pt, gt, g = adjoint(p), adjoint(conjugated(g)), conjugated(g)
        out = -(pt @ g @ pt)
        if m > n or deficient:
            out = out + (gt - a @ (p @ gt)) @ p @ pt
        if n > m or deficient:
            out = out + pt @ p @ (gt - (gt @ p) @ a)
        return (conjugated(out),)

    def jvp(node, tangents):
        """-P t P + P P^H t^H (1 - A P) + (1 - P A) t^H P^H P."""
        a, p, t = (widened(x) for x in (node.inputs[0], node.output, tangents[0]))
        deficient = _is_deficient(a, node.params["cutoff"], node)
        m, n = a.shape[-2:]
        pt, tt = adjoint(p), adjoint(t)
        out = -(p @ t @ p)
        if m > n or deficient:
            out = out + p @ pt @ (tt - (tt @ a) @ p)
        if n > m or deficient:
            out = out + (tt - p @ (a @ tt)) @ pt @ p
        return out

    def batch_axis(node, axes):
        return axes[0] if axes[0] < len(node.shape) - 2 else UNKNOWN

    def examples(rng):
        return [((regular(rng, 3, 3),), {"cutoff": None}),
                ((rng.random((2, 4, 2)),), {"cutoff": None}),
                ((rng.random((2, 3)),), {"cutoff": 1e-8})]  # fmt: skip


@implements(np.linalg.pinv)
def pinv(a, rcond=None, hermitian=False, *, rtol=ABSENT):
    a = matrices(a, "np.linalg.pinv")
    if hermitian and a.size:
        a = hermitian_of(square(a, "np.linalg.pinv with hermitian=True"))
    if rcond is not None and rtol is not ABSENT:
        raise ValueError("`rtol` and `rcond` can't be both set.")
    cutoff = rcond if rtol is ABSENT else rtol
    if rtol is None:
        cutoff = max(a.shape[-2:]) * np.finfo(widened(raw(a)).dtype).eps
    if np.ndim(cutoff):
        raise ShapeError(
            f"np.linalg.pinv on tensors takes one number as its cutoff, got {np.shape(cutoff)}"
        )
    return PseudoInverse(a, cutoff=None if cutoff is None else float(raw(cutoff)))


@operation("lstsq")
class LeastSquares(Matrix):
    """The shortest x [n, k] of those that make `a @ x - b` shortest, a [m, n] and b [m, k]."""

    linear_in = (1,)
    takes_complex = True

    @in_single
    def forward(a, b, *, cutoff):
        return np.linalg.lstsq(a, b, cutoff)[0]

    def vjp(node, g):
        """g_b = P^H g; g_a = -g_b x^H + r g^H P P^H + P^H x g^H (1 - P a) with P = pinv(a).

        r = b - a x is what is left (Golub and Pereyra 1973). Of complex numbers this holds for the
        conjugates of cotangents.
        """
        g = conjugated(widened(g))
        a, b, x = (meeting(each, g.dtype) for each in (*node.inputs, node.output))
        deficient = _is_deficient(a, node.params["cutoff"], node)
        m, n = a.shape[-2:]
        p = PseudoInverse(a, cutoff=node.params["cutoff"])
        pt, gt = adjoint(p), adjoint(g)

        def by_matrix():
            out = -(pt @ g @ adjoint(x))
            if m > n or deficient:
                out = out + (b - a @ x) @ (gt @ p) @ pt
            if n > m or deficient:
                out = out + (pt @ x) @ (gt - (gt @ p) @ a)
            return conjugated(out)

        return by_matrix, lambda: conjugated(pt @ g)

    def jvp(node, tangents):
        """P (t_b - t_a x) + P P^H t_a^H r + (1 - P a) t_a^H P^H x with P = pinv(a), r = b - a x."""
        t_a, t_b = map(widened_stack, tangents)
        dtype = first([t_a, t_b]).dtype
        a, b, x = (meeting(each, dtype) for each in (*node.inputs, node.output))
        deficient = _is_deficient(a, node.params["cutoff"], node)
        m, n = a.shape[-2:]
        p = PseudoInverse(a, cutoff=node.params["cutoff"])
        out, pt = p @ right_side(node, t_a, t_b), adjoint(p)
        if t_a is None:
            return out
        tt = adjoint(t_a)
        if m > n or deficient:
            out = out + p @ (pt @ (tt @ (b - a @ x)))
        if n > m or deficient:
            left = tt @ (pt @ x)
            out = out + left - p @ (a @ left)
        return out

    def batch_axis(node, axes):
        return UNKNOWN

    def examples(rng):
        b = rng.random((4, 3))
        return [((rng.random((4, 2)), b), {"cutoff": None}),
                ((rng.random((2, 3)), b[:2]), {"cutoff": None})]  # fmt: skip


@implements(np.linalg.lstsq)
def lstsq(a, b, rcond=None):
    a, b = matrices(a, "np.linalg.lstsq"), operand(b)
    if a.ndim != 2 or b.ndim not in (1, 2):
        raise ShapeError(
            f"np.linalg.lstsq takes a matrix, and a vector or a matrix, got {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    _, _, rank, _ = np.linalg.lstsq(widened(raw(a)), widened(raw(b)), rcond)
    x = LeastSquares(a, b[:, None] if b.ndim == 1 else b, cutoff=rcond)
    x = x[..., 0] if b.ndim == 1 else x
    m, n = a.shape
    left = np.sum(square_of_size(b - a @ x), axis=0) if rank == n < m else real_part(x[:0])
    return x, left.reshape(-1), rank, singular_values(a)


# -- tensors as matrices --------------------------------------------------------------------------


@implements(np.linalg.tensorsolve)
def tensorsolve(a, b, axes=None):
    a, b = operand(a), operand(b)
    if axes is not None:
        order = [i for i in range(a.ndim) if i not in [ax % a.ndim for ax in axes]]
        a = np.transpose(a, [*order, *(ax % a.ndim for ax in axes)])
    shape = a.shape[b.ndim :]
    size = math.prod(shape)
    if a.size != size * size or b.size != size:
        raise ShapeError(
            f"np.linalg.tensorsolve takes `a` of as many equations as unknowns, got "
            f"{list(a.shape)} for `b` {list(b.shape)}"
        )
    return np.linalg.solve(a.reshape(size, size), b.reshape(size)).reshape(shape)


@implements(np.linalg.tensorinv)
def tensorinv(a, ind=2):
    ind = integer(ind, "`ind` of np.linalg.tensorinv")
    if ind <= 0:
        raise ShapeError(f"np.linalg.tensorinv takes a positive `ind`, got {ind}")
    before, after = a.shape[:ind], a.shape[ind:]
    inverse = np.linalg.inv(a.reshape(math.prod(before), math.prod(after)))
    return inverse.reshape(*after, *before)


# -- names of the array API -----------------------------------------------------------------------


@implements(np.linalg.matrix_transpose)
def matrix_transpose(x, /):
    return np.matrix_transpose(x)


@implements(np.linalg.matmul)
def matmul(x1, x2, /):
    return np.matmul(x1, x2)


@implements(np.linalg.vecdot)
def vecdot(x1, x2, /, *, axis=-1):
    x1, x2 = operand(x1), operand(x2)
    if axis != -1:
        x1, x2 = np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1)
    return np.vecdot(x1, x2)


@implements(np.linalg.tensordot)
def tensordot(x1, x2, /, *, axes=2):
    return np.tensordot(x1, x2, axes)


@implements(np.linalg.outer)
def outer(x1, x2, /):
    x1, x2 = operand(x1), operand(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(f"np.linalg.outer takes vectors, got {list(x1.shape)}, {list(x2.shape)}")
    return np.outer(x1, x2)


@implements(np.linalg.cross)
def cross(x1, x2, /, *, axis=-1):
    x1, x2 = operand(x1), operand(x2)
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ShapeError(
            f"np.linalg.cross takes vectors of three elements, got {list(x1.shape)} and "
            f"{list(x2.shape)} along axis {axis}"
        )
    return np.cross(x1, x2, axis=axis)


@implements(np.linalg.trace)
def trace(x, /, *, offset=0, dtype=None):
    return np.trace(x, offset, -2, -1, dtype)


@implements(np.linalg.diagonal)
def diagonal(x, /, *, offset=0):
    return np.diagonal(x, offset, -2, -1)


OPERATIONS = [PseudoInverse, LeastSquares]
