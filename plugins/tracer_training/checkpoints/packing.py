"""States as JSON and arrays: what a checkpoint holds, without pickles.

Arrays are taken out of nested dicts and lists and stand in a flat mapping, by the path that they
had; in their place is `{"$array": path}`, with the axes as they lie in memory where that is another
order than theirs: sums and products of other layouts round otherwise. Tuples are `{"$tuple":
[...]}`, and dicts whose keys are no texts `{"$items": [[key, value], ...]}`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, backend
from tracer_training.kinds import Model, Value

ARRAY, AXES, TUPLE, ITEMS = "$array", "axes", "$tuple", "$items"


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
        axes = _axes(value)
        return {ARRAY: path} if axes is None else {ARRAY: path, AXES: axes}
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
        return _laid(arrays[packed[ARRAY]], packed.get(AXES))
    if TUPLE in packed:
        return tuple(unpack(each, arrays) for each in packed[TUPLE])
    if ITEMS in packed:
        return {key: unpack(each, arrays) for key, each in packed[ITEMS]}
    return {key: unpack(each, arrays) for key, each in packed.items()}


def _axes(array: Array) -> list[int] | None:
    """The axes of an array, that of the longest strides first; None where they are in order."""
    if array.flags.c_contiguous:
        return None
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def _laid(array: np.ndarray, axes: list[int] | None) -> np.ndarray:
    """An array whose axes lie in memory as they did."""
    if axes is None:
        return array
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))


# -- random numbers --------------------------------------------------------------------------------


#: what draws random numbers by itself
Source: TypeAlias = "np.random.Generator | np.random.RandomState | random.Random"


def generators_of(model: Model) -> dict[str, Source]:
    """The generators that the modules of a model have, by path and attribute.

    Those of NumPy and Python, also in lists, tuples and dicts.
    """
    if not hasattr(model, "named_modules"):
        return {}
    return {
        place: source
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        for place, source in _sources(value, f"{path}:{name}", ())
    }


def _sources(value: Value, place: str, within: tuple[int, ...]) -> Iterator[tuple[str, Source]]:
    """Generators in a value, each with its place; `within` are the containers around it."""
    if isinstance(value, np.random.Generator | np.random.RandomState | random.Random):
        yield place, value
    elif isinstance(value, Mapping | list | tuple) and id(value) not in within:
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in entries:
            yield from _sources(each, f"{place}.{key}", (*within, id(value)))


def state_of(source: Source) -> Value:
    """What a generator draws next depends on."""
    if isinstance(source, np.random.Generator):
        return source.bit_generator.state
    if isinstance(source, np.random.RandomState):
        return source.get_state(legacy=False)
    return source.getstate()


def set_state(source: Source, state: Any) -> None:
    """Give a generator what `state_of` gave."""
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    elif isinstance(source, np.random.RandomState):
        source.set_state(state)
    else:
        source.setstate(state)


def python_state() -> Value:
    """The state of Python's `random`."""
    return random.getstate()


def set_python_state(state: Any) -> None:
    random.setstate(state)
