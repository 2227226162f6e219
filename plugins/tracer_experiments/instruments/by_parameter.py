"""Values by parameter, which several threads may make."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Generic, TypeVar

from tracer.extend import Array, in_parallel

Value = TypeVar("Value")

#: elements of all parameters together from which on a second thread pays
ENOUGH = 1 << 16


class ByParameter(Mapping[str, Value], Generic[Value]):
    """A value for each name, made when it is first asked for."""

    def __init__(self, names: Collection[str], make: Callable[[str], Value]):
        self._names, self._make = names, make
        self._made: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def make_ahead(tables: Collection[ByParameter[object]], parameters: Mapping[str, Array]) -> None:
    """Make what tables have of each of the parameters' arrays, a parameter on one thread each.

    What raises is left to whoever asks for it.
    """
    if sum(array.size for array in parameters.values()) < ENOUGH:
        return
    names = sorted(parameters, key=lambda name: parameters[name].size, reverse=True)

    def make(name: str) -> None:
        for table in tables:
            if name in table:
                with contextlib.suppress(Exception):
                    table[name]

    in_parallel(make, names, parameters[names[0]])
