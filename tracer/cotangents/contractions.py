"""Arithmetic that contractions share: parts of stacks, sums, squares and second moments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.parallel import divided, in_parallel, product
from tracer.arrays.types import Array, Signs, Some

#: rows per column from which a product of rows with themselves is divided by its rows
FEW_ROWS = 64
#: columns of a square of such a product, 1 MB in float32
MOST_COLUMNS = 512


def samples_first(array: Array, axis: int, lead: int = 0) -> Array:
    """`array` with axis `axis + lead` moved to position `lead` (`lead` stack axes come first)."""
    return array if axis == 0 else np.moveaxis(array, axis + lead, lead)


def picked(array: Array, rows: Some, samples: Some) -> Array:
    """`array [V, N, ...]` for some rows and samples: slices, or the host's indices."""
    return indexed(indexed(array, (), rows), (slice(None),), samples)


def indexed(array: Array, lead: tuple[slice, ...], index: Some) -> Array:
    """`array[*lead, index]`."""
    if isinstance(index, np.ndarray):
        index = backend.of(array).from_host(index)
    return array[(*lead, index)]


def accumulate(parts: Iterable[Array]) -> Array:
    """The sum of arrays that are made one after the other."""
    total: Any = None
    for part in parts:
        total = part if total is None else total + part
    return total


def sum_of_squares(u: Array, signs: Signs, samples: slice = slice(None)) -> Array:
    """`[*p]`: squares of `u [V, n, *p]` summed over rows and samples, weighed by signs."""
    flat = u.reshape(*u.shape[:2], math.prod(u.shape[2:]))
    return np.einsum("vnp,vnp->p", weighed(flat, signs, samples), flat).reshape(u.shape[2:])


def second_moment(rows: Array) -> Array:
    """`[D, D]`: `rows.T @ rows`, the sum of the outer products of `rows [K, D]` with themselves.

    That takes half as many operations as other products do, also in parts for several threads: of
    the rows where they are many, else of the columns, in squares that stay in a core's cache while
    they are transposed. Of 128 rows of 3,136 it takes 15 ms so, by halves of the columns 22, by
    OpenBLAS 18.
    """
    (count, width), workers = rows.shape, 1
    if type(rows) is np.ndarray:
        workers = divided(count * width * width)
    if workers == 1:
        return product(rows.T, rows)
    if count > FEW_ROWS * width:
        step = -(-count // workers)
        parts = [rows[start : start + step] for start in range(0, count, step)]
        return accumulate(in_parallel(lambda part: part.T @ part, parts, rows))
    out = np.empty((width, width), rows.dtype)
    number = max(workers, -(-width // MOST_COLUMNS))
    columns = [slice(width * i // number, width * (i + 1) // number) for i in range(number)]

    def multiply(pair: tuple[slice, slice]) -> None:
        first, second = pair
        np.matmul(rows[:, first].T, rows[:, second], out=out[pair])
        if first != second:
            out[second, first] = out[pair].T

    in_parallel(multiply, itertools.combinations_with_replacement(columns, 2), rows)
    return out


def weighed(squares: Array, signs: Array | float | None, samples: slice = slice(None)) -> Array:
    """`squares [V, n, ...]` times `signs [V, N]` (or `[V, 1]`) of these samples, or a number."""
    if signs is None:
        return squares
    if isinstance(signs, int | float):
        return squares * signs
    signs = signs[:, samples] if signs.shape[1] > 1 else signs
    return squares * signs.reshape(*signs.shape, *(1,) * (squares.ndim - 2))


def squared_norms_of(u: Array) -> Array:
    flat = u.reshape(*u.shape[:2], math.prod(u.shape[2:]))
    return np.einsum("vnp,vnp->vn", flat, flat)
