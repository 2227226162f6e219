"""Functions of matrices, `expm`, `sqrtm` and `logm`, and Sylvester's equation.

With L(A, E) the derivative of such a function at A in the direction E, what its rule gives is
L(A^T, g), as <g, L(A, E)> = <L(A^T, g), E>.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, meeting, widened
from tracer.errors import ShapeError
from tracer.operations.arguments import raw
from tracer.operations.lapack import over_stack, scipy_linalg
from tracer.operations.linalg import (
    Matrix,
    largest,
    regular,
    right_side,
    transposed,
    widened_stack,
)
from tracer.record.operation import operation
from tracer.sweep.slopes import lifted


def _real_if_real(out):
    """SciPy's result of a real matrix, which is complex for negative eigenvalues.

    Older versions give complex numbers for pairs of complex eigenvalues, too, that are real.
    """
    if out.dtype.kind != "c":
        return out
    rounding = 1e3 * float(np.finfo(out.dtype).eps) * np.max(abs(out))
    return out if np.max(abs(out.imag)) > rounding else out.real.copy()


def _of_matrix(function):
    """A function of `scipy.linalg` on each matrix of a stack."""

    @in_single
    def forward(a):
        def of_one(x):
            if not x.size:
                return x.copy()
            double = np.result_type(x, np.float64)
            wide = x.astype(double) if function == "logm" else x  # it warns of single precision
            out = scipy_linalg(function, x)(wide)
            if x.dtype.kind != "c":
                out = _real_if_real(out)
            kept = np.result_type(x, np.complex64) if out.dtype.kind == "c" else x.dtype
            return out.astype(kept, copy=False)

        return over_stack(of_one, (2,), a)

    return forward


@operation("expm")
class MatrixExponential(Matrix):
    """The exponential of a matrix."""

    saves = ("inputs",)
    takes_complex = True
    forward = _of_matrix("expm")

    def vjp(node, g):
        """L(A^T, g), above the diagonal of exp([[A^T, g], [0, A^T]]) (Mathias 1996)."""
        return (_exponential_slope(transposed(widened(node.inputs[0])), widened(g)),)

    def jvp(node, tangents):
        """L(A, t)."""
        return _exponential_slope(widened(node.inputs[0]), widened(tangents[0]))

    def examples(rng):
        return [((rng.random((3, 3)),), {}), ((rng.random((2, 2, 2)),), {})]


def _exponential_slope(a, g):
    """The derivative L(A, g) of the exponential."""
    a = np.broadcast_to(a, g.shape)
    size, scale = largest(g, (-2, -1)), largest(a, (-2, -1))
    some = (size > 0) & (scale > 0)
    size = np.where(some, size / np.where(some, scale, 1), 1).astype(raw(g).dtype)
    lower = np.concatenate([np.zeros_like(raw(a)), a], -1)
    whole = np.concatenate([np.concatenate([a, g / size], -1), lower], -2)
    n = a.shape[-1]
    return MatrixExponential(whole)[..., :n, n:] * size  # digits are kept by E as large as A


@operation("sqrtm")
class MatrixRoot(Matrix):
    """The principal square root of a matrix."""

    saves = ("output",)
    takes_complex = True
    forward = _of_matrix("sqrtm")

    def vjp(node, g):
        """The X with Y^T X + X Y^T = g for the root Y, since dY Y + Y dY = dA."""
        return (_root_slope(transposed(widened(node.output)), widened(g)),)

    def jvp(node, tangents):
        """The X with Y X + X Y = t."""
        return _root_slope(widened(node.output), widened(tangents[0]))

    def examples(rng):
        return [((regular(rng, 3, 3),), {}), ((regular(rng, 2, 2, 2),), {})]


def _root_slope(y, g):
    """The X with Y X + X Y = g for a root Y."""
    size = abs(np.linalg.eigvals(raw(y)))
    eps = float(np.sqrt(y.shape[-1] * np.finfo(raw(y).dtype).eps))
    if (size <= eps * largest(size)).any():
        raise ShapeError(
            "scipy.linalg.sqrtm has derivatives at regular matrices, and this one is singular: "
            "add a multiple of the identity"
        )
    return Sylvester(y, y, g)


@operation("solve_sylvester")
class Sylvester(Matrix):
    """The X [m, n] with `a X + X b = q`."""

    linear_in = (2,)
    takes_complex = True

    @in_single
    def forward(a, b, q):
        dtype = np.result_type(a, b, q)

        def of_one(a, b, q):
            if not q.size:
                return q.astype(dtype)
            given = (x.astype(dtype, copy=False) for x in (a, b, q))
            return scipy_linalg("solve_sylvester", q)(*given)

        return over_stack(of_one, (2, 2, 2), a, b, q)

    def vjp(node, g):
        """g_q is the S with a^T S + S b^T = g; g_a = -S X^T, g_b = -X^T S (Kao and Hennequin 2020).

        As a dX + dX b = dq - da X - X db.
        """
        g = widened(g)
        a, b = (transposed(meeting(x, g.dtype)) for x in node.inputs[:2])
        s, x = Sylvester(a, b, g), transposed(node.output)
        return lambda: -(s @ x), lambda: -(x @ s), lambda: s

    def jvp(node, tangents):
        """The X with a X + X b = t_q - t_a x - x t_b."""
        t_a, t_b, t_q = map(widened_stack, tangents)
        right = None if t_a is None and t_q is None else right_side(node, t_a, t_q)
        if t_b is not None:
            moved = node.output @ lifted(t_b, len(node.shape))
            right = -moved if right is None else right - moved
        a, b = (meeting(x, right.dtype) for x in node.inputs[:2])
        return Sylvester(a, b, right)

    def examples(rng):
        a, b, q = regular(rng, 2, 2), regular(rng, 3, 3), rng.random((2, 3))
        return [((a, b, q), {}), ((np.stack([a, a.T]), b, np.stack([q, 2 * q])), {})]


#: how far from the identity, in the norm of columns, eight points integrate to rounding
NEAR = 0.25
#: square roots after which a regular matrix is near the identity
MOST_ROOTS = 64
_points, _weights = np.polynomial.legendre.leggauss(8)
QUADRATURE = ((_points + 1) / 2).tolist(), (_weights / 2).tolist()


@operation("logm")
class MatrixLogarithm(Matrix):
    """The logarithm of a matrix."""

    saves = ("inputs",)
    takes_complex = True
    forward = _of_matrix("logm")

    def vjp(node, g):
        """L(A^T, g) = 2^s integral over t in [0, 1] of R(t) E R(t), R(t) = (1 + t (Y - 1))^-1.

        Y is the root of order 2^s of A^T that is near the identity, and E the derivative of that in
        the direction g (Al-Mohy, Higham and Relton 2013, whose quadrature by Gauss this is).
        """
        return (_logarithm_slope(transposed(widened(node.inputs[0])), widened(g)),)

    def jvp(node, tangents):
        """L(A, t)."""
        return _logarithm_slope(widened(node.inputs[0]), widened(tangents[0]))

    def examples(rng):
        return [((regular(rng, 3, 3),), {}), ((regular(rng, 2, 2, 2),), {})]


def _logarithm_slope(a, g):
    """The derivative L(A, g) of the logarithm."""
    one = backend.of(raw(a)).constant(np.eye, a.shape[-1], None, 0, raw(a).dtype)
    count = 0
    while (np.sum(abs(raw(a) - one), axis=-2) > NEAR).any():
        a, count = MatrixRoot(a), count + 1
        g = Sylvester(a, a, g)
        if count > MOST_ROOTS:
            raise ShapeError(
                "scipy.linalg.logm has derivatives at regular matrices, and this one is "
                "singular: add a multiple of the identity"
            )
    total = 0
    for t, weight in zip(*QUADRATURE, strict=True):
        inverse = np.linalg.inv(one + t * (a - one))
        total = total + weight * (inverse @ g @ inverse)
    return float(2**count) * total


OPERATIONS = [MatrixExponential, MatrixLogarithm, MatrixRoot, Sylvester]
