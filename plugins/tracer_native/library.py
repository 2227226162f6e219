"""The library of compiled kernels, as ctypes calls it.

It tells which functions it has, for which dtype each, and the types of their arguments: see
`source/exports.hpp`. What each computes stands in its header.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracer.extend import Array, DType, threads

#: the types of arguments by the codes of `source/exports.hpp`: arrays are given as addresses
TYPES = {
    "P": ctypes.c_void_p,
    "?": ctypes.c_bool,
    "i": ctypes.c_int,
    "q": ctypes.c_int64,
    "d": ctypes.c_double,
    "S": ctypes.Structure,
}

#: the names of dtypes that there are kernels for
DTYPES = {np.dtype(name): name for name in ("float32", "float64")}


class Exported(ctypes.Structure):
    """`Exported` in `source/exports.hpp`."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("name", "dtype", "arguments")),
        ("call", ctypes.c_void_p),
    ]


class Library:
    """A loaded library. `OSError` where it cannot be, `AttributeError` where it is another's."""

    def __init__(self, path: Path):
        self.path = path
        library = ctypes.CDLL(str(path))
        count = ctypes.c_long()
        library.exported.restype = ctypes.POINTER(Exported)
        exported = library.exported(ctypes.byref(count))[: count.value]
        self._functions = {
            (e.name.decode(), np.dtype(e.dtype.decode())): _function(e) for e in exported
        }
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=library.after_fork)

    def __call__(self, name: str, dtype: DType, *arguments: Any) -> None:
        """Call a function on as many threads as linear algebra may use. Arrays are contiguous."""
        ready = [address(a) if hasattr(a, "shape") else a for a in arguments]
        if self._functions[name, dtype](*ready, threads()):
            raise MemoryError(f"no memory for the temporaries of the compiled kernel {name!r}")


def _function(exported: Exported) -> Callable[..., int]:
    types = [TYPES[code] for code in exported.arguments.decode()]
    return ctypes.CFUNCTYPE(ctypes.c_int, *types)(exported.call)


def address(array: Array) -> int:
    """Where the first element of a NumPy array lies."""
    try:  # a quarter of the time, of arrays that may be written to
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError, BufferError):
        return array.__array_interface__["data"][0]


def addresses(arrays: Sequence[Array]) -> ctypes.Array[ctypes.c_void_p]:
    """Where the first elements of several lie."""
    return (ctypes.c_void_p * len(arrays))(*map(address, arrays))
