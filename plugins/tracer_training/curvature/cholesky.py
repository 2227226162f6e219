"""Cholesky's method on the host: `factor = U^T U`, and systems of equations solved with it.

To decompose a factor `[n, n]` takes n^3 / 3 multiplications and additions, where an inverse takes
n^3 and more; to solve with the decomposition takes as long as to multiply by an inverse. Arrays are
float32 or float64, and stay so.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

__all__ = ["cholesky", "inverted", "is_singular", "solved"]

#: rows that are solved for at once
BLOCK = 192


def cholesky(factor: np.ndarray) -> np.ndarray:
    """The upper triangular U of a symmetric factor in row-major order, which is overwritten.

    Where it is not positive definite, an element on the diagonal of U is NaN.
    """
    lower, wrong = _function(factor, "potrf")(factor.T, lower=1, clean=1, overwrite_a=1)
    upper = lower.T
    if wrong:
        upper[0, 0] = np.nan
    return upper


def solved(upper: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`(U^T U)^-1 matrix` of a matrix `[n, m]`, row-major.

    Rows are solved for block by block, so that most is products of matrices. On processors with
    AVX-512 these are twice as fast as triangular solves (in all 9.7 ms in place of 13.4 ms for
    n = 1,000 and m = 784 in float32), on others as fast.
    """
    if matrix.shape[1] < BLOCK:
        out, _ = _function(upper, "potrs")(upper.T, matrix, lower=1)
        return out
    out = np.array(matrix, upper.dtype, order="C")
    starts = range(0, len(upper), BLOCK)
    for start in starts:  # U^T y = matrix
        rows = slice(start, start + BLOCK)
        if start:
            out[rows] -= upper[:start, rows].T @ out[:start]
        _solve(upper[rows, rows], out[rows], transposed=True)
    for start in reversed(starts):  # U x = y
        rows, end = slice(start, start + BLOCK), start + BLOCK
        if end < len(upper):
            out[rows] -= upper[rows, end:] @ out[end:]
        _solve(upper[rows, rows], out[rows], transposed=False)
    return out


def is_singular(upper: np.ndarray) -> bool:
    """Whether rounding is all that is left of a factor's smallest pivot."""
    pivots = np.square(upper.diagonal())
    least = np.finfo(upper.dtype).eps * len(upper)
    return bool(len(pivots)) and not pivots.min() > least * pivots.max()


def inverted(upper: np.ndarray) -> np.ndarray:
    """The inverse of `U^T U`."""
    return np.linalg.inv(upper.T @ upper)


def _solve(upper: np.ndarray, rows: np.ndarray, transposed: bool) -> None:
    """Solve `U x = rows`, or `U^T x = rows`, in place: for BLAS, whose matrices are column-major,
    from the right and with `U^T`, which is lower.
    """
    solve = _function(upper, "trsm", _blas())
    solve(1.0, upper.T, rows.T, side=1, lower=1, trans_a=transposed, overwrite_b=1)


def _function(array: np.ndarray, name: str, library: ModuleType | None = None):
    kind = "s" if array.dtype == np.float32 else "d"
    return getattr(_lapack() if library is None else library, kind + name)


def _lapack() -> ModuleType:
    from scipy.linalg import lapack

    return lapack


def _blas() -> ModuleType:
    from scipy.linalg import blas

    return blas
