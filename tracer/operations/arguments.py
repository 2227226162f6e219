"""What the arguments of NumPy's functions mean, or a sentence that says why one is not taken."""

import functools
import operator

import numpy as np

from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray, plain
from tracer.errors import ShapeError, TracingError
from tracer.record.recorder import current_tape
from tracer.record.recording import tensor_of
from tracer.record.tensor import Tensor

ABSENT = np._NoValue


def raw(value):
    """The plain array of a tensor; anything else as it is."""
    kind = type(value)
    if kind is np.ndarray:
        return value
    return value._value if kind is Tensor else plain(value)


def operand(value):
    """A tensor as it is, an array that knows its samples as one, a list or a number as an array."""
    if type(value) is SampledArray:
        return tensor_of(value)
    return value if type(value) is Tensor else backend.as_array(value)


def constant(value, function, argument, instead):
    """The plain array of an argument that no gradient flows through.

    `TracingError` if it is a tensor that wants one, while a tape is open.
    """
    if not isinstance(value, Tensor):
        return value
    if value.node is not None and value.node.wants and current_tape() is not None:
        raise TracingError(
            f"np.{function} has no derivative by its argument `{argument}`, which is a tensor that "
            f"wants a gradient: {instead}, or give {argument}.detach() where it is a constant"
        )
    return value._value


def of_real(a, function):
    """`a`, if it is of real numbers; `TracingError` for complex ones, as NumPy refuses them."""
    if a.dtype.kind == "c":
        raise TracingError(
            f"{function} takes real numbers, got complex ones: write np.real(z), np.imag(z) or "
            f"abs(z)"
        )
    return a


def cast(a, dtype):
    """`a.astype(dtype)`, which drops no imaginary parts: `TracingError` where it would."""
    if a.dtype.kind == "c" and np.dtype(dtype).kind not in "cb":
        raise TracingError(
            f"{a.dtype} is not taken as {np.dtype(dtype)}, which would drop the imaginary part: "
            f"write np.real(z), np.imag(z) or abs(z)"
        )
    return a.astype(dtype, copy=False)


def refuse(function, instead, **options):
    """Raise `TracingError` if any of these options of NumPy's function is given."""
    for name, value in options.items():
        if value is not None and value is not ABSENT:
            raise TracingError(f"np.{function} on tensors takes no `{name}`: {instead}")


def integer(value, what):
    """An int from any of Python's or NumPy's integers; `ShapeError` for anything else."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ShapeError(f"{what} is an integer, got {value!r}") from None


def integers(value, what):
    """A tuple of ints from an integer or a sequence of them."""
    if isinstance(value, list | tuple | range) or getattr(value, "ndim", 0):
        return tuple(integer(v, what) for v in value)
    return (integer(value, what),)


def flag(keepdims):
    """An option that is true or false, false if it is absent."""
    return False if keepdims is ABSENT else bool(keepdims)


# -- axes ---------------------------------------------------------------------------------------


def negative_axes(axis, rank):
    """An `axis` argument as a sorted tuple of negative ints."""
    try:
        return _negative_axes(axis, rank)
    except TypeError:  # a list, an array without axes, or no integer
        return _negative_axes(integers(axis, "an axis"), rank)


@functools.lru_cache(maxsize=None, typed=True)
def _negative_axes(axis, rank):
    if axis is None:
        return tuple(range(-rank, 0))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not all(isinstance(a, int | np.integer) and a is not True and a is not False for a in axes):
        raise TypeError
    found = {_checked(int(a), rank) for a in axes}
    if len(found) != len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return tuple(sorted(found))


def _checked(axis, rank):
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is out of range for an array with {rank} axes")
    return axis - rank if axis >= 0 else axis


def one_axis(axis, rank):
    """An argument that names one axis, as a negative int."""
    if type(axis) is not int:
        axis = integer(axis, "an axis")
    if 0 <= axis < rank:
        return axis - rank
    return _checked(axis, rank)


def several_axes(axes, rank):
    """An argument that names axes in an order, as a list of negative ints, each at most once."""
    if type(axes) is int:
        return [_checked(axes, rank)]
    found = [_checked(a, rank) for a in integers(axes, "an axis")]
    if len(set(found)) != len(found):
        raise ShapeError(f"axes {axes} name an axis twice")
    return found


# -- dtypes -------------------------------------------------------------------------------------


def converted(a, dtype, casting="unsafe"):
    """An array or a tensor in another dtype, if NumPy's rule of `casting` allows that."""
    if dtype is None or a.dtype == dtype:
        return a
    if not np.can_cast(a.dtype, dtype, casting):
        raise ShapeError(
            f"{a.dtype} is not converted to {np.dtype(dtype)} under casting={casting!r}: use "
            f"astype, which says that fractions are lost"
        )
    return a.astype(dtype)
