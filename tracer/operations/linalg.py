"""Linear algebra on the last two axes, with stacks of matrices before them.

NumPy has none of half precision: it is taken through float32.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, narrowed, widened
from tracer.errors import ShapeError
from tracer.operations.arguments import integer, operand, raw, several_axes
from tracer.operations.arithmetic import root, square_of_size
from tracer.operations.reductions import Sum
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements, refuse_out
from tracer.record.operation import Operation, operation
from tracer.record.tensor import Tensor


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


def _transposed(a):
    return np.swapaxes(a, -1, -2)


def _regular(rng, *shape):
    """Well-conditioned matrices."""
    return rng.random(shape) + 2 * np.eye(shape[-1])


def _one_matrix(rng):
    return [((_regular(rng, 3, 3),), {}), ((_regular(rng, 2, 2, 2),), {})]


@operation("inv")
class Inverse(Matrix):
    saves = ("output",)
    forward = in_single(np.linalg.inv)
    examples = _one_matrix

    def vjp(node, g):
        """-y^T g y^T for the inverse y, since dy = -y da y (Giles 2008)."""
        y = _transposed(node.output)
        return (-(y @ g @ y),)


@implements(np.linalg.inv)
def inv(a):
    return Inverse(a)


@operation("solve")
class Solve(Matrix):
    """`solve(a, b)` with `b` a stack of matrices."""

    forward = in_single(np.linalg.solve)
    linear_in = (1,)

    def vjp(node, g):
        """g_b = a^-T g; g_a = -g_b x^T for the solution x, since da x + a dx = db (Giles 2008)."""
        a, g = widened(_transposed(node.inputs[0])), widened(g)
        back = np.linalg.solve(np.broadcast_to(a, (*g.shape[:-2], *a.shape[-2:])), g)
        return lambda: -(back @ _transposed(node.output)), back

    def examples(rng):
        return [((_regular(rng, 3, 3), rng.random((3, 2))), {}),
                ((_regular(rng, 2, 3, 3), rng.random((2, 3, 1))), {})]  # fmt: skip


@implements(np.linalg.solve)
def solve(a, b):
    a, b = operand(a), operand(b)
    if b.ndim == 1:
        return Solve(a, b[:, None])[..., 0]
    return Solve(a, b)


@operation("cholesky")
class Cholesky(Matrix):
    """The lower factor of the symmetric matrix whose lower triangle is the matrix's."""

    saves = ("output",)

    forward = in_single(np.linalg.cholesky)

    def vjp(node, g):
        """Phi(P + P^T) with P = L^-T Phi(L^T g) L^-1 for the factor L (Murray 2016).

        Phi takes the lower triangle, and half of its diagonal.
        """
        factor = node.output
        inner = np.tril(_transposed(factor) @ np.tril(g))
        half = 0.5 * (inner + np.tril(inner, -1))
        right = np.linalg.inv(widened(factor))
        full = _transposed(right) @ half @ right
        return (np.tril(full) + np.tril(_transposed(full), -1),)

    def examples(rng):
        a = _regular(rng, 3, 3)
        return [((a @ a.T,), {})]


@implements(np.linalg.cholesky)
def cholesky(a, /, *, upper=False):
    return _transposed(Cholesky(_transposed(operand(a)))) if upper else Cholesky(a)


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

    With a = U diag(s) V^T they are det(U) det(V) U diag(prod of the other s) V^T.
    """
    n = a.shape[-1]
    try:
        return np.linalg.det(a)[..., None, None] * _transposed(np.linalg.inv(a))
    except np.linalg.LinAlgError:
        u, s, v = np.linalg.svd(a)
        others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
        sign = np.sign(np.linalg.det(u) * np.linalg.det(v))[..., None, None]
        return sign * ((u * others[..., None, :]) @ v)


@operation("det")
class Determinant(ToScalar):
    """The determinant, whose derivative is the matrix of cofactors."""

    forward = in_single(np.linalg.det)
    examples = _one_matrix

    def vjp(node, g):
        """g * det(a) a^-T, the matrix of cofactors (Jacobi's formula)."""
        a = widened(node.inputs[0])
        if isinstance(a, Tensor) or isinstance(g, Tensor):
            scale = (g * node.output)[..., None, None]
            return (scale * _transposed(_inverse(a, "second derivatives of the determinant")),)
        return (g[..., None, None] * _cofactors(a),)


@implements(np.linalg.det)
def det(a):
    return Determinant(a)


@operation("logabsdet")
class LogAbsDet(ToScalar):
    """The logarithm of the determinant's absolute value."""

    saves = ("inputs",)
    examples = _one_matrix

    @in_single
    def forward(a):
        return np.linalg.slogdet(a)[1]

    def vjp(node, g):
        """g * a^-T, since d log|det a| = tr(a^-1 da)."""
        a = widened(node.inputs[0])
        inverse = _inverse(a, "derivatives of the logarithm of the determinant")
        return (g[..., None, None] * _transposed(inverse),)


@implements(np.linalg.slogdet)
def slogdet(a):
    sign = narrowed(np.linalg.slogdet(widened(raw(a)))[0], a.dtype)
    return type(np.linalg.slogdet(np.eye(1)))(sign, LogAbsDet(a))


@implements(np.linalg.norm)
def norm(x, ord=None, axis=None, keepdims=False):
    """NumPy's norms but those of singular values, with the subgradient zero at zero."""
    x = x if isinstance(x, Tensor) else operand(x)
    if x.dtype.kind not in "fc":
        x = x.astype(np.float64)
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
    raise ShapeError(
        f"np.linalg.norm on tensors takes ord None or a number for vectors and 'fro', 1, -1, inf, "
        f"-inf for matrices; got {ord!r} over axes {axes}"
    )


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


OPERATIONS = [Inverse, Solve, Cholesky, Determinant, LogAbsDet]
