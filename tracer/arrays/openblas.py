"""What NumPy's own OpenBLAS can do and NumPy does not offer, where that is the library it has."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tracer.arrays.types import Array, DType

#: how NumPy's builds rename functions: before and after the name, and their type of sizes
_RENAMED = [
    (prefix, suffix, size)
    for prefix in ("scipy_", "")
    for suffix, size in (("64_", ctypes.c_int64), ("", ctypes.c_int))
]
_ROWS, _AS_IT_IS, _TRANSPOSED = 101, 111, 112  # of CBLAS


@functools.cache
def function(name: str) -> tuple[Any, type] | None:
    """A function of the OpenBLAS that NumPy calls and its type of sizes; None if it has another."""
    try:
        library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    except (AttributeError, KeyError, OSError):
        return None
    for prefix, suffix, size in _RENAMED:
        if hasattr(library, f"{prefix}openblas_get_config{suffix}"):
            found = getattr(library, prefix + name + suffix, None)
            return None if found is None else (found, size)
    return None


def of_scipy(name: str) -> Callable[..., int] | None:
    """A function of SciPy's OpenBLAS, which is another than NumPy's; None where none is loaded."""
    path = getattr(sys.modules.get("scipy.linalg._fblas"), "__file__", None)
    return None if path is None else _of_scipy(path, name)


@functools.cache
def _of_scipy(path: str, name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(path), f"scipy_{name}", None)
    except OSError:
        return None


@functools.cache
def _gemm(dtype: np.dtype) -> Any:
    """CBLAS's product of matrices of a dtype, ready to be called; None if there is none."""
    kinds = {
        np.dtype(np.float32): ("s", ctypes.c_float),
        np.dtype(np.float64): ("d", ctypes.c_double),
    }
    if dtype not in kinds:
        return None
    letter, number = kinds[dtype]
    found = function(f"cblas_{letter}gemm")
    if found is None:
        return None
    gemm, size = found
    kind, pointer = ctypes.c_int, ctypes.c_void_p
    gemm.restype = None
    gemm.argtypes = (
        *(kind, kind, kind, size, size, size, number),
        *(pointer, size, pointer, size, number, pointer, size),
    )
    return gemm


def add_product(out: Array, a: Array, b: Array) -> None:
    """`out += a @ b` of matrices, without a product that is made, read and added in between.

    In blocks that fit the cache, that takes a fifth longer. Float32 and float64 are added by
    OpenBLAS where `out` has its rows one after the other in memory, all else by NumPy. `out` shares
    no memory with the others.
    """
    plain = type(out) is np.ndarray and out.flags.carray and out.shape == (len(a), b.shape[1])
    gemm = _gemm(out.dtype) if plain and a.shape[1] == len(b) else None
    first, second = _laid_out(a, out.dtype), _laid_out(b, out.dtype)
    if gemm is None or first is None or second is None:
        out += a @ b
        return
    (rows, columns), inner = out.shape, a.shape[1]
    gemm(
        *(_ROWS, first.order, second.order, rows, columns, inner, 1.0),
        *(first.address, first.leading, second.address, second.leading),
        *(1.0, out.__array_interface__["data"][0], columns),
    )


class _Matrix(NamedTuple):
    """How CBLAS names a matrix: in rows or in columns, its leading dimension, and where."""

    order: int
    leading: int
    address: int


def _laid_out(matrix: Array, dtype: DType) -> _Matrix | None:
    """A NumPy matrix as CBLAS names it; None if it cannot."""
    if type(matrix) is not np.ndarray or matrix.dtype != dtype or matrix.size == 0:
        return None
    address, each = matrix.__array_interface__["data"][0], dtype.itemsize
    for order, (between, beside), length in (
        (_AS_IT_IS, matrix.strides, matrix.shape[1]),
        (_TRANSPOSED, matrix.strides[::-1], matrix.shape[0]),
    ):
        if beside == each and between % each == 0 and between >= length * each:
            return _Matrix(order, between // each, address)
    return None
