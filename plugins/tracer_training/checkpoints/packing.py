"""States as JSON and arrays: what a checkpoint holds, without pickles.

Arrays are taken out of nested dicts and lists and stand in a flat mapping, by the path that they
had; in their place is `{"$array": path}`. Tuples are `{"$tuple": [...]}`, and dicts whose keys are
no texts `{"$items": [[key, value], ...]}`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, backend
from tracer_training.kinds import Model, Value

ARRAY, TUPLE, ITEMS = "$array", "$tuple", "$items"


def pack(value: Value, path: str, arrays: dict[str, Array]) -> Value:
    """What JSON says of a value; its arrays are put into `arrays`.

    Raises `TracerError` for what is neither a number, text, array nor a container of these.
    """
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.generic):
        number = value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
        if not number and value.dtype.kind != "U":
            raise TracerError(
                f"{path} is a {type(value).__name__}, which a checkpoint does not keep"
            )
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if backend.is_array(value):
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise TracerError(f"{path} is of dtype {value.dtype}, which a checkpoint does not keep")
        if path in arrays:  # as of {"a.b": ...} beside {"a": {"b": ...}}
            path = f"{path}#{len(arrays)}"
        arrays[path] = value
        return {ARRAY: path}
    if isinstance(value, Mapping):
        for key in value:
            if not (key is None or isinstance(key, bool | int | float | str)):
                raise TracerError(
                    f"{path} has the key {key!r}, and a checkpoint keeps texts and numbers as keys"
                )
        pairs = [[key, pack(each, f"{path}.{key}", arrays)] for key, each in value.items()]
        plain = all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs)
        return dict(pairs) if plain else {ITEMS: pairs}
    if isinstance(value, list | tuple):
        entries = [pack(each, f"{path}.{i}", arrays) for i, each in enumerate(value)]
        return {TUPLE: entries} if isinstance(value, tuple) else entries
    raise TracerError(
        f"{path} is a {type(value).__name__}, which a checkpoint does not keep: it keeps numbers, "
        f"texts, arrays, and lists and dicts of these"
    )


def unpack(packed: Any, arrays: Mapping[str, Array]) -> Value:
    """The value that `pack` was given; arrays are NumPy's."""
    if isinstance(packed, list):
        return [unpack(each, arrays) for each in packed]
    if not isinstance(packed, dict):
        return packed
    if ARRAY in packed:
        return arrays[packed[ARRAY]]
    if TUPLE in packed:
        return tuple(unpack(each, arrays) for each in packed[TUPLE])
    if ITEMS in packed:
        return {key: unpack(each, arrays) for key, each in packed[ITEMS]}
    return {key: unpack(each, arrays) for key, each in packed.items()}


# -- random numbers --------------------------------------------------------------------------------


def generators_of(model: Model) -> dict[str, np.random.Generator]:
    """NumPy's generators that the modules of a model have, by path and attribute."""
    if not hasattr(model, "named_modules"):
        return {}
    return {
        f"{path}:{name}": value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, np.random.Generator)
    }


def python_state() -> Value:
    """The state of Python's `random`."""
    return random.getstate()


def set_python_state(state: Any) -> None:
    random.setstate(state)
