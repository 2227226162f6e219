"""Leaves of the record: parameters and batches."""

from __future__ import annotations

import operator
from typing import Any

from tracer import registry
from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray
from tracer.arrays.types import Array, Convertible
from tracer.errors import ShapeError, TracingError
from tracer.record.describe import check_name
from tracer.record.frames import INTERNAL_FILES
from tracer.record.leaf_kinds import INPUT
from tracer.record.node import Params
from tracer.record.recorder import current_cursor
from tracer.record.tensor import Tensor, new_leaf, new_parameter


def parameter(array: Convertible, name: str | None = None) -> Tensor:
    """A leaf that wants a gradient.

    `array` is of a float dtype (a list of floats becomes an array); integers, booleans and complex
    numbers are refused. It is copied: what happens to the caller's array later does not reach the
    parameter. Results of `Tape.backward` are keyed by `name`.
    """
    check_name("parameter", name)
    data = _float_array(array, "a parameter").copy(order="K")  # keeps the layout
    return new_parameter(data, name)


def rebind(parameter: Tensor, array: Array) -> None:
    """Give a parameter another array of floats of its shape, which is not copied.

    What a record holds of the parameter is as it was: this is how a training step is taken.
    """
    if array.shape != parameter._value.shape or array.dtype.kind != "f":
        raise ShapeError(
            f"a parameter of shape {list(parameter.shape)} is given an array of floats of its "
            f"shape, got {array.dtype}{list(array.shape)}"
        )
    parameter._value = array


def batch(array: Convertible, axis: int = 0, name: str | None = None) -> Tensor:
    """Marks an array as a batch of independent samples along `axis`.

    Per-sample quantities need to know this axis; it is followed through all operations. Given a
    tensor, or an array that knows its samples, marks it where it stands.
    """
    if name is not None:
        check_name("batch", name)
    if type(array) is SampledArray and array.leaf is not None:
        array = Tensor(array.plain, array.leaf)
    cursor = current_cursor()
    if isinstance(array, Tensor) and array.node is not None and cursor is not None:
        return registry.operations["batch"](array, axis=_normalised(axis, array.ndim))
    data = array._value if isinstance(array, Tensor) else backend.as_array(array)
    if data.dtype == object:
        raise TracingError("batch expects an array of numbers, got an array of objects")
    if name is None and cursor is not None and cursor.tape.input_names is not None:
        name = cursor.tape.input_names.get(id(array))
    return _input(data, {"name": name, "axis": _normalised(axis, data.ndim)}, wants=False)


def input_leaf(
    array: Convertible, axis: int | None = None, name: str | None = None, *, wants: bool = False
) -> Tensor:
    """An array, or a number, as an input: a leaf that is drawn as such, and no parameter.

    `axis` is that of its samples, None where it holds none. It `wants` a gradient only if it is of
    floats. It is not copied.
    """
    check_name("input_leaf", name)
    data = (
        _float_array(array, "an input that wants a gradient") if wants else backend.as_array(array)
    )
    at = None if axis is None else _normalised(axis, data.ndim)
    return _input(data, {"name": name, "axis": at}, wants)


def _input(data: Array, params: Params, wants: bool) -> Tensor:
    """A leaf at the place in the model where it is made."""
    leaf = new_leaf(INPUT, data, params, wants=wants)
    cursor = current_cursor()
    if cursor is not None:
        leaf.place = cursor.place
    return Tensor(data, leaf)


def _normalised(axis: Any, rank: int) -> int:
    try:
        axis = operator.index(axis)
    except TypeError:
        raise ShapeError(f"batch expects its axis as an integer, got {axis!r}") from None
    if not -rank <= axis < rank:
        raise ShapeError(f"batch axis {axis} is out of range for an array with {rank} axes")
    return axis % rank


def _float_array(array: Convertible, what: str) -> Array:
    data = (
        array._kept_by("tracer.parameter(t)")
        if isinstance(array, Tensor)
        else backend.as_array(array)
    )
    if data.dtype.kind == "c":
        raise TracingError(
            f"{what} is of real numbers, got {data.dtype}{list(data.shape)}: make two of its real "
            f"and imaginary parts, and compute with a + 1j * b; tracer.grad and its kin "
            f"differentiate by complex arguments"
        )
    if data.dtype.kind != "f":
        raise TracingError(
            f"{what} is of a float dtype, got {data.dtype}{list(data.shape)}, which has no "
            f"derivative: convert it with array.astype(np.float64), or write numbers as 1.0"
        )
    return data


INTERNAL_FILES.add(__file__)
