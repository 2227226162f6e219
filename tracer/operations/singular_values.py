"""Singular values and their vectors."""

import numpy as np

from tracer.arrays.dtypes import in_single, widened
from tracer.errors import TracingError
from tracer.operations import clusters
from tracer.operations.arguments import raw
from tracer.operations.clusters import coinciding, inverse_gaps, nonzero, off_diagonal, reached
from tracer.operations.linalg import (
    Matrix,
    adjoint,
    conjugated,
    real_part,
    transposed,
    with_diagonal,
)
from tracer.operations.parts import (
    columns_of,
    diagonal_of,
    matrices,
    named_tuple,
    packed,
    real_values_of,
    rows_of,
)
from tracer.operations.phases import first_row, in_phase
from tracer.record.dispatch import implements
from tracer.record.operation import operation


@operation("svd")
class SingularValues(Matrix):
    """Rows (s_i, u_i, conj(v_i)) of a matrix [m, n], min(m, n) of them."""

    saves = ("output",)
    takes_complex = True

    @in_single
    def forward(a):
        u, s, v = np.linalg.svd(a, full_matrices=False)
        return packed(s[..., None], transposed(u), v)

    def vjp(node, g):
        """U (diag(g_s) + ((P + Q) * E + (P - Q) * H) / 2) V^H, and what leaves the spaces spanned.

        P = U^H g_U - g_U^H U, Q = V^H g_V - g_V^H V, E_ij = 1 / (s_j - s_i), and
        H_ij = 1 / (s_j + s_i); besides (1 - U U^H) g_U S^-1 V^H + U S^-1 g_V^H (1 - V V^H)
        (Townsend 2016). Of complex numbers this holds for the conjugates of cotangents. The first
        components of the vectors on one side stay real, as LAPACK's, where they are.
        """
        m, n = node.input_shape(0)[-2:]
        rows, g = widened(node.output), widened(g)
        s, u, v = _split(rows, m)
        g_s, g_u = real_part(g[..., 0]), adjoint(g[..., 1 : m + 1])
        g_v = transposed(g[..., m + 1 :])
        g_u, g_v = _in_phase(u, g_u, v, g_v, node)
        tolerance = clusters.smallest(s, max(m, n))
        same, zero = coinciding(s, tolerance), raw(s) <= tolerance
        inner, turned = with_diagonal(g_s), None
        if vectors := reached(g[..., 1:]).any():
            of_u, of_v = adjoint(u) @ g_u, adjoint(v) @ g_v
            p, q = of_u - adjoint(of_u), of_v - adjoint(of_v)
            null = zero[..., None] & zero[..., None, :]
            sums = np.where(null, 0, 1 / np.where(null, 1, s[..., None] + s[..., None, :]))
            inner = inner + 0.5 * ((p + q) * inverse_gaps(s, same) + (p - q) * sums)
            turned = p, q, abs(raw(of_u)) + abs(raw(of_v)), g_u - u @ of_u, g_v - v @ of_v
        if off_diagonal(same).any() or zero.any():
            wrong = _unresolved(g, m, same, zero, turned)
            what = "singular values coincide or are zero"
            inner = clusters.undefined_at(wrong, inner, node, what)
        out = u @ inner @ adjoint(v)
        if vectors:
            inverse = np.where(zero, 0, 1 / np.where(zero, 1, s))[..., None, :]
            if m > n:
                out = out + (turned[3] * inverse) @ adjoint(v)
            if n > m:
                out = out + u @ adjoint(turned[4] * inverse)
        return (conjugated(out),)

    def jvp(node, tangents):
        """t_s = diag(P), t_U = U (E * (P S + S P^T)) + (1 - U U^T) t V S^-1, and t_V for P^T alike.

        P = U^T t V and E_ij = 1 / (s_j^2 - s_i^2), of real, distinct singular values but zero.
        """
        m, n = node.input_shape(0)[-2:]
        rows, t = widened(node.output), widened(tangents[0])
        s, u, v = _split(rows, m)
        tolerance = clusters.smallest(s, max(m, n))
        same = coinciding(s, tolerance)
        if rows.dtype.kind == "c" or off_diagonal(same).any() or (raw(s) <= tolerance).any():
            return NotImplemented
        gaps = inverse_gaps(s, same) / (s[..., None] + s[..., None, :])
        inner = transposed(u) @ t @ v

        def turned(basis, inner, moved):
            scaled = inner * s[..., None, :]
            inside = basis @ (gaps * (scaled + transposed(scaled)))
            return inside + (moved - basis @ (transposed(basis) @ moved)) / s[..., None, :]

        t_u = turned(u, inner, t @ v)
        t_v = turned(v, transposed(inner), transposed(t) @ u)
        return packed(diagonal_of(inner), transposed(t_u), transposed(t_v))

    def examples(rng):
        return [((rng.random((3, 3)) + np.diag([1.0, 2.0, 4.0]),), {}),
                ((rng.random((2, 4, 2)),), {}), ((rng.random((2, 3)),), {})]  # fmt: skip


def _split(rows, m):
    """s, U and V of rows (s_i, u_i, conj(v_i))."""
    v = conjugated(columns_of(rows, m + 1, rows.shape[-1]))
    return real_values_of(rows), columns_of(rows, 1, m + 1), v


def _in_phase(u, g_u, v, g_v, node):
    """Cotangents of U and V, whose vectors turn together, so that a component stays real."""
    if u.dtype.kind != "c":
        return g_u, g_v
    both = np.concatenate([u, v], -2), np.concatenate([g_u, g_v], -2)
    m, of_v = u.shape[-2], first_row(v, 0)
    anchor = np.concatenate([first_row(u, 0), of_v], -2)
    if of_v.any():
        anchor[..., :m, :] = False
    g = in_phase(*both, anchor, node)
    return g[..., :m, :], g[..., m:, :]


def _unresolved(g, m, same, zero, turned):
    """Where the derivative does not exist or cannot be told, by pairs; of zeros on the diagonal.

    A singular value is no function with a slope where it is zero, and where both its vectors are
    used they may turn against each other. `turned` is None where no vectors are used.
    """
    slopes, of_u, of_v = g[..., 0], g[..., 1 : m + 1], g[..., m + 1 :]
    by_u, by_v = reached(of_u).any(-1), reached(of_v).any(-1)
    null = zero[..., None] & zero[..., None, :]
    uneven = nonzero(slopes[..., None], slopes[..., None])
    if turned is None:
        none = np.zeros_like(raw(uneven), dtype=raw(g).dtype)
        wrong = clusters.unresolved(same, slopes, [], none, none)
        return wrong | (null & uneven)
    p, q, scale, leaving_u, leaving_v = turned
    wrong = clusters.unresolved(same, slopes, [by_u, by_v], p + q, scale)
    by_s, by_u, by_v = (clusters.any_of(null, by) for by in (reached(slopes), by_u, by_v))
    lost = uneven | (by_s & (by_u | by_v)) | (by_u & by_v) | nonzero(p - q, scale)
    for left, whole in ((leaving_u, of_u), (leaving_v, of_v)):
        lost = lost | nonzero(left, transposed(whole)).any(-2)[..., None]
    return wrong | (null & lost)


def decomposed(a, hermitian=False):
    """U, s and V^T of matrices [..., m, n], min(m, n) columns and rows of them."""
    if hermitian:  # as NumPy has it: from eigenvalues, sorted by magnitude
        w, v = np.linalg.eigh(a)
        order = np.argsort(abs(raw(w)), axis=-1)[..., ::-1]
        w = np.take_along_axis(w, order, axis=-1)
        v = np.take_along_axis(v, order[..., None, :], axis=-1)
        sign = np.sign(raw(w))
        return v, abs(w), adjoint(v * np.where(sign == 0, 1, sign)[..., None, :])
    rows, m = SingularValues(a), a.shape[-2]
    return (
        columns_of(rows, 1, m + 1),
        real_values_of(rows),
        rows_of(rows, m + 1, rows.shape[-1]),
    )


def singular_values(a, hermitian=False):
    if hermitian:
        return np.flip(np.sort(abs(np.linalg.eigvalsh(a)), axis=-1), -1)
    return real_values_of(SingularValues(a))


@implements(np.linalg.svd)
def svd(a, full_matrices=True, compute_uv=True, hermitian=False):
    a = matrices(a, "np.linalg.svd")
    if not compute_uv:
        return singular_values(a, hermitian)
    if full_matrices and a.shape[-1] != a.shape[-2]:
        raise TracingError(
            f"np.linalg.svd of matrices {list(a.shape[-2:])} completes one basis by vectors that "
            f"have no derivative: write np.linalg.svd(a, full_matrices=False)"
        )
    return named_tuple(np.linalg.svd, *decomposed(a, hermitian))


@implements(np.linalg.svdvals)
def svdvals(x, /):
    return singular_values(matrices(x, "np.linalg.svdvals"))


OPERATIONS = [SingularValues]
