"""Groups of parameters with options, and the states that an optimiser keeps for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array

#: what an optimiser takes: parameters, (name, parameter) pairs, or dicts with "params" and options
Given: TypeAlias = "Iterable[Tensor | tuple[str, Tensor] | Mapping[str, Any]]"
#: "params", and the options of these parameters
Group: TypeAlias = dict[str, Any]
#: what an optimiser keeps for a parameter: numbers, arrays, and lists of arrays
State: TypeAlias = dict[str, Any]


def groups_of(kind: str, params: Given) -> list[Group]:
    """The groups that an optimiser is given; plain parameters are one. `kind` is the optimiser."""
    if isinstance(params, Tensor | np.ndarray):
        raise TracerError(f"{kind} expects parameters in a list, got one tensor: give [parameter]")
    if hasattr(params, "parameters"):
        raise TracerError(
            f"{kind} expects parameters, got a {type(params).__name__}: give model.parameters()"
        )
    if not isinstance(params, Iterable):
        raise TracerError(f"{kind} expects parameters in a list, got a {type(params).__name__}")
    given = list(params)
    if not given:
        raise TracerError(
            f"{kind} got no parameters: give model.parameters(), which can be read once if it is "
            f"kept; layers in a list of a model are its own by nn.ModuleList(layers)"
        )
    groups = [dict(entry) for entry in given if isinstance(entry, Mapping)]
    if len(groups) == len(given):
        return groups
    return [{"params": given}]


def completed(kind: str, group: Group, defaults: Mapping[str, Any]) -> Group:
    """A group with its parameters in a list, their names if there are, and all options."""
    if "params" not in group:
        raise TracerError(f'a group of {kind} lacks its parameters: {{"params": [...], "lr": ...}}')
    unknown = group.keys() - defaults.keys() - {"params", "param_names"} - OF_SCHEDULES
    if unknown:
        raise TracerError(
            f"{kind} has no option {sorted(unknown)[0]!r}. Options: {', '.join(defaults)}"
        )
    params = group["params"]
    held = [params] if isinstance(params, Tensor) else list(params)
    names = [entry[0] for entry in held if isinstance(entry, tuple)]
    if names and len(names) != len(held):
        raise TracerError(f"{kind} expects all parameters with names, or none")
    held = [entry[1] if isinstance(entry, tuple) else entry for entry in held]
    for entry in held:
        _check_parameter(kind, entry)
    missing = [key for key, value in defaults.items() if value is REQUIRED and key not in group]
    if missing:
        raise TracerError(f"a group of {kind} lacks {missing[0]!r}, which has no default")
    named = {"param_names": names} if names else {}
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in {**defaults, **group}.items()
    }
    return {**options, "params": held, **named}


#: what schedules keep in groups
OF_SCHEDULES = {
    *("initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum"),
}
#: what PyTorch's groups have besides: how a step is computed, not what it is
OF_PYTORCH = {"foreach", "fused", "capturable", "differentiable"}


#: the default of an option that each group has to give
REQUIRED: Any = object()


def _check_parameter(kind: str, entry: object) -> None:
    if not isinstance(entry, Tensor):
        raise TracerError(
            f"{kind} expects parameters, tensors of tracer.parameter, got a {type(entry).__name__}"
        )
    if not entry.is_parameter:
        raise TracerError(
            f"{kind} expects parameters, got {entry!r}, which is none: tracer.parameter(array) "
            f"makes one"
        )


def options(group: Group) -> SimpleNamespace:
    """The options of a group; numbers of NumPy's become Python's, which decide no dtype."""
    return SimpleNamespace(
        **{key: _plain(value) for key, value in group.items() if key != "params"}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    of_numpy = isinstance(value, np.generic) or (type(value) is np.ndarray and not value.ndim)
    return value.item() if of_numpy else value


class States(MutableMapping[Tensor, State]):
    """Parameter -> what an optimiser keeps for it; an empty state before the first step."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[Tensor, State]] = {}

    def __getitem__(self, parameter: Tensor) -> State:
        held = self._held.get(id(parameter))
        if held is None:
            held = self._held[id(parameter)] = parameter, {}
        return held[1]

    def __setitem__(self, parameter: Tensor, state: State) -> None:
        self._held[id(parameter)] = parameter, state

    def __delitem__(self, parameter: Tensor) -> None:
        del self._held[id(parameter)]

    def __contains__(self, parameter: object) -> bool:
        return id(parameter) in self._held

    def __iter__(self) -> Iterator[Tensor]:
        return (parameter for parameter, _ in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def __reduce__(self) -> tuple[Any, ...]:
        return _states, (list(self._held.values()),)


def _states(pairs: list[tuple[Tensor, State]]) -> States:
    states = States()
    for parameter, state in pairs:
        states[parameter] = state
    return states


def arrays_of(state: State) -> dict[str, Array]:
    """The arrays of a state, by name."""
    return {key: value for key, value in state.items() if hasattr(value, "shape")}
