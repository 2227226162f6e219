"""`scipy.linalg` for tensors: solvers, decompositions and functions of matrices.

The signatures and the values are SciPy's, and arguments that only say how to compute
(`overwrite_a`, `lapack_driver`) are taken and change nothing. Matrices may come in stacks.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import widened
from tracer.errors import ShapeError, TracingError
from tracer.operations import matrix_functions, parts, systems
from tracer.operations.arguments import integers, operand, raw
from tracer.operations.linalg import adjoint, conjugated, hermitian_of, symmetric, transposed
from tracer.record import hints

__all__ = [
    *("block_diag", "cho_factor", "cho_solve", "cholesky", "det", "eigh", "eigvalsh", "expm"),
    *("inv", "logm", "lu_factor", "lu_solve", "norm", "pinv", "qr", "solve", "solve_banded"),
    *("solve_continuous_lyapunov", "solve_lyapunov", "solve_sylvester", "solve_toeplitz"),
    *("solve_triangular", "solveh_banded", "sqrtm", "svd", "svdvals", "toeplitz"),
]


def _floats(a, check_finite=True):
    """An array or tensor of floats; `ValueError` for NaN and infinities, if asked for."""
    a = operand(a)
    a = a if a.dtype.kind in "fc" else a.astype(np.float64)
    if check_finite and not np.isfinite(raw(a)).all():
        raise ValueError("array must not contain infs or NaNs")
    return a


def _square(a, name, check_finite=True):
    return parts.square(_floats(a, check_finite), f"scipy.linalg.{name}")


def _with_columns(solve, b):
    """What `solve` makes of right-hand sides [..., n, k], of a vector [n] as well."""
    if b.ndim == 1:
        return solve(b[:, None])[..., 0]
    return solve(b)


# -- linear systems -------------------------------------------------------------------------------


def solve(
    a,
    b,
    lower=False,
    overwrite_a=False,
    overwrite_b=False,
    check_finite=True,
    assume_a=None,
    transposed=False,
):
    """The x with `a @ x = b`; what `assume_a` says of `a` tells which entries are read."""
    a, b = _square(a, "solve", check_finite), _floats(b, check_finite)
    if assume_a in ("sym", "symmetric", "her", "hermitian", "pos", "positive definite"):
        if assume_a.startswith("pos"):
            return cho_solve(cho_factor(a, lower), b)
        whole = symmetric if assume_a.startswith("sym") else hermitian_of
        return np.linalg.solve(whole(a, lower), b)
    if assume_a in ("upper triangular", "lower triangular"):
        return solve_triangular(a, b, int(transposed), assume_a == "lower triangular")
    if assume_a not in (None, "gen", "general"):
        raise TracingError(
            f"tracer.scipy.linalg.solve takes assume_a None, 'gen', 'sym', 'her', 'pos', 'upper "
            f"triangular' or 'lower triangular', got {assume_a!r}; solve_banded solves banded ones"
        )
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transposed else a, b)


def solve_triangular(
    a, b, trans=0, lower=False, unit_diagonal=False, overwrite_b=False, check_finite=True
):
    """The x with `a @ x = b` for one triangle of `a`.

    `trans` 1 or "T" takes its transpose, 2 or "C" that of the conjugate.
    """
    a, b = _square(a, "solve_triangular", check_finite), _floats(b, check_finite)
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(f"`trans` of solve_triangular is 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    lower = bool(lower)
    if trans not in (0, "N"):
        a, lower = adjoint(a) if trans in (2, "C") else transposed(a), not lower
    unit = bool(unit_diagonal)
    return _with_columns(lambda b: systems.SolveTriangular(a, b, lower=lower, unit=unit), b)


def cholesky(a, lower=False, overwrite_a=False, check_finite=True):
    """The triangular factor of positive definite matrices, the upper one unless `lower`."""
    a = _square(a, "cholesky", check_finite)
    return np.linalg.cholesky(a, upper=not lower)


def cho_factor(a, lower=False, overwrite_a=False, check_finite=True):
    """The factor for `cho_solve`, zero in the other triangle, and which it is."""
    return cholesky(a, lower, overwrite_a, check_finite), lower


def cho_solve(c_and_lower, b, overwrite_b=False, check_finite=True):
    """The x with `a @ x = b`, by the factor of `a`."""
    factor, lower = c_and_lower
    first = solve_triangular(factor, b, 0 if lower else 2, lower, check_finite=check_finite)
    return solve_triangular(factor, first, 2 if lower else 0, lower, check_finite=False)


def lu_factor(a, overwrite_a=False, check_finite=True):
    """L and U in one array, and the pivots: row i was exchanged with row pivots[i]."""
    a = _square(a, "lu_factor", check_finite)
    pivots = systems.pivots_of(raw(a))
    return systems.LU(systems.permuted(a, systems.order_of(pivots))), pivots


def lu_solve(lu_and_piv, b, trans=0, overwrite_b=False, check_finite=True):
    """The x with `a @ x = b`, or with the transpose for `trans` 1 and 2, by the LU of `a`."""
    lu, pivots = lu_and_piv
    lu, b, order = (
        _floats(lu, check_finite),
        _floats(b, check_finite),
        systems.order_of(raw(pivots)),
    )
    if trans not in (0, 1, 2):
        raise ValueError(f"`trans` of lu_solve is 0, 1 or 2, got {trans!r}")

    def solve(b):
        if trans == 0:
            first = solve_triangular(lu, systems.permuted(b, order), 0, True, True)
            return solve_triangular(lu, first)
        first = solve_triangular(lu, b, trans)
        return systems.permuted(
            solve_triangular(lu, first, trans, True, True), np.argsort(order, axis=-1)
        )

    return _with_columns(solve, b)


def solve_banded(l_and_u, ab, b, overwrite_ab=False, overwrite_b=False, check_finite=True):
    """The x with `a @ x = b` for bands `ab[u + i - j, j] = a[i, j]`, `l` below and `u` above."""
    below, above = integers(l_and_u, "`l_and_u` of solve_banded")
    ab, b = _floats(ab, check_finite), _floats(b, check_finite)
    if ab.ndim < 2 or ab.shape[-2] != below + above + 1:
        raise ShapeError(
            f"solve_banded takes {below + above + 1} bands for (l, u) = {below, above}, got "
            f"{list(ab.shape)}"
        )
    return _with_columns(lambda b: systems.SolveBanded(ab, b, below=below, above=above), b)


def solveh_banded(ab, b, overwrite_ab=False, overwrite_b=False, lower=False, check_finite=True):
    """The x with `a @ x = b` for a Hermitian, positive definite matrix of bands."""
    ab, b = _floats(ab, check_finite), _floats(b, check_finite)
    library, plain = backend.of(raw(ab)), widened(raw(ab))
    for bands in plain.reshape(-1, *plain.shape[-2:]):
        library.scipy("linalg", "cholesky_banded")(bands, lower=lower)  # or it is not positive
    width = ab.shape[-2] - 1
    if lower:
        other = conjugated(systems.transposed_bands(ab, width, 0)[..., :-1, :])
        whole = np.concatenate([other, ab], -2)
    else:
        other = conjugated(systems.transposed_bands(ab, 0, width)[..., 1:, :])
        whole = np.concatenate([ab, other], -2)
    return solve_banded((width, width), whole, b, check_finite=False)


def solve_sylvester(a, b, q):
    """The X with `a @ X + X @ b = q`."""
    a, b, q = _square(a, "solve_sylvester"), _square(b, "solve_sylvester"), _floats(q)
    return matrix_functions.Sylvester(a, b, q)


def solve_continuous_lyapunov(a, q):
    """The X with `a @ X + X @ a^H = q`."""
    a = _square(a, "solve_continuous_lyapunov")
    return matrix_functions.Sylvester(a, adjoint(a), _floats(q))


solve_lyapunov = solve_continuous_lyapunov


def solve_toeplitz(c_or_cr, b, check_finite=True):
    """The x with `toeplitz(c, r) @ x = b`, where r is conj(c) unless `c_or_cr` is a pair."""
    c, r = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr, None)
    c, b = _floats(c, check_finite), _floats(b, check_finite)
    r = conjugated(c) if r is None else _floats(r, check_finite)
    if c.shape[-1] != r.shape[-1]:
        raise ShapeError(f"solve_toeplitz takes c and r of one size, got {c.shape} and {r.shape}")
    return _with_columns(lambda b: systems.SolveToeplitz(c, r, b), b)


# -- matrices -------------------------------------------------------------------------------------


def toeplitz(c, r=None):
    """The matrix of a first column `c` and a first row `r`, which is conj(c) unless given."""
    c = np.ravel(operand(c))
    r = conjugated(c) if r is None else np.ravel(operand(r))
    index = len(c) - 1 - np.arange(len(c))[:, None] + np.arange(len(r))
    return np.concatenate([np.flip(c), r[1:]])[backend.of(raw(c)).from_host(index)]


def block_diag(*arrs):
    """The matrix of these on its diagonal, of numbers and vectors as rows."""
    blocks = [np.atleast_2d(operand(a)) for a in (arrs or ([],))]
    if any(block.ndim > 2 for block in blocks):
        raise ShapeError("block_diag on tensors takes matrices, not stacks of them")
    widths, rows, start = [block.shape[1] for block in blocks], [], 0
    dtype = np.result_type(*(raw(block) for block in blocks))
    for block, width in zip(blocks, widths, strict=True):
        before = np.zeros_like(raw(block), dtype=dtype, shape=(len(block), start))
        start += width
        shape = (len(block), sum(widths) - start)
        after = np.zeros_like(raw(block), dtype=dtype, shape=shape)
        rows.append(np.concatenate([before, block, after], axis=1))
    return np.concatenate(rows)


def inv(a, overwrite_a=False, check_finite=True, *, assume_a=None, lower=False):
    """The inverse."""
    if assume_a not in (None, "gen", "general"):
        one = np.eye(np.shape(raw(a))[-1])
        return solve(a, one, lower, assume_a=assume_a, check_finite=check_finite)
    return np.linalg.inv(_square(a, "inv", check_finite))


def det(a, overwrite_a=False, check_finite=True):
    """The determinant."""
    return np.linalg.det(_square(a, "det", check_finite))


def norm(a, ord=None, axis=None, keepdims=False, check_finite=True):
    """The norm of a vector or a matrix, as `np.linalg.norm`."""
    return np.linalg.norm(_floats(a, check_finite), ord, axis, keepdims)


def pinv(a, *, atol=None, rtol=None, return_rank=False, check_finite=True):
    """The pseudoinverse of matrices of full rank."""
    if atol is not None or return_rank:
        raise TracingError("tracer.scipy.linalg.pinv takes no `atol` and no `return_rank`")
    a = _floats(a, check_finite)
    options = {"rtol": rtol} if rtol is not None else {"rtol": _cutoff(a)}
    return np.linalg.pinv(a, **options)


def _cutoff(a):
    return max(a.shape[-2:], default=0) * float(np.finfo(widened(raw(a)).dtype).eps)


# -- decompositions -------------------------------------------------------------------------------


def svd(
    a,
    full_matrices=True,
    compute_uv=True,
    overwrite_a=False,
    check_finite=True,
    lapack_driver="gesdd",
):
    """U, s and V^T, or s alone."""
    found = np.linalg.svd(_floats(a, check_finite), full_matrices, compute_uv)
    return tuple(found) if compute_uv else found


def svdvals(a, overwrite_a=False, check_finite=True):
    """The singular values."""
    return np.linalg.svd(_floats(a, check_finite), compute_uv=False)


def eigh(
    a,
    b=None,
    *,
    lower=True,
    eigvals_only=False,
    overwrite_a=False,
    overwrite_b=False,
    type=1,
    check_finite=True,
    subset_by_index=None,
    subset_by_value=None,
    driver=None,
):
    """Eigenvalues and eigenvectors of a symmetric matrix, or of `a v = w b v` with `b` positive.

    The signs of eigenvectors are those of `np.linalg.eigh`.
    """
    a = _square(a, "eigh", check_finite)
    if type != 1:
        raise TracingError("tracer.scipy.linalg.eigh solves a v = w b v, of type=1")
    if b is None:
        w, v = np.linalg.eigh(a, "L" if lower else "U")
    else:  # of L^-1 a L^-H with b = L L^H
        factor = np.linalg.cholesky(hermitian_of(_square(b, "eigh", check_finite), lower))
        half = solve_triangular(factor, hermitian_of(a, lower), lower=True)
        w, v = np.linalg.eigh(solve_triangular(factor, adjoint(half), lower=True))
        v = solve_triangular(factor, v, 2, lower=True)
    kept = _subset(raw(w), subset_by_index, subset_by_value)
    w, v = (w, v) if kept is None else (w[..., kept], v[..., kept])
    return w if eigvals_only else (w, v)


def _subset(w, by_index, by_value):
    """The slice of eigenvalues that is asked for: of indices [first, last], or of (low, high]."""
    if by_index is not None and by_value is not None:
        raise ValueError("`subset_by_index` and `subset_by_value` can't be both set.")
    if by_index is not None:
        first, last = integers(by_index, "`subset_by_index`")
        return slice(first, last + 1)
    if by_value is not None:
        if w.ndim > 1:
            raise ShapeError("`subset_by_value` is for one matrix, got a stack of them")
        low, high = by_value
        return slice(int((w <= low).sum()), int((w <= high).sum()))
    return None


def eigvalsh(a, b=None, **options):
    """The eigenvalues of a symmetric matrix, or of `a v = w b v`; options as of `eigh`."""
    return eigh(a, b, eigvals_only=True, **options)


def qr(a, overwrite_a=False, lwork=None, mode="full", pivoting=False, check_finite=True):
    """Q and R; for more rows than columns with mode="economic", or R alone with mode="r"."""
    a = parts.matrices(_floats(a, check_finite), "scipy.linalg.qr")
    m, n = a.shape[-2:]
    if pivoting or mode not in ("full", "r", "economic") or (mode == "full" and m > n):
        raise TracingError(
            f"tracer.scipy.linalg.qr of matrices {[m, n]} with mode={mode!r}, pivoting={pivoting} "
            f"gives what has no derivative: take mode='economic' without pivoting"
        )
    if mode == "r":
        r = np.linalg.qr(a, mode="r")
        if m > n:
            none = np.zeros_like(raw(r), shape=(*r.shape[:-2], m - n, n))
            r = np.concatenate([r, none], -2)
        return (r,)
    return tuple(np.linalg.qr(a))


# -- functions of matrices ------------------------------------------------------------------------


def expm(A):
    """The exponential."""
    return matrix_functions.MatrixExponential(_square(A, "expm", False))


def sqrtm(A):
    """The principal square root, where it is real."""
    return matrix_functions.MatrixRoot(_square(A, "sqrtm", False))


def logm(A):
    """The principal logarithm, where it is real."""
    return matrix_functions.MatrixLogarithm(_square(A, "logm", False))


def __getattr__(name):
    way = None if name.startswith("_") else "scipy.linalg has it for arrays, as of tensor.data"
    raise hints.missing("module 'tracer.scipy.linalg'", name, way, __all__)
