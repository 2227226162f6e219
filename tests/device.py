"""An array library that lives apart from NumPy, as a GPU's does: a strict double for tests.

`DeviceArray` never becomes a NumPy array by itself and never mixes with one; `get()` fetches its
values, `asarray` sends values there. The module is its own namespace of functions. `watched` tells
what would make the host of a GPU wait for it.
"""

import contextlib
import operator
import sys
import traceback
from collections import Counter
from collections.abc import Mapping

import numpy as np

import tracer

#: where a value went to the host, or came from it -> how often; None while nobody looks
_waits = None
#: how many elements are overlooked
_overlooked = 0

#: functions whose results have shapes that depend on values
_SIZED_BY_VALUES = {"nonzero", "argwhere", "flatnonzero", "unique", "extract", "compress"}


@contextlib.contextmanager
def watched(larger_than=-1):
    """Counts transfers in its block, by kind and line: each makes the host wait for the device.

    Those of no more elements are left out, if that is wanted.

    Kinds are "to the host" (a Python number or a NumPy array of a value there, or a shape that
    depends on values) and "from the host".
    """
    global _waits, _overlooked
    before, _waits, _overlooked = (_waits, _overlooked), Counter(), larger_than
    try:
        yield _waits
    finally:
        _waits, _overlooked = before


def _waiting(kind, value):
    """`value`, counted."""
    if _waits is not None and np.size(value) > _overlooked:
        frames = (frame for frame, _ in traceback.walk_stack(sys._getframe(1)))
        inner = {
            __file__,
            tracer.backend.__file__,
            tracer.arrays.random.__file__,
            contextlib.__file__,
        }
        frame = next(frame for frame in frames if frame.f_code.co_filename not in inner)
        _waits[f"{kind} in {frame.f_code.co_filename}:{frame.f_lineno}"] += 1
    return value


def _unwrap(value, where):
    """The values behind arguments; `TypeError` for a NumPy array among them."""
    if isinstance(value, DeviceArray | Held):
        return value._values
    if isinstance(value, np.ndarray):
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
        return _waiting("to the host", self._values.copy())

    def __array__(self, *args, **kwargs):
        raise TypeError("a DeviceArray does not become a numpy.ndarray by itself: use get()")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        known = (DeviceArray, np.ndarray, np.generic, int, float, complex)
        known += (tuple,) if method == "at" else ()  # an index
        if not all(isinstance(x, known) for x in inputs):
            return NotImplemented
        name = f"np.{ufunc.__name__}"
        with np.errstate(all="ignore"):  # a device does not tell
            return _wrap(getattr(ufunc, method)(*_unwrap(inputs, name), **_unwrap(kwargs, name)))

    def __array_function__(self, function, types, args, kwargs):
        if not all(issubclass(kind, DeviceArray | np.ndarray) for kind in types):
            return NotImplemented
        name = f"np.{function.__name__}"
        if function.__name__ in _SIZED_BY_VALUES:
            _waiting(name, None)
        return _wrap(function(*_unwrap(args, name), **_unwrap(kwargs, name)))

    def __getattr__(self, name):
        if name.startswith("__"):  # NumPy's other ways to get at the values
            raise AttributeError(name)
        value = getattr(self._values, name)
        if not callable(value):
            return _wrap(value)
        if name in ("item", "tolist", "nonzero"):
            _waiting("to the host", None)
        if name in ("item", "tolist"):
            return value
        return lambda *args, **kwargs: _wrap(value(*_unwrap(args, name), **_unwrap(kwargs, name)))

    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, DeviceArray) and part.dtype == bool for part in parts):
            _waiting("to the host", None)
        return _wrap(self._values[_unwrap(index, "indexing")])

    def __setitem__(self, index, value):
        self._values[_unwrap(index, "item assignment")] = _unwrap(value, "item assignment")

    def __iter__(self):
        return map(_wrap, self._values)

    def __len__(self):
        return len(self._values)

    def __bool__(self):
        return bool(_waiting("to the host", self._values))

    def __int__(self):
        return int(_waiting("to the host", self._values))

    def __float__(self):
        return float(_waiting("to the host", self._values))

    def __index__(self):
        return operator.index(_waiting("to the host", self._values))

    def __repr__(self):
        return f"DeviceArray({self._values!r})"


def asarray(values, dtype=None, order=None):
    """Values on the device, from the host or from there."""
    if isinstance(values, DeviceArray):
        return DeviceArray(np.array(values._values, dtype, order=order or "K"))
    return DeviceArray(np.array(_waiting("from the host", values), dtype))


def __getattr__(name):
    """NumPy's function of this name, whose results are on the device."""
    function = getattr(np, name)
    if not callable(function) or isinstance(function, type | np.ufunc):
        return function
    return lambda *args, **kwargs: _wrap(function(*_unwrap(args, name), **_unwrap(kwargs, name)))


class Generator:
    """A random generator of the device."""

    def __init__(self, seed):
        self._host = np.random.default_rng(seed)

    def __getattr__(self, name):
        draw = getattr(self._host, name)
        return lambda *args, **kwargs: _wrap(draw(*_unwrap(args, name), **_unwrap(kwargs, name)))


class LinearOperator:
    """What SciPy's class of this name is for NumPy's vectors."""

    def __init__(self, dtype, shape):
        self.dtype, self.shape = dtype, shape

    def matmat(self, columns):
        return self._matmat(columns)

    def matvec(self, column):
        return self._matvec(column)


class Held:
    """A sparse matrix or a factor of SciPy's on the device."""

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        return _of_scipy(getattr(self._values, name), name)

    def __matmul__(self, other):
        return _of_scipy(self._values @ _unwrap(other, "a sparse matrix"), "@")


def _of_scipy(value, name):
    """What SciPy gives, on the device: arrays, numbers, and objects that hold some."""
    if isinstance(value, type) or (callable(value) and not hasattr(value, "shape")):
        return lambda *args, **kwargs: _of_scipy(
            value(*_unwrap(args, name), **_unwrap(kwargs, name)), name
        )
    if isinstance(value, np.ndarray | np.generic | list | tuple | int | str):
        return _wrap(value)
    return Held(value)


class DeviceBackend(tracer.Backend):
    """How tracer meets this library."""

    name = "device"
    array_type = "DeviceArray"
    device = "double"
    asynchronous = True

    @property
    def namespace(self):
        return sys.modules[__name__]

    def matches(self, kind):
        return issubclass(kind, DeviceArray)

    def to_host(self, array):
        return array.get()

    def from_host(self, array):
        return array if isinstance(array, DeviceArray) else asarray(array)

    def generator(self, seed):
        return Generator(seed)

    linear_operator = LinearOperator

    def scipy(self, package, function):
        return _of_scipy(super().scipy(package, function), function)
