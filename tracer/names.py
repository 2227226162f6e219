"""Names of parameters on a tape, and values by them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from tracer.errors import TracingError, suggestion
from tracer.operation import VARIABLE
from tracer.tape import Node, Tape
from tracer.tensor import Tensor


class Values(dict[str, Any]):
    """Values by parameter name; a parameter tensor is accepted as a key too."""

    def __init__(self, names: Mapping[Node, str]):
        self._names = names

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Tensor):
            key = self._names.get(key.node, key)  # type: ignore[arg-type]
        return super().__getitem__(key)

    def __missing__(self, key: Any) -> Any:
        known = ", ".join(self) or "none"
        hint = suggestion(key, self) if isinstance(key, str) else ""
        raise KeyError(f"no parameter is called {key!r}.{hint} Parameters: {known}")


def first_uses(nodes: Iterable[Node]) -> dict[Node, Node]:
    """The parameters that a record uses, in the order of it, and the first operation on each.

    The variables of a function of functions around the tape are none.
    """
    first: dict[Node, Node] = {}
    for node in nodes:
        for leaf in node.parents:
            if leaf is None or leaf.parents or not leaf.wants or leaf in first:
                continue
            if leaf.op is not VARIABLE:
                first[leaf] = node
    return first


def parameter_names(tape: Tape, used: Mapping[Node, Any]) -> dict[Node, str]:
    """The name of every parameter: those of the tape's models, then others that are `used`."""
    names: dict[Node, str] = {}
    for root in tape.roots:
        for name, tensor in root.named_parameters():
            if tensor.node is not None and tensor.node.wants:
                names.setdefault(tensor.node, name)
    if not used.keys() <= names.keys():
        given = {leaf.params.get("name") for leaf in used} | {*names.values()}
        free = (name for i in itertools.count() if (name := f"parameter_{i}") not in given)
        for leaf in used:
            if leaf not in names:
                names[leaf] = leaf.params.get("name") or next(free)
    if len(set(names.values())) < len(names):
        _refuse_twins(names)
    return names


def _refuse_twins(names: Mapping[Node, str]) -> None:
    """Raise `TracingError` for the first two parameters of one name."""
    taken: dict[str, Node] = {}
    for node, name in names.items():
        if name in taken:
            raise TracingError(
                f"two parameters of shapes {list(taken[name].shape)} and {list(node.shape)} are "
                f"both called {name!r}: give other names, or put the models into one Module"
            )
        taken[name] = node
