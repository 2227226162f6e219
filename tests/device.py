"""An array library that lives apart from NumPy, as a GPU's does: a strict double for tests.

`DeviceArray` never becomes a NumPy array by itself and never mixes with one; `get()` fetches its
values, `asarray` sends values there. The module is its own namespace of functions.
"""

import operator
from collections.abc import Mapping

import numpy as np

import tracer


def _unwrap(value, where):
    """The values behind arguments; `TypeError` for a NumPy array among them."""
    if isinstance(value, DeviceArray):
        return value._values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"{where} got a DeviceArray and a numpy.ndarray: use device.asarray")
    if isinstance(value, list | tuple):
        return type(value)(_unwrap(item, where) for item in value)
    if isinstance(value, Mapping):
        return {key: _unwrap(item, where) for key, item in value.items()}
    return value


def _wrap(value):
    if isinstance(value, np.ndarray | np.generic):
        return DeviceArray(np.asarray(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_wrap, value))
    if isinstance(value, list | tuple):
        return type(value)(map(_wrap, value))
    return value


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device. What it computes, scalars included, stays there."""

    def __init__(self, values):
        self._values = values

    def get(self):
        return self._values.copy()

    def __array__(self, *args, **kwargs):
        raise TypeError("a DeviceArray does not become a numpy.ndarray by itself: use get()")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        known = (DeviceArray, np.ndarray, np.generic, int, float, complex)
        if not all(isinstance(x, known) for x in inputs):
            return NotImplemented
        name = f"np.{ufunc.__name__}"
        return _wrap(getattr(ufunc, method)(*_unwrap(inputs, name), **_unwrap(kwargs, name)))

    def __array_function__(self, function, types, args, kwargs):
        if not all(issubclass(kind, DeviceArray | np.ndarray) for kind in types):
            return NotImplemented
        name = f"np.{function.__name__}"
        return _wrap(function(*_unwrap(args, name), **_unwrap(kwargs, name)))

    def __getattr__(self, name):
        if name.startswith("__"):  # NumPy's other ways to get at the values
            raise AttributeError(name)
        value = getattr(self._values, name)
        if not callable(value):
            return _wrap(value)
        return lambda *args, **kwargs: _wrap(value(*_unwrap(args, name), **_unwrap(kwargs, name)))

    def __getitem__(self, index):
        return _wrap(self._values[_unwrap(index, "indexing")])

    def __setitem__(self, index, value):
        self._values[_unwrap(index, "item assignment")] = _unwrap(value, "item assignment")

    def __iter__(self):
        return map(_wrap, self._values)

    def __len__(self):
        return len(self._values)

    def __bool__(self):
        return bool(self._values)

    def __int__(self):
        return int(self._values)

    def __float__(self):
        return float(self._values)

    def __index__(self):
        return operator.index(self._values)

    def __repr__(self):
        return f"DeviceArray({self._values!r})"


def asarray(values, dtype=None):
    """Values on the device, from the host or from there."""
    return DeviceArray(np.array(values.get() if isinstance(values, DeviceArray) else values, dtype))


def __getattr__(name):
    """NumPy's function of this name, whose results are on the device."""
    function = getattr(np, name)
    if not callable(function) or isinstance(function, type | np.ufunc):
        return function
    return lambda *args, **kwargs: _wrap(function(*_unwrap(args, name), **_unwrap(kwargs, name)))


class DeviceBackend(tracer.Backend):
    """How tracer meets this library."""

    name = "device"
    array_type = "DeviceArray"

    @property
    def namespace(self):
        import sys

        return sys.modules[__name__]

    def matches(self, kind):
        return issubclass(kind, DeviceArray)

    def to_host(self, array):
        return array.get()

    def from_host(self, array):
        return asarray(array)

    def special(self, function):
        host = super().special(function)
        return lambda *args: _wrap(host(*_unwrap(args, function)))
