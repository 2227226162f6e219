"""The arrays that a module holds: what becomes one, and what fits in its place."""

from __future__ import annotations

import numpy as np

from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import PARAMETER, Array, Convertible, TensorLike, backend, raw

#: kinds of what a module holds as arrays: parameters, buffers, and buffers that are not saved
HELD = ("parameter", "buffer", "transient")


def _plain(value: Convertible) -> Convertible:
    """An array of a known library: PyTorch's tensors and lists become NumPy arrays."""
    value = raw(value)
    return backend.as_array(value if backend.is_array(value) else np.asarray(value))


def shape_of(value: Convertible) -> tuple[int, ...]:
    """The shape of an array, a tensor or a nested list."""
    value = raw(value)
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def size_of(value: Convertible) -> str:
    """The shape of what a state has under a name that is not known, for messages."""
    try:
        return str(list(shape_of(value)))
    except ValueError:  # a ragged list
        return ""


def fitted(key: str, value: Convertible, held: TensorLike) -> Array:
    """A copy of what a state has for a held array, in its dtype and library; else `ShapeError`."""
    try:
        new = _plain(value)
    except (TypeError, ValueError, RuntimeError) as error:  # of NumPy, or of PyTorch's tensors
        raise ShapeError(f"{key} is no array of numbers ({error})") from error
    if new.shape != held.shape:
        raise ShapeError(f"{key} is of shape {list(held.shape)}, got {list(new.shape)}")
    number = "fiub" if held.dtype.kind != "c" else "cfiub"
    if new.dtype.kind not in number:
        raise ShapeError(f"{key} is of dtype {held.dtype}, got {new.dtype}")
    new = backend.moved(new, backend.of(held))
    try:
        with np.errstate(over="raise", invalid="ignore"):
            array = new.astype(held.dtype)
    except FloatingPointError:
        raise ShapeError(f"{key} is of dtype {held.dtype}, too small for what is there") from None
    if held.dtype.kind in "iub" and bool((array != new).any()):
        raise ShapeError(f"{key} is of dtype {held.dtype}, got other values of {new.dtype}")
    return array


class Buffer:
    """An array that is assigned to a module's attribute to become a buffer there.

    `self.mean = Buffer(array)` is `self.register_buffer("mean", array)`; `self.mean` is the array.
    """

    def __init__(self, data: Convertible | None = None, *, persistent: bool = True):
        self.data = np.empty(0, np.float32) if data is None else data
        self.kind = "buffer" if persistent else "transient"


def copied(name: str, value: Convertible) -> Array | None:
    """A copy of an array that becomes a buffer, out of reach of the caller's later changes."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        if value.node is not None:
            raise TracerError(
                f"{name} is a buffer, which keeps an array and nothing of a trace, got a tensor of "
                f"one: give its value, tensor.data"
            )
        value = value.data
    if not backend.is_array(value):
        raise TracerError(
            f"{name} is a buffer: give an array or None, not {described(value)} "
            f"(np.array(value, np.float32) makes one)"
        )
    return backend.as_array(value).copy(order="K")


def is_parameter(value: object) -> bool:
    """Whether it came from `tracer.parameter`, frozen or not."""
    return isinstance(value, Tensor) and value.node is not None and value.node.op is PARAMETER


def described(value: object) -> str:
    """What a value is, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {type(value).__name__} of shape {list(value.shape)}"
    return repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
