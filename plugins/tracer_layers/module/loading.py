"""What a module holds as arrays, replaced: by those of a state, of a dtype, or of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Backend, Convertible, backend, raw
from tracer_layers.module.naming import Content, Named, joined
from tracer_layers.module.state import HELD, fitted, shape_of, size_of


class Holder(Named, Protocol):
    """What holds arrays here: a module, by all that are below it."""

    def named_modules(self, *, remove_duplicate: bool) -> Iterator[tuple[str, Named]]: ...


#: a dtype and a library that arrays are moved to, where given
Move: TypeAlias = tuple[np.dtype | None, Backend | None]


@runtime_checkable
class Unmade(Protocol):
    """A layer whose arrays are still to be made, in its first call; see `lazy`."""

    moves: list[Move]

    def size_of_state(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The size that it waits for, from the shapes of a state; None if they do not tell."""
        ...

    def make(self, size: int) -> None:
        """Make the arrays."""
        ...


#: a module, the name of an attribute of it, and the array that takes the place of what is there
Change: TypeAlias = tuple[Named, str, Array]


class IncompatibleKeys(NamedTuple):
    """The names in which a state and a module differ; see `Module.load_state_dict`."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def saved(module: Holder) -> Iterator[tuple[str, Named, str]]:
    """Dotted name, module and attribute of everything that is saved, ties included."""
    for path, holder in module.named_modules(remove_duplicate=False):
        for kind in ("parameter", "buffer"):
            for name, _ in holder._held(kind):
                yield joined(path, name), holder, name


def load(module: Holder, state: Mapping[str, Convertible], strict: bool) -> IncompatibleKeys:
    """Take over the arrays of a state; see `Module.load_state_dict`."""
    _make(module, state)
    places = {full: (holder, name) for full, holder, name in saved(module)}

    def held(key: str) -> Content:
        holder, name = places[key]
        return holder._value(name)

    missing = [key for key in places if key not in state]
    unexpected = [key for key in state if key not in places]
    problems = []
    if strict and missing:
        shapes = (f"{k} {list(shape_of(held(k)))}" for k in missing)
        problems.append(f"missing: {', '.join(shapes)}")
    if strict and unexpected:
        shapes = (f"{k} {size_of(state[k])}".rstrip() for k in unexpected)
        problems.append(f"unexpected: {', '.join(shapes)}")
    changes = []
    loaded: dict[int, tuple[str, Array]] = {}
    for key in (key for key in places if key in state):
        old, value = held(key), state[key]
        if isinstance(value, Tensor):
            value._kept_by("load_state_dict")
        try:
            array = fitted(key, value, raw(old))
        except TracerError as error:
            problems.append(str(error))
            continue
        first, same = loaded.setdefault(id(old), (key, array))
        if bool(((same != array) & (same == same)).any()):
            problems.append(f"{first} and {key} are one parameter here, and differ there")
        changes.append((*places[key], same))
    if problems:
        raise ShapeError(
            f"the state does not fit this {type(module).__name__}: {'; '.join(problems)}. Build "
            f"the model with the arguments it was saved with, or pass strict=False to skip "
            f"missing and unexpected names"
        )
    replace(changes)
    return IncompatibleKeys(missing, unexpected)


def _make(module: Holder, state: Mapping[str, Convertible]) -> None:
    """Make the layers that wait for their first call of the sizes that the state has."""
    for path, waiting in module.named_modules(remove_duplicate=False):
        if isinstance(waiting, Unmade):
            names = {key.rpartition(".")[2]: key for key in state if key.rpartition(".")[0] == path}
            size = waiting.size_of_state(
                {name: shape_of(state[key]) for name, key in names.items()}
            )
            if size is not None:
                waiting.make(size)


def convert(module: Named, dtype: np.dtype | None, library: Backend | None) -> None:
    """Move all arrays to a library, and those of floats to a dtype, where these are given."""
    changes = []
    for holder in module.modules():
        if isinstance(holder, Unmade):
            holder.moves.append((dtype, library))
            continue
        for name, value in holder._held(*HELD):
            array = raw(value)
            if library is not None:
                array = backend.moved(array, library)
            if dtype is not None and array.dtype.kind == "f":
                array = array.astype(dtype)
            changes.append((holder, name, array))
    replace(changes)


def replace(changes: list[Change]) -> None:
    """Replace the arrays of parameters and buffers: all of them, or none if it is interrupted.

    The old arrays are left alone, since tapes may hold them.
    """
    before = [(module, name, raw(module._value(name))) for module, name, _ in changes]
    try:
        for change in changes:
            _replace(*change)
    except BaseException:
        for change in before:
            _replace(*change)
        raise


def _replace(module: Named, name: str, array: Array) -> None:
    held = module._value(name)
    if isinstance(held, Tensor):
        held._value = array
        held.node.dtype = array.dtype
    else:
        (vars(module)["_behind"] if name in module._behind else vars(module))[name] = array
