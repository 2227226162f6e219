"""In which dtype arithmetic is done: data of ints, bools and half precision never decide it.

Half precision holds numbers up to 65504 and three digits. What is stored in it is computed with in
float32: cotangents, sums of squares, and linear algebra, which NumPy has in no half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from tracer.arrays.types import DType


class Typed(Protocol):
    """An array, or a tensor."""

    @property
    def dtype(self) -> DType: ...
    @property
    def astype(self) -> Callable[..., Any]: ...


Held = TypeVar("Held", bound=Typed)

#: the dtypes of half and of single precision
HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)


def is_half(dtype: DType) -> bool:
    """Whether a dtype is float16."""
    return dtype.char == "e"


def working(dtype: DType) -> DType:
    """The dtype in which to compute with arrays of a float dtype: float32 for half precision."""
    return SINGLE if is_half(dtype) else dtype


def widened(array: Held) -> Held:
    """An array of half precision in float32, any other as it is."""
    return array.astype(SINGLE) if array.dtype.char == "e" else array


def narrowed(array: Held, dtype: DType) -> Held:
    """What was computed with `widened` arrays of this dtype, in half precision if that is half."""
    return array.astype(dtype) if dtype.char == "e" and array.dtype != dtype else array


def meeting(array: Held, dtype: DType) -> Held:
    """Data in the float or complex dtype of what they meet, unless they are of a wider one."""
    if array.dtype == dtype or (
        array.dtype.kind in "fc" and np.promote_types(array.dtype, dtype) != dtype
    ):
        return array
    return array.astype(dtype)


def in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays that takes those of half precision through float32 and back.

    The result is of half precision if all arrays of floats are.
    """

    def call(*arrays: Any, **options: Any) -> Any:
        for array in arrays:
            if getattr(array, "dtype", None) is HALF:
                break
        else:
            return function(*arrays, **options)
        dtypes = [array.dtype for array in arrays if hasattr(array, "dtype")]
        wide = (widened(array) if hasattr(array, "dtype") else array for array in arrays)
        out, dtype = function(*wide, **options), np.result_type(*dtypes)
        if isinstance(out, tuple):
            return tuple(narrowed(part, dtype) for part in out)
        return narrowed(out, dtype)

    return call
