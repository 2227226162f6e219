"""What operators know of the model that they run in: where its arrays are, and its dtypes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tracer.extend import Array, Backend, DType, TensorLike, backend, raw

#: an array, a tensor or a number, which NumPy's functions take alike
Operand: TypeAlias = Any


class Context(NamedTuple):
    """The library of a model's arrays, and the dtype of its parameters where it has some.

    `written` is the dtype that these had in the program, and in which it says what it makes.
    """

    library: Backend
    dtype: DType
    written: DType

    def dtype_of(self, dtype: DType) -> DType:
        """What a dtype of the program is in this model."""
        if dtype == self.written:
            return self.dtype
        if dtype.kind == "c" and dtype == np.result_type(self.written, np.complex64):
            return np.result_type(self.dtype, np.complex64)
        return dtype


DEFAULT = Context(backend.NUMPY, np.dtype(np.float32), np.dtype(np.float32))
current: ContextVar[Context] = ContextVar("tracer_import_context", default=DEFAULT)


def made(array: np.ndarray) -> Array:
    """An array of NumPy's in the library of the model."""
    return current.get().library.from_host(array)


def like(values: np.ndarray, other: TensorLike) -> Array:
    """An array of NumPy's in the library of another one."""
    return backend.of(raw(other)).from_host(values)


def default_dtype(dtype: DType | None = None) -> DType:
    """A dtype as given, or that of floats in this model."""
    return current.get().dtype if dtype is None else np.dtype(dtype)


def sizes(*arguments: Any) -> tuple[int, ...]:
    """Sizes as ints, given one by one or in a tuple."""
    flat = (
        arguments[0]
        if len(arguments) == 1 and isinstance(arguments[0], tuple | list)
        else arguments
    )
    return tuple(int(raw(size)) for size in flat)
