"""Array libraries: NumPy's arrays in a box, as a device would have them."""

import sys

import numpy as np
from tracer.extend import Backend


class Boxed(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that becomes NumPy's by `unboxed()` alone."""

    def __init__(self, values):
        self._values = np.asarray(values)

    def unboxed(self):
        return self._values.copy()

    def __array__(self, *args, **kwargs):
        raise TypeError("a Boxed does not become a numpy.ndarray by itself: use unboxed()")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if not all(isinstance(x, Boxed | np.ndarray | np.generic | int | float) for x in inputs):
            return NotImplemented
        return boxed(getattr(ufunc, method)(*unboxed(inputs), **unboxed(options)))

    def __array_function__(self, function, types, args, kwargs):
        if not all(issubclass(kind, Boxed | np.ndarray) for kind in types):
            return NotImplemented
        return boxed(function(*unboxed(args), **unboxed(kwargs)))

    def __getattr__(self, name):
        if name.startswith("__"):  # NumPy's other ways to get at the values
            raise AttributeError(name)
        found = getattr(self._values, name)
        if not callable(found) or name in ("item", "tolist"):
            return boxed(found) if isinstance(found, np.ndarray) else found
        return lambda *args, **options: boxed(found(*unboxed(args), **unboxed(options)))

    def __getitem__(self, index):
        return boxed(self._values[unboxed(index)])

    def __setitem__(self, index, value):
        self._values[unboxed(index)] = unboxed(value)

    def __iter__(self):
        return map(boxed, self._values)

    def __len__(self):
        return len(self._values)

    def __bool__(self):
        return bool(self._values)

    def __int__(self):
        return int(self._values)

    def __float__(self):
        return float(self._values)

    def __index__(self):
        return self._values.__index__()


def unboxed(value):
    """The same with NumPy's arrays in place of boxed ones, however deep they are."""
    if isinstance(value, Boxed):
        return value._values
    if isinstance(value, dict):
        return {key: unboxed(each) for key, each in value.items()}
    return type(value)(map(unboxed, value)) if type(value) in (list, tuple) else value


def boxed(value):
    """The same with boxed arrays in place of NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return Boxed(value)
    return type(value)(map(boxed, value)) if type(value) in (list, tuple) else value


def __getattr__(name):
    """NumPy's function of this name, whose results are boxed: the library's namespace."""
    found = getattr(np, name)
    if not callable(found) or isinstance(found, type | np.ufunc):
        return found
    return lambda *args, **options: boxed(found(*unboxed(args), **unboxed(options)))


class Generator:
    """A random generator whose draws are boxed."""

    def __init__(self, seed):
        self._host = np.random.default_rng(seed)

    def __getattr__(self, name):
        draw = getattr(self._host, name)
        return lambda *args, **options: boxed(draw(*unboxed(args), **unboxed(options)))


class BoxedBackend(Backend):
    """How the library differs from NumPy."""

    name = "tracer_everything"
    array_type = "Boxed"
    device = "box"
    namespace = sys.modules[__name__]

    def to_host(self, array):
        return array.unboxed()

    def from_host(self, array):
        return array if isinstance(array, Boxed) else Boxed(np.array(array))

    def generator(self, seed):
        return Generator(seed)

    def special(self, function):
        on_host = super().special(function)
        return lambda *args: boxed(on_host(*unboxed(args)))


BOXED = BoxedBackend()
