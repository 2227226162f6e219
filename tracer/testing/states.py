"""The check of a layer's state: what `state_dict` gives brings back all of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np

from tracer.arrays.types import Array
from tracer.errors import TracerError
from tracer.testing.agreement import agree


class Layer(Protocol):
    """A layer's state and modes, of whatever library."""

    def state_dict(self) -> Mapping[str, Array]: ...

    def load_state_dict(self, state_dict: Mapping[str, Array]) -> object: ...

    def named_modules(self) -> Iterable[tuple[str, object]]: ...

    def train(self) -> Layer: ...

    def eval(self) -> Layer: ...


#: of a layer
Output = Callable[[Layer], Array]


def check_state(title: str, layer: Layer, output: Output) -> dict[str, str]:
    """That another of its kind is the same once it has loaded the state. `output` is of a layer.

    Returns by the name of a check why it could not be made.
    """
    other = _changed(layer)
    _load(title, other, layer)
    there, loaded = _whole_state(layer), _whole_state(other)
    lost = [name for name in there if not np.array_equal(there[name], loaded[name])]
    if lost:
        raise AssertionError(
            f"{title}: its state_dict does not bring back {', '.join(lost)}: put it into "
            f"state_dict, and take it from there in load_state_dict"
        )
    agree(f"{title}: the output after load_state_dict", output(other), output(layer), 0, 0)
    return _check_trained(title, layer, output)


def _check_trained(title: str, layer: Layer, output: Output) -> dict[str, str]:
    """That nothing is missing of what calls in training mode change, as running averages are."""
    trained = copy.deepcopy(layer).train()
    try:
        output(trained)
    except TracerError as error:
        return {"state after training": str(error)}
    other = copy.deepcopy(layer)
    _load(title, other, trained)
    got, expected = (output(each.eval()) for each in (other, trained))
    if not np.array_equal(got, expected, equal_nan=True):
        names = ", ".join(_plain_changes(layer, trained)) or "what a call in training changes"
        raise AssertionError(
            f"{title}: its state_dict lacks {names}, so that a copy that loads the state after a "
            f"call in training gives something else: make it a buffer, with register_buffer"
        )
    return {}


def _load(title: str, other: Layer, layer: Layer) -> None:
    try:
        other.load_state_dict(layer.state_dict())
    except Exception as error:
        raise AssertionError(
            f"{title}: load_state_dict does not take what its state_dict gives: "
            f"{type(error).__name__}: {error}"
        ) from error


def _of_library(layer: Layer, name: str) -> Callable[..., Mapping[str, Array]]:
    """A method as the class at the bottom has it, which no layer has written anew."""
    return next(vars(kind)[name] for kind in reversed(type(layer).__mro__) if name in vars(kind))


def _whole_state(layer: Layer) -> dict[str, Array]:
    """The arrays of all parameters and saved buffers, whatever the layer's own state has."""
    return dict(_of_library(layer, "state_dict")(layer))


def _changed(layer: Layer) -> Layer:
    """A copy with other values in all of its state."""
    other = copy.deepcopy(layer)
    changed = {
        name: ~value if value.dtype == bool else value + np.ones_like(value)
        for name, value in _whole_state(other).items()
    }
    _of_library(other, "load_state_dict")(other, changed)
    return other


def _plain_changes(layer: Layer, trained: Layer) -> list[str]:
    """Dotted names of plain arrays and numbers that differ."""
    found = []
    for (path, before), (_, after) in zip(
        layer.named_modules(), trained.named_modules(), strict=True
    ):
        for name, value in vars(before).items():
            plain = isinstance(value, np.ndarray | int | float) and not name.startswith("_")
            if (
                plain
                and name != "training"
                and not np.array_equal(value, vars(after).get(name, np.nan))
            ):
                found.append(f"{path}.{name}" if path else name)
    return found
