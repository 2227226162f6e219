"""Sparse matrices of a constant pattern: products with dense ones, and the solution of systems.

A matrix of SciPy's is taken with its entries as constants (`A @ t`, `t @ A`), a `SparseTensor` with
its entries as a tensor. Rules cost as much as the products: what reaches an entry (i, j) is the
product of a row i of the cotangent and a row j of the dense matrix, at the entries alone.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, meeting, widened
from tracer.errors import ShapeError, TracingError
from tracer.operations import products
from tracer.operations.arguments import operand, raw
from tracer.operations.lapack import solved
from tracer.operations.linalg import transposed, widened_stack
from tracer.operations.placing import ScatterAdd
from tracer.record import hints
from tracer.record.axes import UNKNOWN
from tracer.record.operation import Operation, operation
from tracer.sweep.slopes import by_slots, lifted

#: numbers of the formats whose pattern is taken as it is; others are converted
COMPRESSED = ("csr", "csc")


class Pattern:
    """Where entries are: columns `[nnz]` of one row after another, `starts [m + 1]` of each row."""

    __slots__ = ("_there", "columns", "shape", "starts")

    def __init__(self, columns, starts, shape):
        self.columns, self.starts, self.shape = columns.copy(), starts.copy(), tuple(shape)
        #: library -> columns, starts and rows as its arrays
        self._there = {}

    def of(self, library):
        """Columns, starts and the row of each entry, where the library's arrays are."""
        if library not in self._there:
            counts = np.diff(backend.of(self.starts).to_host(self.starts))
            rows = np.repeat(np.arange(len(counts)), counts)
            self._there[library] = tuple(map(library.from_host, (self.columns, self.starts, rows)))
        return self._there[library]

    def matrix(self, entries, swapped):
        """The matrix of SciPy's with these entries, or the transposed one."""
        library = backend.of(entries)
        columns, starts, _ = self.of(library)
        made = library.scipy("sparse", "csr_matrix")((entries, columns, starts), shape=self.shape)
        return made.T if swapped else made

    def places(self, library, swapped):
        """The rows and the columns of the entries."""
        columns, _, rows = self.of(library)
        return (columns, rows) if swapped else (rows, columns)


def at_entries(left, right, pattern, swapped):
    """Sums over k of `left[..., i, k] * right[..., j, k]` at the entries, `[..., nnz]`."""
    rows, columns = pattern.places(backend.of(raw(left)), swapped)
    return np.sum(left[..., rows, :] * right[..., columns, :], axis=-1)


class Sparse(Operation):
    """Of entries `[..., nnz]` of a sparse matrix and a dense matrix `[..., n, k]`."""

    plain_options = True

    @staticmethod
    def batch_axis(node, axes):
        """Samples in a stack of dense matrices, or in their columns."""
        of_entries, of_dense = axes
        axis = UNKNOWN if of_dense is None else of_dense - len(node.input_shape(1))
        if of_entries is not None or axis == -2:
            return UNKNOWN
        return axis + len(node.shape)


def _example(rng):
    """Entries and the pattern of a matrix [3, 4] with an empty column, and one entry twice."""
    columns, starts = np.array([0, 2, 2, 1, 0]), np.array([0, 3, 4, 5])
    return rng.uniform(0.5, 1.5, 5), Pattern(columns, starts, (3, 4))


@operation("sparse_matmul")
class SparseProduct(Sparse):
    """The product of a sparse matrix, or the transposed one where `swapped`, and a dense one."""

    linear_in = (0, 1)
    jvp = by_slots

    @in_single
    def forward(entries, x, *, pattern, swapped):
        def of_one(entries, x):
            return pattern.matrix(entries, swapped) @ x

        return solved(of_one, (1, 2), entries, x)

    def vjp(node, g):
        """g_x = A^T g; g_entries[v,e] = sum_k g[v,i,k] x[j,k] for the entry e at (i, j)."""
        entries, x = node.inputs
        pattern, swapped = node.params["pattern"], node.params["swapped"]
        return (
            lambda: at_entries(g, x, pattern, swapped),
            lambda: SparseProduct(entries, g, pattern=pattern, swapped=not swapped),
        )

    def examples(rng):
        entries, pattern = _example(rng)
        return [((entries, rng.random((4, 2))), {"pattern": pattern, "swapped": False}),
                ((entries, rng.random((2, 3, 2))), {"pattern": pattern, "swapped": True}),
                ((np.stack([entries, 2 * entries]), rng.random((4, 2))),
                 {"pattern": pattern, "swapped": False})]  # fmt: skip


@operation("spsolve")
class SparseSolve(Sparse):
    """The X with `A @ X = b` for a sparse matrix, or the transposed one where `swapped`."""

    linear_in = (1,)

    @in_single
    def forward(entries, b, *, pattern, swapped):
        dtype = np.result_type(entries, b)

        def of_one(entries, b):
            matrix = pattern.matrix(entries.astype(dtype, copy=False), swapped).tocsc()
            factor = backend.of(entries).scipy("sparse.linalg", "splu")
            try:
                return factor(matrix).solve(b.astype(dtype, copy=False))
            except RuntimeError as error:
                raise ShapeError(f"spsolve takes regular matrices: {error}") from error

        return solved(of_one, (1, 2), entries, b)

    def vjp(node, g):
        """g_b = A^-T g; g_entries[v,e] = -sum_k g_b[v,i,k] x[j,k] for the entry e at (i, j)."""
        g = widened(g)
        pattern, swapped = node.params["pattern"], node.params["swapped"]
        entries = meeting(node.inputs[0], g.dtype)
        back = SparseSolve(entries, g, pattern=pattern, swapped=not swapped)
        return lambda: -at_entries(back, node.output, pattern, swapped), lambda: back

    def jvp(node, tangents):
        """A^-1 (t_b - T x) for the matrix T of the entries' tangents."""
        (t_entries, t_b), rank = map(widened_stack, tangents), len(node.shape)
        right = None if t_b is None else lifted(t_b, rank)
        if t_entries is not None:
            moved = SparseProduct(lifted(t_entries, rank - 1), node.output, **node.params)
            right = -moved if right is None else right - moved
        return SparseSolve(meeting(node.inputs[0], right.dtype), right, **node.params)

    def examples(rng):
        columns, starts = np.array([0, 2, 1, 0, 2]), np.array([0, 2, 3, 5])
        pattern, entries = Pattern(columns, starts, (3, 3)), np.array([2.0, 0.3, 1.5, 0.4, 3.0])
        return [((entries, rng.random((3, 2))), {"pattern": pattern, "swapped": False}),
                ((entries, rng.random((2, 3, 1))),
                 {"pattern": pattern, "swapped": True})]  # fmt: skip


# -- matrices -------------------------------------------------------------------------------------


def is_sparse(value):
    """Whether a value is a sparse matrix of SciPy's or CuPy's."""
    return hasattr(value, "tocsr") and any(
        kind.__module__.startswith(backend.SPARSE) for kind in type(value).__mro__
    )


class SparseTensor:
    """A sparse matrix whose entries are a tensor: `A @ x`, `x @ A`, `A.T`, `A.toarray()`."""

    __array_ufunc__ = None  # arrays leave products to it

    def __init__(self, entries, pattern, swapped=False):
        self.data, self.pattern, self.swapped = entries, pattern, swapped

    @property
    def shape(self):
        return self.pattern.shape[::-1] if self.swapped else self.pattern.shape

    ndim = 2

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def nnz(self):
        return len(self.pattern.columns)

    @property
    def T(self):
        return SparseTensor(self.data, self.pattern, not self.swapped)

    def __matmul__(self, x):
        return product(self, x)

    dot = __matmul__

    def __rmatmul__(self, x):
        return product(self.T, x, from_left=True)

    def toarray(self):
        """The dense matrix; entries for the same place are added."""
        rows, columns = self.pattern.places(backend.of(raw(self.data)), self.swapped)
        positions = rows * self.shape[1] + columns
        return ScatterAdd(self.data[None], positions=positions, shape=self.shape)[0]

    todense = toarray

    def __repr__(self):
        return f"<SparseTensor {list(self.shape)} with {self.nnz} entries, {self.dtype}>"

    def __getattr__(self, name):
        way = "it has @, T, data, shape, dtype, nnz and toarray(), whose dense tensor has others"
        raise hints.missing("SparseTensor", name, None if name.startswith("_") else way, ())


def as_sparse(matrix):
    """A `SparseTensor` of a sparse matrix of SciPy's, whose entries are constants, or as it is."""
    if isinstance(matrix, SparseTensor):
        return matrix
    if len(matrix.shape) != 2:
        raise ShapeError(f"sparse matrices have two axes, got {list(matrix.shape)}")
    if matrix.format not in COMPRESSED:
        matrix = matrix.tocsr()
    entries = matrix.data
    if entries.dtype.kind == "c":
        raise TracingError("sparse matrices of complex numbers are not recorded with tensors")
    entries = entries if entries.dtype.kind == "f" else entries.astype(np.float64)
    if matrix.format == "csc":
        pattern = Pattern(matrix.indices, matrix.indptr, matrix.shape[::-1])
        return SparseTensor(entries, pattern, swapped=True)
    return SparseTensor(entries, Pattern(matrix.indices, matrix.indptr, matrix.shape))


def product(matrix, x, from_left=False):
    """`matrix @ x`; with `from_left` the product of x and the transposed matrix."""
    if is_sparse(x) or isinstance(x, SparseTensor):
        raise TracingError(
            "the product of two sparse matrices has a pattern of its own, and is not recorded with "
            "tensors: take one of them as a dense one, A @ B.toarray()"
        )
    x, (m, n) = operand(x), matrix.shape
    axis = -1 if from_left or x.ndim == 1 else -2
    if x.ndim not in (1, 2) or x.shape[axis] != n:
        raise ShapeError(
            f"a sparse matrix {[m, n]} is multiplied with a vector or a matrix of {n} "
            f"{'columns' if from_left else 'rows'}, got {list(x.shape)}"
        )
    dense = x[:, None] if x.ndim == 1 else transposed(x) if from_left else x
    if x.dtype.kind not in "fc":
        dense = dense.astype(np.float64)
    made = SparseProduct(matrix.data, dense, pattern=matrix.pattern, swapped=matrix.swapped)
    if x.ndim == 1:
        return made[:, 0]
    return transposed(made) if from_left else made


def _of_operator(left, right):
    """`left @ right` where one of them is sparse; None if neither is."""
    if is_sparse(left) or isinstance(left, SparseTensor):
        return product(as_sparse(left), right)
    if is_sparse(right) or isinstance(right, SparseTensor):
        return product(as_sparse(right).T, left, from_left=True)
    return None


def solve(matrix, b):
    """The x with `matrix @ x = b`, of a vector or a matrix `b`."""
    matrix, b = as_sparse(matrix), operand(b)
    m, n = matrix.shape
    if m != n or b.ndim not in (1, 2) or len(b) != n:
        raise ShapeError(
            f"spsolve takes a square matrix and a vector or matrix of its rows, got {[m, n]} and "
            f"{list(b.shape)}"
        )
    b = b if raw(b).dtype.kind in "fc" else b.astype(np.float64)
    options = {"pattern": matrix.pattern, "swapped": matrix.swapped}
    if b.ndim == 1:
        return SparseSolve(matrix.data, b[:, None], **options)[:, 0]
    return SparseSolve(matrix.data, b, **options)


products.others.append(_of_operator)

OPERATIONS = [SparseProduct, SparseSolve]
