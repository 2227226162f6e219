"""Eigenvalues, singular values and QR: operations of which each gives several arrays.

Such an operation gives one array of rows. A row holds the i-th value and its vector (w_i, v_i), the
i-th value and both vectors (s_i, u_i, v_i), or the i-th column of Q and the i-th row of R. Parts of
it are what NumPy's functions give. So a rule has the cotangents of all parts together.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, widened
from tracer.errors import ShapeError, TracingError
from tracer.operations import clusters
from tracer.operations.arguments import operand, raw
from tracer.operations.clusters import coinciding, inverse_gaps, nonzero, off_diagonal, reached
from tracer.operations.linalg import (
    Matrix,
    adjoint,
    conjugated,
    hermitian_of,
    largest,
    real_part,
    regular,
    symmetric,
    transposed,
    with_diagonal,
)
from tracer.operations.phases import first_row, in_phase, longest
from tracer.operations.shapes import Linear
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements
from tracer.record.operation import operation
from tracer.sweep.slopes import by_stacks

VALUES, COLUMNS, ROWS = "values", "columns", "rows"


@operation("part")
class Part(Linear):
    """Entries `start` to `stop` of each row: as they are, as columns, or one of each as values."""

    marks_unreached = True
    takes_complex = True
    jvp = by_stacks

    def forward(packed, *, start, stop, form):
        part = packed[..., start:stop]
        if form == VALUES:
            part = part[..., 0]
        elif form == COLUMNS:
            part = transposed(part)
        return part.copy()

    def vjp(node, g):
        """g at the entries of the part, and -0.0 at the others, where nothing arrives from here."""
        start, stop, form = (node.params[key] for key in ("start", "stop", "form"))
        if form == VALUES:
            g = g[..., None]
        elif form == COLUMNS:
            g = transposed(g)
        width = node.input_shape(0)[-1]
        none = np.full_like(raw(g), clusters.UNREACHED, shape=(*g.shape[:-1], width - stop + start))
        return (np.concatenate([none[..., :start], g, none[..., start:]], -1),)

    def batch_axis(node, axes):
        return axes[0] if axes[0] < len(node.input_shape(0)) - 2 else UNKNOWN

    def examples(rng):
        x = rng.random((2, 3, 4))
        return [((x,), {"start": 0, "stop": 1, "form": VALUES}),
                ((x,), {"start": 1, "stop": 3, "form": COLUMNS}),
                ((x,), {"start": 1, "stop": 4, "form": ROWS})]  # fmt: skip


def values_of(packed):
    return Part(packed, start=0, stop=1, form=VALUES)


def real_values_of(packed):
    """The same of values that are real, also where vectors beside them are complex."""
    return real_part(values_of(packed))


def columns_of(packed, start, stop):
    return Part(packed, start=start, stop=stop, form=COLUMNS)


def rows_of(packed, start, stop):
    return Part(packed, start=start, stop=stop, form=ROWS)


def packed(*parts):
    return np.concatenate(parts, axis=-1)


def _diagonal(inner):
    """The diagonals of matrices, as a column."""
    return np.diagonal(inner, 0, -2, -1)[..., None]


# -- symmetric eigenvalues ------------------------------------------------------------------------


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
        return packed(_diagonal(inner), transposed(v @ (inner * inverse_gaps(w, same))))

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


def _result(function, *parts):
    """What NumPy's function gives: a tuple with names."""
    return type(function(np.eye(1)))(*parts)


def square(a, name):
    """A tensor or array of square matrices; `ShapeError` for anything else."""
    a = matrices(a, name)
    if a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{name} takes square matrices, got {list(a.shape)}")
    return a


def matrices(a, name):
    """A tensor or array of matrices of floats or complex numbers; `ShapeError` for others."""
    a = operand(a)
    if a.ndim < 2:
        raise ShapeError(f"{name} takes matrices, got {list(a.shape)}")
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


@implements(np.linalg.eigh)
def eigh(a, UPLO="L"):
    rows = SymmetricEigen(square(a, "np.linalg.eigh"), upper=is_upper(UPLO))
    return _result(np.linalg.eigh, real_values_of(rows), columns_of(rows, 1, rows.shape[-1]))


@implements(np.linalg.eigvalsh)
def eigvalsh(a, UPLO="L"):
    return real_values_of(SymmetricEigen(square(a, "np.linalg.eigvalsh"), upper=is_upper(UPLO)))


# -- eigenvalues of any matrix --------------------------------------------------------------------


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
        return packed(_diagonal(inner), transposed(t_v))

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
    return _result(np.linalg.eig, *map(_as_numpys, parts))


@implements(np.linalg.eigvals)
def eigvals(a):
    return _as_numpys(values_of(Eigen(square(a, "np.linalg.eigvals"))))


# -- singular values ------------------------------------------------------------------------------


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
        return packed(_diagonal(inner), transposed(t_u), transposed(t_v))

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
    return _result(np.linalg.svd, *decomposed(a, hermitian))


@implements(np.linalg.svdvals)
def svdvals(x, /):
    return singular_values(matrices(x, "np.linalg.svdvals"))


# -- QR -------------------------------------------------------------------------------------------


@operation("qr")
class QR(Matrix):
    """Rows of a column of Q and a row of R, min(m, n) of them, of a matrix [m, n]."""

    saves = ("inputs", "output")
    takes_complex = True

    @in_single
    def forward(a):
        q, r = np.linalg.qr(a)
        return packed(transposed(q), r)

    def vjp(node, g):
        """(g_Q + Q S(R g_R^H - g_Q^H Q)) R^-H, where S takes the lower triangle for both.

        Of a wide matrix [X, Y] with R = [R_X, Q^H Y], Y adds Y g_Y^H to g_Q, and has Q g_Y (Liao
        and others 2019; Roberts and Roberts 2020). Of complex numbers this holds for the conjugates
        of cotangents, and for an R whose diagonal is real, as LAPACK's is.
        """
        m, n = node.input_shape(0)[-2:]
        k = min(m, n)
        rows, g = widened(node.output), conjugated(widened(g))
        q, r = transposed(rows[..., :m]), rows[..., m : m + k]
        g_q, g_r, g_y = transposed(g[..., :m]), g[..., m : m + k], g[..., m + k :]
        if n > m:
            g_q = g_q + widened(node.inputs[0])[..., k:] @ adjoint(g_y)
        inner = r @ adjoint(g_r) - adjoint(g_q) @ q
        out = _times_inverse(g_q + q @ hermitian_of(inner), r)
        return (conjugated(np.concatenate([out, q @ g_y], -1) if n > m else out),)

    def jvp(node, tangents):
        """t_Q = t R^-1 - Q (P - W), t_R = (P - W) R with P = Q^H t R^-1.

        W is what of P turns Q: its strict lower triangle L as L - L^H, and the imaginary diagonal.
        Of a wide matrix [X, Y] it holds for X, and t_R goes on with t_Q^H Y + Q^H t_Y.
        """
        m, n = node.input_shape(0)[-2:]
        k = min(m, n)
        rows, t = widened(node.output), widened(tangents[0])
        q, r = transposed(rows[..., :m]), rows[..., m : m + k]
        left = _times_inverse(t[..., :k], adjoint(r))
        inner = adjoint(q) @ left
        strict, diagonal = np.tril(inner, -1), np.diagonal(inner, 0, -2, -1)
        turn = strict - adjoint(strict) + with_diagonal(diagonal - real_part(diagonal))
        t_q, parts = left - q @ (inner - turn), [(inner - turn) @ r]
        if n > m:
            parts.append(adjoint(t_q) @ widened(node.inputs[0])[..., k:] + adjoint(q) @ t[..., k:])
        return packed(transposed(t_q), *parts)

    def examples(rng):
        return [((regular(rng, 3, 3),), {}), ((rng.random((2, 4, 2)),), {}),
                ((rng.random((2, 4)),), {})]  # fmt: skip


def _times_inverse(x, r):
    """`x @ inv(r)^H` for a triangular matrix; `ShapeError` where that is singular."""
    diagonal = abs(np.diagonal(raw(r), axis1=-2, axis2=-1))[..., None, :]
    rounding = clusters.ROUNDING * np.sqrt(r.shape[-1]) * np.finfo(raw(r).dtype).eps
    if (diagonal <= float(rounding) * largest(r, (-2, -1))).any():
        raise ShapeError(
            "QR decompositions have derivatives where the first min(m, n) columns are independent, "
            "and these are not: leave columns out, or add a multiple of the identity"
        )
    wide = np.broadcast_to(r, (*x.shape[:-2], *r.shape[-2:]))
    return adjoint(np.linalg.solve(wide, adjoint(x)))


@implements(np.linalg.qr)
def qr(a, mode="reduced"):
    a = matrices(a, "np.linalg.qr")
    m, n = a.shape[-2:]
    if mode not in ("reduced", "complete", "r") or (mode == "complete" and m > n):
        raise TracingError(
            f"np.linalg.qr of matrices {[m, n]} with mode={mode!r} gives what has no derivative: "
            f"take mode='reduced' or 'r'"
        )
    rows = QR(a)
    r = rows_of(rows, m, rows.shape[-1])
    if mode == "r":
        return r
    return _result(np.linalg.qr, columns_of(rows, 0, m), r)


OPERATIONS = [Part, SymmetricEigen, Eigen, SingularValues, QR]
