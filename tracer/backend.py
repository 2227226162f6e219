"""Array libraries: what NumPy's own dispatch does not cover, by the type of the arrays given.

Most code calls `np.*` on whatever it is given; CuPy's arrays, and any with NumPy's protocols, take
it from there. What is left is making arrays beside a given one, writing into fresh ones, SciPy's
special functions, and moving to the host. A library other than NumPy is never imported here: its
backend is made when the first of its arrays is seen.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

from tracer.errors import TracingError


class Backend:
    """One array library. Subclasses for others override what differs from NumPy.

    `name` is the import name of the library, `array_type` the name of its array class.
    """

    name = "numpy"
    array_type = "ndarray"
    namespace: Any = np

    def matches(self, kind: type) -> bool:
        """Whether arrays of this type are this library's."""
        return kind.__name__ == self.array_type and kind.__module__.split(".")[0] == self.name

    def to_host(self, array: Any) -> np.ndarray:
        """The values as a NumPy array; the only place where values leave the device."""
        return np.asarray(array)

    def from_host(self, array: Any) -> Any:
        """A NumPy array moved to the device of this library."""
        return array

    def scatter_add(self, values: Any, positions: Any, size: int) -> Any:
        """`[V, size]` with `values [V, K]` added at `positions [K]` which may repeat."""
        out = self.namespace.zeros((len(values), size), dtype=values.dtype)
        positions = self.from_host(positions)
        for row, added in zip(out, values, strict=True):
            self.namespace.add.at(row, positions, added)
        return out

    def special(self, function: str) -> Any:
        """A function of `scipy.special`."""
        return getattr(importlib.import_module("scipy.special"), function)


class CuPyBackend(Backend):
    """CuPy, found by the type of the arrays that the user made."""

    name = "cupy"

    @property
    def namespace(self) -> Any:  # type: ignore[override]
        return sys.modules["cupy"]

    def to_host(self, array: Any) -> np.ndarray:
        return array.get()

    def from_host(self, array: Any) -> Any:
        return self.namespace.asarray(array)

    def special(self, function: str) -> Any:
        return getattr(importlib.import_module("cupyx.scipy.special"), function)


NUMPY = Backend()
CUPY = CuPyBackend()
_by_type: dict[type, Backend] = {np.ndarray: NUMPY, np.generic: NUMPY}


def of(array: Any) -> Backend:
    """The backend of an array (or of a tensor's array)."""
    kind = type(array)
    found = _by_type.get(kind)
    if found is None:
        if hasattr(kind, "node") and hasattr(array, "data"):
            return of(array.data)
        found = _by_type[kind] = _find(kind)
    return found


def _find(kind: type) -> Backend:
    if issubclass(kind, np.ndarray | np.generic | int | float | bool | complex | list | tuple):
        return NUMPY
    from tracer import registry

    for name in registry.backends:
        if registry.backends[name].matches(kind):
            return registry.backends[name]
    raise TracingError(
        f"arrays of type {kind.__module__}.{kind.__name__} are not known: give NumPy or CuPy "
        f"arrays, or register a tracer.Backend through the hook register_backends"
    )


def is_array(value: Any) -> bool:
    """Whether `value` is an array of a known library."""
    if isinstance(value, np.ndarray | np.generic):
        return True
    if not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return False
    try:
        of(value)
    except TracingError:
        return False
    return True


def namespace(array: Any) -> Any:
    """The module with the functions that make arrays: `numpy`, or `cupy` for CuPy's arrays."""
    return of(array).namespace


_OF_OBJECTS = (
    "an array of objects (a ragged list, or one with None in it) cannot be recorded: give an array "
    "of numbers"
)


def as_array(value: Any) -> Any:
    """An array of a known library as it is; numbers and lists of numbers become NumPy arrays."""
    if isinstance(value, np.generic):
        return np.array(value)
    kind = type(value)
    if kind is np.ndarray or _by_type.get(kind, NUMPY) is not NUMPY:
        array = value
    elif isinstance(value, int | float | bool | complex | list | tuple | np.ndarray):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise TracingError(_OF_OBJECTS) from error
    else:
        of(value)
        array = value
    if array.dtype.kind == "O":
        raise TracingError(_OF_OBJECTS)
    return array


def to_host(value: Any) -> np.ndarray:
    """The values of an array of any library, or of a tensor, as a NumPy array."""
    return of(value).to_host(value.data if hasattr(type(value), "node") else value)
