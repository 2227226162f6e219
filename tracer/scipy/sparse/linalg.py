"""`scipy.sparse.linalg` for tensors: systems with a sparse matrix."""

from tracer.errors import TracingError
from tracer.operations.sparse import SparseTensor, is_sparse, solve

__all__ = ["spsolve"]


def spsolve(A, b):
    """The x with `A @ x = b` for a sparse matrix `A`, its entries constant or a tensor.

    `b` is a vector or a dense matrix. Raises `ShapeError` for a singular matrix.
    """
    if not (is_sparse(A) or isinstance(A, SparseTensor)) or is_sparse(b):
        raise TracingError(
            f"tracer.scipy.sparse.linalg.spsolve takes a sparse matrix and dense right-hand sides, "
            f"got {type(A).__name__} and {type(b).__name__}; np.linalg.solve takes a dense matrix"
        )
    return solve(A, b)
