"""Moving arrays, and what holds them, from one device to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tracer import registry
from tracer.arrays import backend
from tracer.arrays.backend import Backend
from tracer.arrays.backend_cupy import CUPY
from tracer.arrays.types import Array, Tree
from tracer.cotangents.kronecker import Kronecker
from tracer.errors import TracerError, TracingError
from tracer.record.leaf_kinds import CONSTANT
from tracer.record.leaves import batch, parameter
from tracer.record.tensor import Tensor


def backend_for(device: object) -> Backend:
    """The array library of a device: NumPy for "cpu", CuPy for "cuda".

    Raises `TracerError` for a device that is not known or does not work here, with what to do.
    """
    name, _, number = str(device).partition(":")
    known = {library.device: library for library in registry.backends.values()}
    if name not in known:
        raise TracerError(f"a device is one of {', '.join(sorted(known))}, got {device!r}")
    if number not in ("", "0"):
        raise TracerError(
            f"{device!r} names one of several devices: set CUDA_VISIBLE_DEVICES={number} before "
            f"Python starts, and write {name!r}"
        )
    known[name].require()
    return known[name]


def is_device(name: str) -> bool:
    """Whether a text names a device, whether or not it works here."""
    return name.partition(":")[0] in {library.device for library in registry.backends.values()}


def cuda_available() -> bool:
    """Whether CuPy is installed and finds a GPU that works."""
    return CUPY.problem() is None


def to_device(value: Tree, device: object) -> Tree:
    """`value` with its arrays on `device`: "cuda" for CuPy's arrays, "cpu" for NumPy's.

    Takes arrays, parameters and batches (which become new ones, named alike; one that is held twice
    is one there, too), and what holds them: dicts, lists, tuples, Kronecker products. Numbers,
    strings and None are left as they are, and so are arrays that are there already. A model moves
    itself: `model.to(device)`.

    Raises `TracingError` for a tensor that an operation recorded, which is on its tape where it is.
    """
    library = backend_for(device)
    leaves: dict[int, Tensor] = {}

    def leaf(tensor: Tensor) -> Tensor:
        if id(tensor) not in leaves:
            leaves[id(tensor)] = _leaf(tensor, backend.moved(tensor.data, library))
        return leaves[id(tensor)]

    return _mapped(value, lambda array: backend.moved(array, library), leaf)


def asnumpy(value: Tree) -> Tree:
    """`value` with NumPy arrays in place of arrays of any library and of tensors.

    Takes the same as `to_device`. It waits for the device.
    """
    return _mapped(value, backend.to_host, _on_host)


def _on_host(tensor: Tensor) -> np.ndarray:
    """A copy of a tensor's values, which may be written into."""
    array = tensor._value
    return array.copy("K") if isinstance(array, np.ndarray) else backend.to_host(array)


def _mapped(
    value: Tree, of_array: Callable[[Array], Array], of_tensor: Callable[[Tensor], Any]
) -> Tree:
    """A function of arrays, and one of tensors, applied to all of them in `value`."""
    if isinstance(value, Tensor):
        return of_tensor(value)
    if value is None or isinstance(value, int | float | complex | str | bytes):
        return value
    if isinstance(value, Mapping):
        return {key: _mapped(item, of_array, of_tensor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_mapped(item, of_array, of_tensor) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Kronecker):
        return Kronecker(tuple(map(of_array, value.factors)), value.shape, value._pull)
    if backend.is_array(value):
        return of_array(value)
    raise TracingError(
        f"expected arrays, tensors, or dicts, lists and tuples of them, got "
        f"{type(value).__name__}: a model moves itself, with model.to(device)"
    )


def _leaf(tensor: Tensor, data: Array) -> Tensor:
    """A leaf of the same kind and name with its array moved."""
    node = tensor.node
    if node is None:
        return Tensor(data)
    if not node.op.leaf:
        raise TracingError(
            f"{node!r} was recorded by an operation and stays on its tape's device: move what it "
            f"is computed from, or its value with tensor.detach()"
        )
    if data is tensor.data:
        return tensor
    if node.op is CONSTANT:
        return Tensor(data, node)
    if "axis" in node.params:
        return batch(data, **node.params)
    return parameter(data, node.params["name"]).requires_grad_(node.wants)
