"""The library of compiled kernels, as ctypes calls it: every function and its arguments.

Functions are named `name_float32` and `name_float64`. What each computes stands in its header in
`source/`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracer.extend import Array, DType, threads
from tracer_native.geometry import Numbers

#: how an argument is given: "g" the geometry, "a" the address of an array or None, "p" a ctypes
#: array, "i" an int, "n" one of 64 bits, "d" a double. The number of threads, an int, is the last
#: of all and not named here.
KINDS = {
    "g": ctypes.POINTER(Numbers),
    "a": ctypes.c_void_p,
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "n": ctypes.c_int64,
    "d": ctypes.c_double,
}

FUNCTIONS = {
    "convolve": "g aaaa i",  # x, weight, bias, y, whether it is rectified
    "transpose": "g aaa",  # y, weight, x
    "correlate": "g aaa",  # x, y, weight
    "correlate_samples": "g aaaaa",  # x, y, norms, squares, total
    "correlate_each": "g aaaa",  # x, y, each, total
    "maximum": "g aaa",  # x, y, winners
    "spread": "g aaa n",  # y, winners, x, samples of the winners
    "activate": "i aa n",  # function, x, y, count
    "activate_vjp": "i aaa nn",  # function, g, y, result, rows, count
    "sum_rows": "aa nnn",  # x, sums, stack, rows, columns
    "swap_axes": "aa nnn",  # x, y, count, first, second
    # architecture, history, x and its steps, weights and biases, steps, samples, inputs, width
    "recur": "i aann aaaa nnnn",
    # architecture, history, weight, shown, h, c, d, u, rows, steps, samples, width
    "recur_back": "i aaaaaaa nnnn",
    # architecture, history, x, weights, shown, h, c; gradients of x, weights and biases; sizes
    "recur_gradients": "i aann aa ann aa ann aaaa nnnn",
    # x, norms, directions, dots, squares, histograms, samples, width, directions, histograms
    "visit": "aa p aa p nnnn",
    "count_products": "aa p nnn",  # left, right, histogram, samples, inputs, outputs
    # left, right, lefts, rights, numbers of rows, dots, sets, samples, inputs, outputs
    "pairs": "aa pp aa nnnn",
    "travel": "aaaaa n",  # now, before, first, copy, squares, count
    "softmax": "aa nnn",  # x, bias, rows, rows of the bias, size
    "softmax_vjp": "aaa nnn",  # g, y, result, rows, rows of y, size
    "standardise": "aaa d nn",  # x, y, rates, eps, rows, size
    "standardise_vjp": "aaaa nnn",  # g, y, rates, result, rows, rows of y, size
}

#: what names of functions end in, by the dtype of the arrays
DTYPES = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}


class Library:
    """A loaded library. `OSError` where it cannot be, `AttributeError` where it is another's."""

    def __init__(self, path: Path):
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._functions = {
            (name, dtype): self._declared(name, suffix)
            for name in FUNCTIONS
            for dtype, suffix in DTYPES.items()
        }
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._library.after_fork)

    def _declared(self, name: str, suffix: str) -> Callable[..., int]:
        function = getattr(self._library, f"{name}_{suffix}")
        kinds = FUNCTIONS[name].replace(" ", "") + "i"
        function.argtypes = [KINDS[kind] for kind in kinds]
        function.restype = ctypes.c_int
        return function

    def __call__(self, name: str, dtype: DType, *arguments: Any) -> None:
        """Call a function on as many threads as linear algebra may use. Arrays are contiguous."""
        ready = [address(a) if hasattr(a, "shape") else a for a in arguments]
        if self._functions[name, dtype](*ready, threads()):
            raise MemoryError(f"no memory for the temporaries of the compiled kernel {name!r}")


def address(array: Array) -> int:
    """Where the first element of a NumPy array lies."""
    try:  # a quarter of the time, of arrays that may be written to
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError, BufferError):
        return array.__array_interface__["data"][0]


def addresses(arrays: Sequence[Array]) -> ctypes.Array[ctypes.c_void_p]:
    """Where the first elements of several lie."""
    return (ctypes.c_void_p * len(arrays))(*map(address, arrays))
