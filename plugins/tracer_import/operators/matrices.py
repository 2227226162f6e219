"""Linear algebra of square and other matrices, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from tracer.extend import TensorLike, raw
from tracer_import.operators.context import Operand
from tracer_import.operators.table import add_operator, operator

#: the triangle of a symmetric matrix that is read
Triangle: TypeAlias = Literal["L", "U"]
#: ATen's name -> NumPy's function of a matrix
OF_ONE: dict[str, Callable[[TensorLike], TensorLike]] = {
    "linalg_inv.default": np.linalg.inv,
    "inverse.default": np.linalg.inv,
    "linalg_det.default": np.linalg.det,
    "det.default": np.linalg.det,
    "linalg_svdvals.default": np.linalg.svdvals,
}


for _name, _function in OF_ONE.items():
    add_operator(_name, _function)


@operator("linalg_inv_ex.default")
def inverse_and_info(A: TensorLike, check_errors: bool = False) -> tuple[TensorLike, np.ndarray]:
    """The inverse, and zero where there is one."""
    return np.linalg.inv(A), np.zeros(A.shape[:-2], np.int32)


@operator("linalg_solve.default", "_linalg_solve_ex.default", "linalg_solve_ex.default")
def solve(
    A: TensorLike, B: TensorLike, left: bool = True, check_errors: bool = False
) -> TensorLike:
    """`X` with `A X = B`, or with `X A = B`; `B` is a vector where its shape is `A`'s but one."""
    if B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]):
        return np.linalg.solve(A, B[..., None])[..., 0]
    if left:
        return np.linalg.solve(A, B)
    turned = np.linalg.solve(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2))
    return np.swapaxes(turned, -1, -2)


@operator("linalg_slogdet.default", "slogdet.default")
def sign_and_log_determinant(A: TensorLike) -> tuple[TensorLike, TensorLike]:
    """The sign of the determinant, and the logarithm of its size."""
    sign, logarithm = np.linalg.slogdet(A)
    return sign, logarithm


@operator("_linalg_det.default")
def determinant_and_factors(A: TensorLike) -> tuple[TensorLike, None, None]:
    """The determinant, with places for what its gradient takes in PyTorch."""
    return np.linalg.det(A), None, None


@operator("_linalg_slogdet.default")
def log_determinant_and_factors(A: TensorLike) -> tuple[TensorLike, TensorLike, None, None]:
    """Sign and logarithm, with places for what their gradient takes in PyTorch."""
    return *sign_and_log_determinant(A), None, None


@operator("logdet.default")
def log_determinant(self: TensorLike) -> TensorLike:
    """The logarithm of the determinant; nan where that is below 0."""
    sign, logarithm = np.linalg.slogdet(self)
    return np.where(raw(sign) < 0, np.nan, logarithm)


@operator("linalg_cholesky.default", "cholesky.default")
def cholesky(self: TensorLike, upper: bool = False) -> TensorLike:
    """`L` with `L L.T = self`; `L.T` if `upper`."""
    lower = np.linalg.cholesky(self)
    return np.swapaxes(lower, -1, -2) if upper else lower


@operator("linalg_cholesky_ex.default")
def cholesky_and_info(
    self: TensorLike, upper: bool = False, check_errors: bool = False
) -> tuple[TensorLike, np.ndarray]:
    """The factor, and zero where there is one."""
    return cholesky(self, upper), np.zeros(self.shape[:-2], np.int32)


@operator("linalg_eigh.default", "_linalg_eigh.default")
def eigh(
    A: TensorLike, UPLO: Triangle = "L", compute_v: bool = True
) -> tuple[TensorLike, TensorLike | None]:
    """Eigenvalues of a symmetric matrix, in ascending order, and eigenvectors in columns."""
    if not compute_v:
        return np.linalg.eigvalsh(A, UPLO), None
    values, vectors = np.linalg.eigh(A, UPLO)
    return values, vectors


@operator("linalg_eigvalsh.default")
def eigvalsh(A: TensorLike, UPLO: Triangle = "L") -> TensorLike:
    """Eigenvalues of a symmetric matrix, in ascending order."""
    return np.linalg.eigvalsh(A, UPLO)


@operator("linalg_svd.default")
def svd(
    A: TensorLike, full_matrices: bool = True, driver: str | None = None
) -> tuple[TensorLike, ...]:
    """`U`, `S`, `Vh` with `A = U diag(S) Vh`."""
    u, s, vh = np.linalg.svd(A, full_matrices=full_matrices)
    return u, s, vh


@operator("_linalg_svd.default")
def singular_values_and_vectors(
    A: TensorLike, full_matrices: bool = False, compute_uv: bool = True, driver: str | None = None
) -> tuple[TensorLike | None, ...]:
    """`U`, `S`, `Vh`, or `S` alone at its place."""
    return svd(A, full_matrices) if compute_uv else (None, np.linalg.svdvals(A), None)


@operator("linalg_qr.default")
def qr(
    A: TensorLike, mode: Literal["reduced", "complete"] = "reduced"
) -> tuple[TensorLike, TensorLike]:
    """`Q`, `R` with `A = Q R`."""
    q, r = np.linalg.qr(A, mode)
    return q, r


@operator("linalg_matrix_power.default", "matrix_power.default")
def matrix_power(self: TensorLike, n: int) -> TensorLike:
    """The product of so many of a matrix."""
    return np.linalg.matrix_power(self, n)


@operator("kron.default")
def kron(self: TensorLike, other: Operand) -> TensorLike:
    """The Kronecker product."""
    return np.kron(self, other)


@operator("diag.default")
def diag(self: TensorLike, diagonal: int = 0) -> TensorLike:
    """A matrix with this diagonal, or the diagonal of a matrix."""
    return np.diag(self, diagonal)


@operator("block_diag.default")
def block_diag(tensors: Sequence[TensorLike]) -> TensorLike:
    """A matrix with these blocks on its diagonal; a vector is a row."""
    blocks = [np.reshape(x, (1, -1)) if x.ndim < 2 else x for x in tensors]
    width, start, rows = sum(x.shape[1] for x in blocks), 0, []
    for block in blocks:
        stop = start + block.shape[1]
        rows.append(np.pad(block, ((0, 0), (start, width - stop))))
        start = stop
    return np.concatenate(rows, axis=0)


@operator("cdist.default", "_cdist_forward.default")
def distances(
    x1: TensorLike, x2: TensorLike, p: float = 2, compute_mode: int | None = None
) -> TensorLike:
    """The `p`-norm of the difference of each row of one and each row of the other."""
    return np.linalg.norm(x1[..., :, None, :] - x2[..., None, :, :], p, axis=-1)
