"""Modules that hold modules: in a row, in a list, in a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.state import described

__all__ = ["ModuleDict", "ModuleList", "Parallel", "Sequential"]


class _Listed:
    """What `Sequential` and `ModuleList` share: modules registered under their positions."""

    def append(self, module):
        """Add a module at the end."""
        return self.extend([module])

    def extend(self, modules):
        """Add modules at the end."""
        for module in modules:
            self.add_module(str(len(self)), module)
        return self

    def insert(self, index, module):
        """Add a module before a position; those behind it move up."""
        modules = [*self]
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def _children(self):
        return self._once("children", lambda: [child for _, child in self._held("module")])

    def _renumber(self, modules):
        for name in list(self._registered):
            delattr(self, name)
        self.extend(modules)

    def __len__(self):
        return len(self._registered)

    def __iter__(self):
        return iter(self._children())

    def __setitem__(self, index, module):
        setattr(self, list(self._registered)[index], module)

    def __delitem__(self, index):
        modules = [*self]
        del modules[index]
        self._renumber(modules)

    def pop(self, key):
        """Take out the module at a position, or those of a slice, and give what was there."""
        found = self[key]
        del self[key]
        return found

    def __iadd__(self, modules):
        return self._with(modules)

    def _with(self, *others):
        """Itself, with the modules of others behind its own."""
        for modules in others:
            if not isinstance(modules, Iterable):
                raise TracerError(
                    f"{type(self).__name__} + x expects x to hold modules, got {described(modules)}"
                )
            self.extend([*modules])
        return self


class Sequential(_Listed, Module):
    """Calls its modules one after the other; takes modules, or one mapping of names to modules."""

    def __init__(self, *modules: Any):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        for child in self._children():
            input = child(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._held("module"))[index]))
        return self._children()[index]

    def __add__(self, modules: Iterable[Module]) -> Sequential:
        return Sequential()._with(self, modules)

    def __mul__(self, times: int) -> Sequential:
        """Its modules several times over; they are the same ones, with the same parameters."""
        return Sequential()._with(*[self] * self._times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self._with(*[[*self]] * (self._times(times) - 1))

    def _times(self, times: int) -> int:
        at_least(f"{type(self).__name__} * times", 1, times=times)
        return times


class ModuleList(_Listed, Module):
    """A list of modules, registered under their positions."""

    def __init__(self, modules: Iterable[Module] | None = None):
        self.extend(modules or ())

    def forward(self, *inputs: Any) -> Any:
        raise TracerError("a ModuleList is not called: call its modules, or use a Sequential")

    def __add__(self, modules: Iterable[Module]) -> ModuleList:
        return ModuleList()._with(self, modules)

    def __getitem__(self, index: int | slice) -> Any:
        found = self._children()[index]
        return type(self)(found) if isinstance(index, slice) else found


class Parallel(_Listed, Module):
    """Calls all its branches on the same inputs and joins what they give.

    `reduce` is "sum", or "concatenate" along `axis`. A residual block is
    `Parallel(Identity(), block)`.
    """

    def __init__(self, *branches: Any, reduce: str = "sum", axis: int = 1):
        if reduce not in ("sum", "concatenate"):
            raise TracerError(f'Parallel expects reduce as "sum" or "concatenate", got {reduce!r}')
        if not branches:
            raise TracerError("Parallel expects at least one branch: Parallel(Identity(), block)")
        self.reduce = reduce
        self.axis = axis
        self.extend(branches)

    def forward(self, *inputs: Any) -> Any:
        given = [branch(*inputs) for branch in self._children()]
        outputs = [floats(output, *given) for output in given]
        if self.reduce == "concatenate":
            return np.concatenate(outputs, axis=self.axis)
        total, *rest = outputs
        for output in rest:
            if output.shape != total.shape:
                raise ShapeError(
                    f"Parallel sums outputs of one shape, got {list(total.shape)} and "
                    f"{list(output.shape)}: make the branches agree, or concatenate"
                )
            total = total + output
        return total

    def extra_repr(self) -> str:
        return "reduce='sum'" if self.reduce == "sum" else f"reduce='concatenate', axis={self.axis}"


class ModuleDict(Module):
    """A dictionary of modules, registered under their keys."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        for name, module in dict(modules).items():
            self[name] = module

    def pop(self, key: str) -> Module:
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        for name in list(self._registered):
            delattr(self, name)

    def keys(self) -> Iterable[str]:
        return self._registered.keys()

    def values(self) -> Iterable[Module]:
        return [child for _, child in self._held("module")]

    def items(self) -> Iterable[tuple[str, Module]]:
        return list(self._held("module"))

    def __getitem__(self, key: str) -> Module:
        if key not in self._registered:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._registered)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registered)

    def __contains__(self, key: object) -> bool:
        return key in self._registered

    def forward(self, *inputs: Any) -> Any:
        raise TracerError("a ModuleDict is not called: call its modules")
