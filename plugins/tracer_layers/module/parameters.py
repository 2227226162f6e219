"""Parameters by PyTorch's name, and modules that hold them in lists and dictionaries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Convertible, backend
from tracer_layers.module.module import Module
from tracer_layers.module.state import Buffer, is_parameter

__all__ = ["Buffer", "Parameter", "ParameterDict", "ParameterList"]


class _ParameterType(type):
    """Parameters are tensors: `isinstance(p, Parameter)` asks what made them."""

    def __call__(cls, data: Convertible | None = None, requires_grad: bool = True) -> Tensor:
        made = tracer.parameter(np.empty(0, np.float32) if data is None else data)
        return made if requires_grad else made.requires_grad_(False)

    def __instancecheck__(cls, instance: object) -> bool:
        return is_parameter(instance)


class Parameter(metaclass=_ParameterType):
    """`tracer.parameter(data)`, a tensor, frozen if `requires_grad` is False; of nothing, empty.

    `isinstance(p, Parameter)` is true of all parameters.
    """

    def __init__(self, data: Convertible | None = None, requires_grad: bool = True): ...


#: what a dictionary gives where there is no parameter
Default = TypeVar("Default")


def held(value: object) -> Tensor:
    """A parameter as it is, and one of an array."""
    if is_parameter(value):
        return value
    if isinstance(value, Tensor) or backend.is_array(value):
        return tracer.parameter(value)
    raise TracerError(f"a parameter or an array is expected, got a {type(value).__name__}")


class ParameterList(Module):
    """Parameters in a list, `"0"`, `"1"`, ...; arrays become parameters."""

    def __init__(self, values: Iterable[Convertible] | None = None):
        self.extend(() if values is None else values)

    def append(self, value: Convertible) -> ParameterList:
        """Add a parameter at the end."""
        self.register_parameter(str(len(self)), held(value))
        return self

    def extend(self, values: Iterable[Convertible]) -> ParameterList:
        """Add parameters at the end."""
        for value in values:
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Convertible]) -> ParameterList:
        return self.extend(values)

    def __len__(self) -> int:
        return len(self._registered)

    def __iter__(self) -> Iterator[Tensor]:
        return iter([getattr(self, name) for name in self._registered])

    def __getitem__(self, index: int | slice) -> Any:
        chosen = list(self)[index]
        return type(self)(chosen) if isinstance(index, slice) else chosen

    def __setitem__(self, index: int, value: Convertible) -> None:
        setattr(self, list(self._registered)[index], held(value))

    def extra_repr(self) -> str:
        return ", ".join(f"{p.dtype}{list(p.shape)}" for p in self)


class ParameterDict(Module):
    """Parameters by name; arrays become parameters."""

    def __init__(
        self,
        parameters: Mapping[str, Convertible] | Iterable[tuple[str, Convertible]] | None = None,
    ):
        self.update({} if parameters is None else parameters)

    def update(
        self,
        parameters: Mapping[str, Convertible] | Iterable[tuple[str, Convertible]] | ParameterDict,
    ) -> None:
        """Add parameters, in place of those of the same names.

        As in PyTorch, those of a plain dict are added in the order of their names.
        """
        given = parameters.items() if isinstance(parameters, ParameterDict) else parameters
        pairs = dict(given)
        sort = isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict)
        for name in sorted(pairs) if sort else pairs:
            self[name] = pairs[name]

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._registered:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Convertible) -> None:
        self.register_parameter(key, held(value))

    def __delitem__(self, key: str) -> None:
        if key not in self._registered:
            raise KeyError(key)
        delattr(self, key)

    def get(self, key: str, default: Default | None = None) -> Tensor | Default | None:
        """The parameter of a name, or `default`."""
        return dict(self.items()).get(key, default)

    def setdefault(self, key: str, default: Convertible) -> Tensor:
        """The parameter of a name, which is made of `default` if it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Tensor:
        """The parameter of a name, which is there no more."""
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[str, Tensor]:
        """Name and parameter of the last one, which is there no more."""
        if not self._registered:
            raise KeyError("the dictionary is empty")
        key = list(self._registered)[-1]
        return key, self.pop(key)

    def copy(self) -> ParameterDict:
        """Another dictionary of the same parameters, in the same order."""
        return type(self)(OrderedDict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Convertible) -> ParameterDict:
        """A dictionary of these names; arrays become a parameter for each."""
        return type(self)([(key, default) for key in keys])

    def __or__(self, other: Mapping[str, Convertible] | ParameterDict) -> ParameterDict:
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Mapping[str, Convertible]) -> ParameterDict:
        joined = type(self)(other)
        joined.update(self)
        return joined

    def __ior__(self, other: Mapping[str, Convertible] | ParameterDict) -> ParameterDict:
        self.update(other)
        return self

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._registered))

    def clear(self) -> None:
        """Take all out."""
        for key in list(self._registered):
            del self[key]

    def __len__(self) -> int:
        return len(self._registered)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._registered))

    def __contains__(self, key: object) -> bool:
        return key in self._registered

    def keys(self) -> Iterable[str]:
        """The names."""
        return list(self._registered)

    def values(self) -> Iterable[Tensor]:
        """The parameters."""
        return [self[key] for key in self]

    def items(self) -> Iterable[tuple[str, Tensor]]:
        """Names and parameters."""
        return [(key, self[key]) for key in self]

    def extra_repr(self) -> str:
        return ", ".join(f"{key}: {p.dtype}{list(p.shape)}" for key, p in self.items())
