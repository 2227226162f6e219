"""Which parameters a sweep is restricted to: names, tensors and modules as leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracer.curvature.values import FROZEN
from tracer.errors import QuantityError, suggestion
from tracer.record.describe import describe
from tracer.record.freezing import origin_of
from tracer.record.names import Names
from tracer.record.node import Node
from tracer.record.tensor import Tensor

WANTED = "parameters is a name, a parameter, a module, or a collection of those"


def chosen(parameters: object, names: Names) -> Names:
    """The named leaves among `names`, in their order. Raises `QuantityError` for what is none."""
    found: set[Node] = set()
    for each in [parameters] if _is_one(parameters) else _items(parameters):
        found |= _leaves(each, names)
    if not found:
        raise QuantityError(f"{WANTED}, got none: leave it out for all")
    some = Names({leaf: name for leaf, name in names.items() if leaf in found})
    some.frozen = names.frozen
    return some


def _is_one(value: object) -> bool:
    return isinstance(value, str | Tensor) or callable(getattr(value, "parameters", None))


def _items(value: Any) -> list[Any]:
    if not isinstance(value, Iterable):
        raise QuantityError(f"{WANTED}, got {describe(value)}")
    return list(value)


def _leaves(each: Any, names: Names) -> set[Node]:
    """The leaves that one name, tensor or module stands for."""
    if isinstance(each, str):
        of_name = {leaf for leaf, name in names.items() if name == each}
        if not of_name and each in names.frozen.values():
            raise QuantityError(f"parameters names {each!r}, which {FROZEN}")
        if not of_name:
            known = names.values()
            raise QuantityError(
                f"no parameter is called {each!r}.{suggestion(each, known)} "
                f"Parameters: {', '.join(known) or 'none'}"
            )
        return of_name
    if isinstance(each, Tensor):
        leaf = None if each.node is None else origin_of(each.node)
        if leaf is not None and leaf in names.frozen:
            raise QuantityError(f"parameters names {names.frozen[leaf]!r}, which {FROZEN}")
        if leaf is None or leaf not in names:
            raise QuantityError(
                f"parameters names {describe(each)}, which is no parameter of this trace that "
                f"wants a gradient. Parameters: {', '.join(names.values()) or 'none'}"
            )
        return {leaf}
    if not callable(getattr(each, "parameters", None)):
        raise QuantityError(f"{WANTED}, got {describe(each)} in it")
    of_module = {origin_of(p.node) for p in each.parameters()} & names.keys()
    if not of_module and any(origin_of(p.node) in names.frozen for p in each.parameters()):
        raise QuantityError(
            f"parameters names a {type(each).__name__}, each of whose parameters {FROZEN}"
        )
    if not of_module:
        raise QuantityError(
            f"parameters names a {type(each).__name__} that has no parameter in this trace that "
            f"wants a gradient. Parameters: {', '.join(names.values()) or 'none'}"
        )
    return of_module
