"""Eigenvalues and their vectors: of symmetric and Hermitian matrices, and of any."""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, widened
from tracer.operations import clusters
from tracer.operations.arguments import raw
from tracer.operations.clusters import coinciding, inverse_gaps, off_diagonal, reached
from tracer.operations.linalg import (
    Matrix,
    adjoint,
    conjugated,
    real_part,
    regular,
    symmetric,
    transposed,
    with_diagonal,
)
from tracer.operations.parts import (
    columns_of,
    diagonal_of,
    named_tuple,
    packed,
    real_values_of,
    square,
    values_of,
)
from tracer.operations.phases import first_row, in_phase, longest
from tracer.record.dispatch import implements
from tracer.record.operation import operation


@operation("eigh")
class SymmetricEigen(Matrix):
    """Rows (w_i, v_i) of a symmetric or Hermitian matrix, of which one triangle is read."""

    saves = ("output",)
    takes_complex = True

    @in_single
    def forward(a, *, upper):
        w, v = np.linalg.eigh(a, "U" if upper else "L")
        return packed(w[..., None], transposed(v))

    def vjp(node, g):
        """V (diag(g_w) + F * (V^H g_V)) V^H with F_ij = 1 / (w_j - w_i) (Giles 2008).

        Only the antihermitian part of V^H g_V counts, as a matrix stays Hermitian. What is for both
        triangles is given to the one that was read. Of complex numbers this holds for the
        conjugates of cotangents, and vectors are those that are real in the first component (the
        last one for the upper triangle), as LAPACK's are.
        """
        rows, g = widened(node.output), conjugated(widened(g))
        w, v = real_values_of(rows), columns_of(rows, 1, rows.shape[-1])
        by_vectors = reached(g[..., 1:]).any(-1)
        slopes = real_part(g[..., 0])
        inner, turns = with_diagonal(slopes), np.zeros_like(raw(g[..., 1:]))
        products = turns
        same = coinciding(w, clusters.smallest(w, w.shape[-1]))
        if by_vectors.any():
            row = -1 if node.params["upper"] else 0
            g_v = in_phase(v, transposed(g[..., 1:]), first_row(v, row), node)
            products = adjoint(v) @ g_v
            turns = 0.5 * (products - adjoint(products))
            inner = inner + turns * inverse_gaps(w, same)
        if off_diagonal(same).any():
            wrong = clusters.unresolved(same, g[..., 0], [by_vectors], turns, products)
            inner = clusters.undefined_at(wrong, inner, node, "eigenvalues coincide")
        out = conjugated(v @ inner @ adjoint(v))
        return (one_triangle(out, node.params["upper"]),)

    def jvp(node, tangents):
        """t_w = diag(P), t_V = V (F * P) with P = V^T t V, of real distinct eigenvalues."""
        rows, t = widened(node.output), widened(tangents[0])
        w, v = values_of(rows), columns_of(rows, 1, rows.shape[-1])
        same = coinciding(w, clusters.smallest(w, w.shape[-1]))
        if rows.dtype.kind == "c" or off_diagonal(same).any():
            return NotImplemented
        inner = transposed(v) @ symmetric(t, not node.params["upper"]) @ v
        return packed(diagonal_of(inner), transposed(v @ (inner * inverse_gaps(w, same))))

    def examples(rng):
        return [((regular(rng, 3, 3),), {"upper": False}),
                ((regular(rng, 2, 2, 2),), {"upper": True})]  # fmt: skip


def one_triangle(g, upper):
    """A symmetric cotangent of a matrix of which one triangle was read."""
    return np.triu(g) + np.triu(g, 1) if upper else np.tril(g) + np.tril(g, -1)


def is_upper(letter):
    if str(letter).upper() not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return str(letter).upper() == "U"


@implements(np.linalg.eigh)
def eigh(a, UPLO="L"):
    rows = SymmetricEigen(square(a, "np.linalg.eigh"), upper=is_upper(UPLO))
    return named_tuple(np.linalg.eigh, real_values_of(rows), columns_of(rows, 1, rows.shape[-1]))


@implements(np.linalg.eigvalsh)
def eigvalsh(a, UPLO="L"):
    return real_values_of(SymmetricEigen(square(a, "np.linalg.eigvalsh"), upper=is_upper(UPLO)))


@operation("eig")
class Eigen(Matrix):
    """Rows (w_i, v_i) of a matrix, real where those of a real matrix are."""

    saves = ("output",)
    takes_complex = True

    @in_single
    def forward(a):
        w, v = np.linalg.eig(a)
        real = a.dtype.kind != "c" and not (np.any(w.imag) or np.any(v.imag))
        if w.dtype.kind == "c" and real:
            w, v = w.real, v.real
        return packed(w[..., None], transposed(v))

    def vjp(node, g):
        """V^-T (diag(g_w) + F * X) V^T with F_ij = 1 / (w_j - w_i).

        X = V^T g_V - V^T conj(V) diag(V^T g_V), as vectors stay of length one, with a component
        that stays real, the longest, as LAPACK's (Giles 2008; Boeddeker and others 2017).
        """
        rows, g = widened(node.output), widened(g)
        w, v = values_of(rows), columns_of(rows, 1, rows.shape[-1])
        by_vectors = reached(g[..., 1:]).any(-1)
        inner, turns = with_diagonal(g[..., 0]), np.zeros_like(raw(g[..., 1:]))
        products = turns
        same = coinciding(w, clusters.smallest(w, w.shape[-1]))
        if by_vectors.any():
            g_v = conjugated(in_phase(v, adjoint(g[..., 1:]), longest(v), node))
            products = transposed(v) @ g_v
            along = np.sum(v * g_v, axis=-2)[..., None, :]
            turns = products - (transposed(v) @ conjugated(v)) * along
            inner = inner + turns * inverse_gaps(w, same)
        if off_diagonal(same).any():
            wrong = clusters.unresolved(same, g[..., 0], [by_vectors], turns, products)
            inner = clusters.undefined_at(wrong, inner, node, "eigenvalues coincide")
        back = transposed(v)
        if (none := _without_basis(v)).any():
            wrong = none[..., None, None]
            inner = clusters.undefined_at(wrong, inner, node, "eigenvectors are no basis")
            one = backend.of(raw(v)).constant(np.eye, v.shape[-1], None, 0, raw(v).dtype)
            back = np.where(wrong, one, back)
        return (np.linalg.solve(np.broadcast_to(back, inner.shape), inner @ transposed(v)),)

    def jvp(node, tangents):
        """t_w = diag(P), t_V = V (F * P) with P = V^-1 t V, and less what would lengthen vectors.

        Of real, distinct eigenvalues.
        """
        rows, t = widened(node.output), widened(tangents[0])
        w, v = values_of(rows), columns_of(rows, 1, rows.shape[-1])
        same = coinciding(w, clusters.smallest(w, w.shape[-1]))
        if rows.dtype.kind == "c" or off_diagonal(same).any() or _without_basis(v).any():
            return NotImplemented
        moved = t @ v
        inner = np.linalg.solve(np.broadcast_to(v, moved.shape), moved)
        t_v = v @ (inner * inverse_gaps(w, same))
        t_v = t_v - v * np.sum(v * t_v, axis=-2)[..., None, :]
        return packed(diagonal_of(inner), transposed(t_v))

    def examples(rng):
        q = regular(rng, 3, 3)
        return [((q @ np.diag([1.0, 2.0, 4.0]) @ np.linalg.inv(q),), {}),
                ((regular(rng, 2, 2, 2),), {})]  # fmt: skip


def _without_basis(v):
    """Which matrices have fewer independent eigenvectors than rows, to rounding."""
    s = np.linalg.svd(raw(v), compute_uv=False)
    if not s.shape[-1]:
        return np.zeros_like(s, shape=s.shape[:-1], dtype=bool)
    return s[..., -1] <= float(8 * np.sqrt(np.finfo(s.dtype).eps)) * s[..., 0]


#: from NumPy 2.5 on, eigenvalues that may be complex are always of a complex dtype
ALWAYS_COMPLEX = np.linalg.eigvals(np.eye(1)).dtype.kind == "c"


def _as_numpys(part):
    """What NumPy gives for a real eigenvalue or vector."""
    return part + 0j if ALWAYS_COMPLEX else part


@implements(np.linalg.eig)
def eig(a):
    rows = Eigen(square(a, "np.linalg.eig"))
    parts = values_of(rows), columns_of(rows, 1, rows.shape[-1])
    return named_tuple(np.linalg.eig, *map(_as_numpys, parts))


@implements(np.linalg.eigvals)
def eigvals(a):
    return _as_numpys(values_of(Eigen(square(a, "np.linalg.eigvals"))))


OPERATIONS = [SymmetricEigen, Eigen]
