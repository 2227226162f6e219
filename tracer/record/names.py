"""Names of parameters on a tape.

A parameter's name is its path in the model that owns it. Where two models have a name in common,
their classes come before it; where parameters of nobody have, numbers come behind it. All numbers
follow the order in which models and parameters were made, so that names do not depend on the order
of calls.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracer.errors import TracingError
from tracer.record.composite import condensed
from tracer.record.freezing import origin_of
from tracer.record.leaf_kinds import PARAMETER, VARIABLE
from tracer.record.node import Node
from tracer.record.recorder import Recorder
from tracer.record.tensor import Tensor

#: the numbers of models, which they keep as their attribute `_serial_number`
numbers = itertools.count()


class Part:
    """A module that was called by itself, of a model that names its parameters.

    It stands among a tape's roots, and keeps the model.
    """

    __slots__ = ("model", "module")

    def __init__(self, model: Any, module: Any):
        self.model, self.module = model, module

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """The module's parameters by their names in the model."""
        return self.model.named_parameters_of(self.module)


class Uses(dict[Node, Node]):
    """The parameters that a record uses, and the first operation on each.

    `frozen` are those that it uses as constants.
    """

    frozen: dict[Node, None]


class Names(dict[Node, str]):
    """The names of the parameters that have results, by leaf; `frozen` are those of the others."""

    frozen: dict[Node, str]

    def of(self, leaf: Node) -> str | None:
        """The name of a parameter, frozen or not."""
        leaf = origin_of(leaf)
        return self.get(leaf) or self.frozen.get(leaf)


def first_uses(nodes: Iterable[Node]) -> Uses:
    """The parameters that a record uses, in the order of it, and the first operation on each.

    The variables of a function of functions around the tape are none.
    """
    first: Uses = Uses()
    frozen: dict[Node, None] = {}
    for node in nodes:
        for leaf in node.parents:
            if leaf is None or leaf.parents or leaf in first:
                continue
            if leaf.wants:
                if leaf.op is not VARIABLE:
                    first[leaf] = node
            elif leaf.op is PARAMETER:
                frozen[origin_of(leaf)] = None
    first.frozen = frozen
    return first


def parameter_names(tape: Recorder, uses: Uses, last: Node | None = None) -> Names:
    """The name of every parameter: those of the tape's models, then others that are used.

    `uses` are those of the tape's record, or of it up to the node `last`. What the record uses as a
    constant alone, or what is frozen and not used, has no results.
    """
    holders = tape.roots
    if len(holders) > 1:  # the loss may be a module, too
        holders = [root for root in holders if next(iter(root.named_parameters()), None)]
    if len(holders) == 1:
        names = _of_one(holders[0], uses)
        if names is not None:
            return names
    names = Names()
    names.frozen = {}
    for leaf, name, wants in _named(tape, uses, last):
        has_results = leaf in uses or (wants and leaf not in uses.frozen)
        (names if has_results else names.frozen)[leaf] = name
    return names


def _of_one(root: Any, uses: Uses) -> Names | None:
    """The same where one model holds all that is used; None elsewhere."""
    names, frozen = Names(), {}
    for name, tensor in root.named_parameters():
        leaf = node = tensor.node
        if node.__class__ is not Node:
            leaf = origin_of(node)
        if leaf in uses or (node.wants and leaf not in uses.frozen):
            names[leaf] = name
        else:
            frozen[leaf] = name
    names.frozen = frozen
    complete = uses.keys() <= names.keys() and uses.frozen.keys() <= frozen.keys()
    distinct = len({*names.values(), *frozen.values()}) == len(names) + len(frozen)
    return names if complete and distinct else None


def _named(tape: Recorder, uses: Uses, last: Node | None) -> list[tuple[Node, str, bool]]:
    """Leaf, name and whether it wants a gradient now."""
    owned = _owned(tape.roots)
    free = [leaf for leaf in (*uses, *uses.frozen) if leaf not in owned]
    if free and last is not None and tape.nodes[: tape.stop][-1] is not last:
        every = first_uses(condensed(tape))  # names are the same for each loss of the tape
        free = [leaf for leaf in (*every, *every.frozen) if leaf not in owned]
    for leaf in free:
        owned[leaf] = _owner(leaf, tape.roots)
    owned = dict(sorted(owned.items(), key=lambda item: _number(item[1][0])))  # others come last
    told_apart = _told_apart(owned)
    unused = set(free) - uses.keys() - uses.frozen.keys()
    return [(leaf, told_apart[leaf], owned[leaf][2]) for leaf in owned if leaf not in unused]


# -- whose they are ------------------------------------------------------------------------------

#: model (or None), name in it (or None), whether it wants a gradient now
Owned = tuple[Any, str | None, bool]


def _owned(roots: Sequence[Any]) -> dict[Node, Owned]:
    """The parameters of these models; one of several models is of the largest of them."""
    held = [(_model(root), list(root.named_parameters())) for root in roots]
    sizes: Counter[int] = Counter()
    for model, pairs in held:
        sizes[id(model)] = max(sizes[id(model)], len(pairs))
    owned: dict[Node, Owned] = {}
    for model, pairs in sorted(held, key=lambda each: (-sizes[id(each[0])], _number(each[0]))):
        for name, tensor in pairs:
            owned.setdefault(origin_of(tensor.node), (model, name, tensor.node.wants))
    return owned


def _owner(leaf: Node, roots: Sequence[Any]) -> Owned:
    """The model that holds a parameter though it was not called, or not as its own, if any."""
    owners = [reference() for reference in leaf.params.get("owners", ())]
    models = (root for root in map(_model, roots) if hasattr(root, "parameter_owner"))
    for module in (*owners, *models):  # a root may know its named parameters alone
        found = None if module is None else module.parameter_owner(leaf)
        if found is not None:
            return (*found, leaf.wants)
    return None, leaf.params.get("name"), leaf.wants


def _model(root: Any) -> Any:
    return root.model if isinstance(root, Part) else root


def _number(root: Any) -> float:
    return math.inf if root is None else getattr(root, "_serial_number", -1)


# -- what they are called ------------------------------------------------------------------------


def _told_apart(owned: Mapping[Node, Owned]) -> dict[Node, str]:
    """Names of which no two are the same."""
    names = _of_models({leaf: owner for leaf, owner in owned.items() if owner[0] is not None})
    others = [leaf for leaf, owner in owned.items() if owner[0] is None]
    names.update(_of_nobody(others, set(names.values())))
    return names


def _of_models(owned: Mapping[Node, Owned]) -> dict[Node, str]:
    """Names in models, behind the models' prefixes where some have one in common."""
    roots = {id(root): root for root, _, _ in owned.values()}
    prefixed: dict[int, str] = {}
    while True:
        names: dict[Node, str] = {}
        holders: dict[str, list[tuple[Node, int]]] = {}
        for leaf, (root, own, _) in owned.items():
            prefix = prefixed.get(id(root))
            name = names[leaf] = f"{prefix}.{own}" if prefix else str(own)
            holders.setdefault(name, []).append((leaf, id(root)))
        several = [{key for _, key in held} for held in holders.values()]
        clashing = set().union(*(keys for keys in several if len(keys) > 1)) - prefixed.keys()
        if not clashing:
            break
        chosen = clashing | prefixed.keys()
        prefixed = _prefixes({key: root for key, root in roots.items() if key in chosen})
    for name, held in holders.items():
        if len(held) > 1:
            _refuse_twins(name, [leaf for leaf, _ in held])
    return names


def _prefixes(roots: Mapping[int, Any]) -> dict[int, str]:
    """The class of each model, with a number where there are several of it."""
    kinds = {key: _snake(type(root).__name__) for key, root in roots.items()}
    counts = Counter(kinds.values())
    taken = set(kinds.values())
    free = {kind: _unlike(taken, kind) for kind in counts}
    return {
        key: kinds[key] if counts[kinds[key]] == 1 else next(free[kinds[key]])
        for key in sorted(roots, key=lambda key: _number(roots[key]))
    }


def _snake(name: str) -> str:
    """`MyNet` as `my_net`, `MLP` as `mlp`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower().strip("_") or "module"


def _of_nobody(leaves: Sequence[Node], taken: set[str]) -> dict[Node, str]:
    """Names of parameters outside of models: their own, with numbers where there are several."""
    own = {leaf: leaf.params.get("name") for leaf in leaves}
    counts = Counter([*own.values(), *taken])
    used = taken | {name for name in own.values() if name}
    free = {name: _unlike(used, name or "parameter") for name in own.values()}
    ordered = sorted(leaves, key=lambda leaf: leaf.params.get("number", math.inf))
    names = {}
    for leaf in ordered:
        name = own[leaf]
        names[leaf] = name if name and counts[name] == 1 else next(free[name])
    return names


def _unlike(taken: set[str], name: str) -> Iterator[str]:
    """`name_0`, `name_1`, ... but for what is `taken`, which they are added to."""
    for i in itertools.count():
        numbered = f"{name}_{i}"
        if numbered not in taken:
            taken.add(numbered)
            yield numbered


def _refuse_twins(name: str, leaves: Sequence[Node]) -> None:
    """Raise `TracingError` for two parameters that one model calls the same."""
    first, second, *_ = leaves
    raise TracingError(
        f"two parameters of shapes {list(first.shape)} and {list(second.shape)} are both called "
        f"{name!r} by their model's named_parameters(): give them different names"
    )
