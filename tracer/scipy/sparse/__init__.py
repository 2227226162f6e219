"""Sparse matrices whose entries are a tensor, by the names of `scipy.sparse`.

`csr_matrix((data, indices, indptr), shape)` and its kin take a tensor as `data`, and give a matrix
with `A @ x`, `x @ A`, `A.T` and `A.toarray()`. Where it is no tensor, they give SciPy's matrix.
SciPy's matrices are multiplied with tensors as they are: `A @ t`, `t @ A`, `A.T @ t`.
"""

import importlib

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import integers, raw
from tracer.operations.sparse import Pattern, SparseTensor
from tracer.record.tensor import Tensor
from tracer.scipy.sparse import linalg

__all__ = [
    *("SparseTensor", "coo_array", "coo_matrix", "csc_array", "csc_matrix", "csr_array"),
    "csr_matrix",
    "linalg",
]


def _maker(name, made):
    """SciPy's function of this name, with what `made` gives where the entries are a tensor."""

    def make(arg1, shape=None, **options):
        """A sparse matrix of `(entries, ...)`, whose places are constant, and of a `shape`."""
        if not (isinstance(arg1, tuple) and arg1 and isinstance(arg1[0], Tensor)):
            return getattr(importlib.import_module("scipy.sparse"), name)(arg1, shape, **options)
        if options or shape is None or len(integers(shape, "`shape`")) != 2:
            raise TracingError(
                f"tracer.scipy.sparse.{name} of a tensor takes its entries, their places and the "
                f"shape of a matrix, got shape={shape} and {list(options)}"
            )
        entries = arg1[0] if arg1[0].dtype.kind == "f" else arg1[0].astype(np.float64)
        return made(name, entries, arg1[1:], integers(shape, "`shape`"))

    make.__name__ = make.__qualname__ = name
    return make


def _rows(name, entries, places, shape):
    if len(places) == 1:
        return _coordinates(name, entries, places, shape)
    columns, starts = (_of_places(each, entries) for each in places)
    fits = len(starts) == shape[0] + 1 and len(columns) == entries.size
    if not fits or not _within(columns, shape[1]) or int(starts[-1]) != entries.size:
        raise ShapeError(
            f"{name} takes an index for each of {entries.size} entries, and a start for each of "
            f"{shape[0]} rows (columns) and the end, got {len(columns)} and {len(starts)}"
        )
    return SparseTensor(entries, Pattern(columns, starts, shape))


def _columns(name, entries, places, shape):
    if len(places) == 1:
        return _coordinates(name, entries, places, shape)
    return _rows(name, entries, places, shape[::-1]).T


def _coordinates(name, entries, places, shape):
    rows, columns = (_of_places(each, entries) for each in places[0])
    sizes = len(rows) == len(columns) == entries.size
    if not sizes or not _within(rows, shape[0]) or not _within(columns, shape[1]):
        raise ShapeError(
            f"{name} takes a row and a column within {list(shape)} for each of {entries.size} "
            f"entries, got {len(rows)} and {len(columns)}"
        )
    library = backend.of(raw(entries))
    rows = library.to_host(rows)
    order, counts = np.argsort(rows, kind="stable"), np.bincount(rows, minlength=shape[0])
    order, starts = map(library.from_host, (order, np.append(0, np.cumsum(counts))))
    return SparseTensor(entries[order], Pattern(columns[order], starts, shape))


def _of_places(indices, entries):
    """Indices as an array of ints, where the entries are."""
    indices = raw(indices)
    given = indices if hasattr(indices, "dtype") else np.asarray(indices, dtype=np.intp)
    return backend.of(raw(entries)).from_host(given)


def _within(indices, size):
    return not len(indices) or bool(((indices >= 0) & (indices < size)).all())


csr_matrix, csr_array = (_maker(name, _rows) for name in ("csr_matrix", "csr_array"))
csc_matrix, csc_array = (_maker(name, _columns) for name in ("csc_matrix", "csc_array"))
coo_matrix, coo_array = (_maker(name, _coordinates) for name in ("coo_matrix", "coo_array"))
