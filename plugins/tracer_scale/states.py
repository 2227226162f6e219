"""States of quantities as what can be sent and stored: arrays, numbers, texts, and containers.

Arrays are NumPy's, or, for who exchanges those of a device, stay where they are (`in_place`).

A Kronecker block is its factors and the places of its elements, a cotangent the arrays that it is
made of or, where functions are among these, the samples' cotangents themselves. Objects of a
plugin are their fields, and are made again of the class, found where the quantity is defined.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import QuantityError
from tracer.extend import (
    Array,
    Context,
    Cotangent,
    Dense,
    Kronecker,
    Quantity,
    Stack,
    Unfinished,
    backend,
)

#: numbers, texts, arrays, and lists, tuples and dicts of these
Plain: TypeAlias = Any
#: where an array is kept
Keep: TypeAlias = "Callable[[Array], Array]"

#: the keys of what stands for an object
KRONECKER, COTANGENT, OBJECT = "$kronecker", "$cotangent", "$object"


class _Unsendable(Exception):
    """A field that is neither a number, an array nor a container."""


def on_host(array: Array) -> np.ndarray:
    """An array as NumPy's."""
    return np.asarray(backend.to_host(array))


def in_place(array: Array) -> Array:
    """An array as it is; numbers are NumPy's arrays."""
    numbers = isinstance(array, np.generic) or not backend.is_array(array)
    return np.asarray(array) if numbers else array


def plain(kept: Unfinished, quantity: Quantity, keep: Keep = on_host) -> Plain:
    """The state of a quantity at a parameter, and its context; arrays are what `keep` gives.

    Raises `QuantityError` for a state that holds something else, as a function.
    """
    context = kept.context
    try:
        state = _plain(kept.state, keep)
    except _Unsendable as error:
        raise QuantityError(
            f"the state of {quantity.name!r} at {context.name} holds {error}, which cannot be sent "
            f"to another process: keep arrays, numbers, and containers or objects of these in it"
        ) from error
    numbers = [list(context.shape), str(context.dtype), context.samples, context.rows]
    return {"state": state, "context": [context.name, *numbers]}


def restored(value: Plain, quantity: Quantity) -> Unfinished:
    """What `plain` was given."""
    name, shape, dtype, samples, rows = value["context"]
    context = Context(name, tuple(shape), np.dtype(dtype), samples, rows)
    return Unfinished(_restored(value["state"], quantity), context)


def _plain(value: Any, keep: Keep) -> Plain:
    if value is None or isinstance(value, bool | int | float | str):
        return value if type(value) in (type(None), bool, int, float, str) else _number(value)
    if isinstance(value, np.generic) or backend.is_array(value):
        return _array(keep(value))
    if isinstance(value, Kronecker):
        order = None if value.is_natural else keep(value.order())
        return {KRONECKER: [_plain(f, keep) for f in value.factors], "order": order,
                "shape": list(value.shape)}  # fmt: skip
    if isinstance(value, Cotangent):
        return _cotangent(value, keep)
    if isinstance(value, Mapping):
        pairs = [[_plain(key, keep), _plain(each, keep)] for key, each in value.items()]
        return {"$dict": pairs}
    if type(value) is tuple:
        return tuple(_plain(each, keep) for each in value)
    if type(value) is list:
        return [_plain(each, keep) for each in value]
    if callable(value) or not hasattr(value, "__dict__"):
        raise _Unsendable(f"a {type(value).__name__}")
    kind = type(value)
    fields = value.__getstate__()
    if not isinstance(fields, dict):
        raise _Unsendable(f"a {kind.__name__}")
    found = {name: _plain(field, keep) for name, field in fields.items()}
    return {OBJECT: [kind.__module__, kind.__qualname__], "fields": found}


def _number(value: Any) -> Plain:
    """A number or text of a subclass: one of NumPy's keeps its dtype."""
    if isinstance(value, np.generic):
        return _array(np.asarray(value))
    raise _Unsendable(f"a {type(value).__name__}")


def _array(array: Array) -> Plain:
    if array.dtype.kind not in "biuf":
        raise _Unsendable(f"an array of dtype {array.dtype}")
    # as it arrives from a process or a file: products of other layouts round otherwise
    return backend.namespace(array).asarray(array, order="C")


def _cotangent(value: Cotangent, keep: Keep) -> Plain:
    """Its arrays; those of samples where it has functions, as a transposed weight's has."""
    try:
        kind = type(value)
        found = {name: _sent(field, keep) for name, field in vars(value).items()}
        return {COTANGENT: [kind.__module__, kind.__qualname__], "fields": found}
    except _Unsendable:
        dense = Dense(value.per_sample())
        dense.signs, dense.unbatched = value.signs, value.unbatched
        dense.unbatched_squares = value.unbatched_squares
        return _cotangent(dense, keep)


def _sent(field: Any, keep: Keep) -> Plain:
    return {"$dtype": str(field)} if isinstance(field, np.dtype) else _plain(field, keep)


def _restored(value: Plain, quantity: Quantity) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_restored(each, quantity) for each in value)
    if not isinstance(value, dict):
        return value
    if KRONECKER in value:
        shape, order = tuple(value["shape"]), value["order"]
        pull = None if order is None else _Placed(order, shape)
        return Kronecker(tuple(_restored(f, quantity) for f in value[KRONECKER]), shape, pull)
    if "$dict" in value:
        return {_restored(key, quantity): _restored(each, quantity) for key, each in value["$dict"]}
    if "$dtype" in value:
        return np.dtype(value["$dtype"])
    place = value[COTANGENT if COTANGENT in value else OBJECT]
    kind = _class_of(place, COTANGENT in value, quantity)
    made = kind.__new__(kind)
    fields = {name: _restored(each, quantity) for name, each in value["fields"].items()}
    made.__dict__.update(fields)
    return made


def _class_of(place: list[str], cotangent: bool, quantity: Quantity) -> Any:
    """A class of the core's cotangents, or of the modules that the quantity is defined in."""
    module, name = place
    known = {base.__module__ for base in type(quantity).__mro__}
    found: Any = sys.modules.get(module) if cotangent or module in known else None
    for part in name.split(".") if found is not None else ():
        found = getattr(found, part, None)
    if not isinstance(found, type) or (cotangent and not issubclass(found, Cotangent)):
        raise QuantityError(
            f"the state of {quantity.name!r} has a {name} of {module}, which is not where the "
            f"quantity is defined: define both in one module"
        )
    return found


@dataclass(frozen=True)
class _Placed:
    """Stacks in the natural layout as those of a parameter: `order` says where each element is.

    It has -1 for elements that are not there, which are zero.
    """

    order: Array
    shape: tuple[int, ...]

    def __call__(self, stack: Stack) -> Stack:
        library = backend.of(stack)
        order = backend.moved(self.order, library)
        zero = library.namespace.zeros((), dtype=stack.dtype)
        out = np.where(order >= 0, stack[:, order], zero)
        return out.reshape(len(stack), *self.shape)
