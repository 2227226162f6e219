"""Linear algebra on the last two axes, with stacks of matrices before them.

NumPy has none of half precision: it is taken through float32.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, narrowed, widened
from tracer.errors import ShapeError
from tracer.operations.arguments import operand, raw
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements
from tracer.record.operation import Operation, operation
from tracer.record.tensor import Tensor
from tracer.sweep.slopes import by_contraction, lifted


class Matrix(Operation):
    """An operation on each matrix of a stack."""

    @staticmethod
    def batch_axis(node, axes):
        rank = len(node.shape)
        shifted = {
            a + rank - len(node.input_shape(i)) for i, a in enumerate(axes) if isinstance(a, int)
        }
        axis = shifted.pop()
        return UNKNOWN if shifted or axis >= rank - 2 else axis


class ToScalar(Operation):
    """An operation that makes a number of each matrix of a stack."""

    @staticmethod
    def batch_axis(node, axes):
        return axes[0] if axes[0] < len(node.shape) else UNKNOWN


def transposed(a):
    """Matrices `[..., m, n]` as `[..., n, m]`."""
    return np.swapaxes(a, -1, -2)


def conjugated(a):
    """The complex conjugate; real numbers as they are."""
    return np.conj(a) if a.dtype.kind == "c" else a


def adjoint(a):
    """Matrices `[..., m, n]` transposed and conjugated, `[..., n, m]`."""
    return transposed(conjugated(a))


def real_part(a):
    """The real part; real numbers as they are."""
    return np.real(a) if a.dtype.kind == "c" else a


def largest(a, axis=-1):
    """The largest magnitude along axes, which are kept; 0 of nothing."""
    a = abs(raw(a))
    return (np.max if a.size else np.sum)(a, axis=axis, keepdims=True)


def regular(rng, *shape):
    """Well-conditioned matrices."""
    return rng.random(shape) + 2 * np.eye(shape[-1])


def _matrix_axes(node):
    return -2, -1


def _one_matrix(rng):
    return [((regular(rng, 3, 3),), {}), ((regular(rng, 2, 2, 2),), {})]


@operation("inv")
class Inverse(Matrix):
    saves = ("output",)
    takes_complex = True
    forward = in_single(np.linalg.inv)
    examples = _one_matrix

    def vjp(node, g):
        """-y^T g y^T for the inverse y, since dy = -y da y (Giles 2008)."""
        y = transposed(node.output)
        return (-(y @ g @ y),)

    def jvp(node, tangents):
        """-y t y."""
        y = node.output
        return -(y @ tangents[0] @ y)


@implements(np.linalg.inv)
def inv(a):
    return Inverse(a)


def right_side(node, t_a, t_b):
    """`t_b - t_a x`, of which the solution is the tangent of the solution x of `a x = b`."""
    rank = len(node.shape)
    right = None if t_b is None else lifted(t_b, rank)
    if t_a is None:
        return right
    moved = lifted(t_a, rank) @ node.output
    return -moved if right is None else right - moved


def widened_stack(tangent):
    """A tangent, of half precision in float32."""
    return None if tangent is None else widened(tangent)


@operation("solve")
class Solve(Matrix):
    """`solve(a, b)` with `b` a stack of matrices."""

    forward = in_single(np.linalg.solve)
    linear_in = (1,)
    takes_complex = True

    def vjp(node, g):
        """g_b = a^-T g; g_a = -g_b x^T for the solution x, since da x + a dx = db (Giles 2008)."""
        a, g = widened(transposed(node.inputs[0])), widened(g)
        back = np.linalg.solve(np.broadcast_to(a, (*g.shape[:-2], *a.shape[-2:])), g)
        return lambda: -(back @ transposed(node.output)), back

    def jvp(node, tangents):
        """a^-1 (t_b - t_a x)."""
        a, right = widened(node.inputs[0]), right_side(node, *map(widened_stack, tangents))
        return np.linalg.solve(a, right)

    def examples(rng):
        return [((regular(rng, 3, 3), rng.random((3, 2))), {}),
                ((regular(rng, 2, 3, 3), rng.random((2, 3, 1))), {})]  # fmt: skip


@implements(np.linalg.solve)
def solve(a, b):
    a, b = operand(a), operand(b)
    if b.ndim == 1:
        return Solve(a, b[:, None])[..., 0]
    return Solve(a, b)


@operation("cholesky")
class Cholesky(Matrix):
    """The lower factor of the Hermitian matrix whose lower triangle is the matrix's."""

    saves = ("output",)
    takes_complex = True

    forward = in_single(np.linalg.cholesky)

    def vjp(node, g):
        """2 Phi(P + P^H) with P = L^-H Phi(L^H g) L^-1 for the factor L (Murray 2016).

        Phi takes the lower triangle, and half of its diagonal. Of complex numbers this holds for
        the conjugates of cotangents.
        """
        factor = node.output
        inner = np.tril(adjoint(factor) @ conjugated(np.tril(g)))
        half = 0.5 * (inner + np.tril(inner, -1))
        right = np.linalg.inv(widened(factor))
        full = adjoint(right) @ half @ right
        both = full + adjoint(full)
        return (conjugated(0.5 * (np.tril(both) + np.tril(both, -1))),)

    def jvp(node, tangents):
        """L Phi(L^-1 t L^-H) for the Hermitian t of its lower triangle (Murray 2016)."""
        factor = widened(node.output)
        right = np.linalg.inv(factor)
        inner = np.tril(right @ hermitian_of(widened(tangents[0])) @ adjoint(right))
        return factor @ (0.5 * (inner + np.tril(inner, -1)))

    def examples(rng):
        a = regular(rng, 3, 3)
        return [((a @ a.T,), {})]


@implements(np.linalg.cholesky)
def cholesky(a, /, *, upper=False):
    return adjoint(Cholesky(adjoint(operand(a)))) if upper else Cholesky(a)


def _inverse(a, what):
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError as error:
        raise ShapeError(
            f"{what} are undefined here at a singular matrix: add a multiple of the identity to "
            f"it, or leave it out"
        ) from error


def _cofactors(a):
    """The cofactors `[..., n, n]` of matrices, of singular ones from their singular values.

    With a = U diag(s) V^H they are det(U) det(V^H) conj(U diag(prod of the other s) V^H).
    """
    n = a.shape[-1]
    try:
        return np.linalg.det(a)[..., None, None] * transposed(np.linalg.inv(a))
    except np.linalg.LinAlgError:
        u, s, v = np.linalg.svd(a)
        others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
        sign = np.sign(np.linalg.det(u) * np.linalg.det(v))[..., None, None]
        return sign * conjugated((u * others[..., None, :]) @ v)


@operation("det")
class Determinant(ToScalar):
    """The determinant, whose derivative is the matrix of cofactors."""

    forward = in_single(np.linalg.det)
    takes_complex = True
    examples = _one_matrix
    jvp = by_contraction(_matrix_axes)

    def vjp(node, g):
        """g * det(a) a^-T, the matrix of cofactors (Jacobi's formula)."""
        a = widened(node.inputs[0])
        if isinstance(a, Tensor) or isinstance(g, Tensor):
            scale = (g * node.output)[..., None, None]
            return (scale * transposed(_inverse(a, "second derivatives of the determinant")),)
        return (g[..., None, None] * _cofactors(a),)


@implements(np.linalg.det)
def det(a):
    return Determinant(a)


@operation("logabsdet")
class LogAbsDet(ToScalar):
    """The logarithm of the determinant's absolute value."""

    saves = ("inputs",)
    takes_complex = True
    examples = _one_matrix
    jvp = by_contraction(_matrix_axes)

    @in_single
    def forward(a):
        return np.linalg.slogdet(a)[1]

    def vjp(node, g):
        """g * a^-T, since d log|det a| = Re tr(a^-1 da)."""
        a = widened(node.inputs[0])
        inverse = _inverse(a, "derivatives of the logarithm of the determinant")
        return (g[..., None, None] * transposed(inverse),)


@operation("phasedet")
class PhaseOfDet(ToScalar):
    """The determinant of complex matrices divided by its absolute value."""

    takes_complex = True

    def forward(a):
        return np.linalg.slogdet(a)[0]

    def vjp(node, g):
        """i Im(g y) a^-T, since dy = i y Im tr(a^-1 da)."""
        inverse = _inverse(node.inputs[0], "derivatives of the phase of the determinant")
        turn = 1j * np.imag(g * node.output)
        return (turn[..., None, None] * transposed(inverse),)

    def jvp(node, tangents):
        """i y Im tr(a^-1 t)."""
        inverse = _inverse(node.inputs[0], "derivatives of the phase of the determinant")
        return 1j * node.output * np.imag(np.sum(transposed(inverse) * tangents[0], axis=(-2, -1)))

    def examples(rng):
        return [((a + 1j * rng.random(a.shape),), {}) for ((a,), _) in _one_matrix(rng)]


@implements(np.linalg.slogdet)
def slogdet(a):
    if a.dtype.kind == "c":
        sign = PhaseOfDet(a)
    else:
        sign = narrowed(np.linalg.slogdet(widened(raw(a)))[0], a.dtype)
    return type(np.linalg.slogdet(np.eye(1)))(sign, LogAbsDet(a))


def symmetric(a, lower=True):
    """Symmetric matrices of one triangle of `a`."""
    if lower:
        return np.tril(a) + transposed(np.tril(a, -1))
    return np.triu(a) + transposed(np.triu(a, 1))


def hermitian_of(a, lower=True):
    """Hermitian matrices of one triangle of `a`: imaginary parts of the diagonal are not read."""
    strict = np.tril(a, -1) if lower else np.triu(a, 1)
    return strict + adjoint(strict) + with_diagonal(real_part(np.diagonal(a, 0, -2, -1)))


def with_diagonal(values):
    """Matrices with these values `[..., k]` on the diagonal, and zeros elsewhere."""
    one = backend.of(values).constant(np.eye, values.shape[-1], None, 0, raw(values).dtype)
    return values[..., None] * one


OPERATIONS = [Inverse, Solve, Cholesky, Determinant, LogAbsDet, PhaseOfDet]
