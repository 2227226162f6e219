"""How a program's arguments and results are nested, as PyTorch's pytrees write it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tracer_import.archive import Document
from tracer_import.program import Input, Meta, Tree

#: how deeply arguments are nested at most
DEEPEST = 30


class Specification(NamedTuple):
    """The trees of positional arguments, of keywords, and of results; None is a leaf."""

    arguments: tuple[Tree, ...]
    keywords: Mapping[str, Tree]
    results: Tree
    names: tuple[str, ...]

    def named(self, given: Sequence[Input], metas: Mapping[str, Meta]) -> tuple[Input, ...]:
        """The inputs with the names that a caller has for them."""
        names = [*self.names, *(f"argument {i}" for i in range(len(self.arguments)))]
        called = [
            *leaf_names(dict(zip(names, self.arguments, strict=False))),
            *leaf_names(self.keywords),
        ]
        if len(called) != len(given):
            raise ValueError(f"it takes {len(called)} inputs, and has values for {len(given)}")
        return tuple(
            replace(each, name=name, meta=metas.get(each.value))
            for each, name in zip(given, called, strict=True)
        )


def specification(inputs: Any, outputs: Any, names: Sequence[Any]) -> Specification:
    """What a program is called with and gives, from the JSON of both."""
    arguments, keywords = _tree(inputs[1], 0)
    results = _tree(outputs[1], 0)
    if not isinstance(arguments, tuple) or not isinstance(keywords, Mapping):
        raise ValueError("its inputs are no arguments and keywords")
    return Specification(arguments, keywords, results, tuple(map(str, names)))


def _tree(node: Document, depth: int) -> Tree:
    if depth > DEEPEST:
        raise ValueError("its inputs are nested too deeply")
    kind = node["type"]
    if kind is None:
        return None
    children = [_tree(child, depth + 1) for child in node["children_spec"]]
    keys = _keys(node.get("context"), len(children))
    if kind == "builtins.list":
        return children
    if kind == "builtins.tuple" or keys is None:
        return tuple(children)
    return dict(zip(keys, children, strict=True))


def _keys(context: Any, count: int) -> list[str] | None:
    """The keys of what is a mapping, or is like one; None of others."""
    try:
        keys = json.loads(context) if isinstance(context, str) else context
    except ValueError:
        return None
    for _ in range(2):  # an ordered or a typed dictionary has them one level deeper
        if isinstance(keys, list) and len(keys) == count and all(isinstance(k, str) for k in keys):
            return keys
        keys = next((each for each in keys if isinstance(each, list)), None) if keys else None
        if keys is None:
            return None
    return None


def leaves(tree: Tree) -> int:
    """How many leaves a tree has."""
    return sum(1 for _ in leaf_names({"": tree}))


def leaf_names(tree: Mapping[str, Tree]) -> Iterator[str]:
    """The dotted names of the leaves."""
    for name, below in tree.items():
        if below is None:
            yield name
        else:
            pairs = below.items() if isinstance(below, Mapping) else enumerate(below)
            yield from leaf_names({f"{name}.{key}": each for key, each in pairs})


def flattened(tree: Tree, value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Names and values of the leaves of `value`, which is nested as the tree is.

    Raises `TypeError`, with what was expected, where it is not.
    """
    if tree is None:
        yield name, value
    elif isinstance(tree, Mapping):
        items = {key: getattr(value, key) for key in tree} if not _is_mapping(value) else value
        if set(items) != set(tree):
            raise TypeError(f"{name} is a dictionary of {', '.join(tree)}, got {', '.join(items)}")
        for key, below in tree.items():
            yield from flattened(below, items[key], f"{name}.{key}")
    else:
        if not isinstance(value, tuple | list) or len(value) != len(tree):
            raise TypeError(f"{name} is a {type(tree).__name__} of {len(tree)}, got {value!r:.60}")
        for i, (below, each) in enumerate(zip(tree, value, strict=True)):
            yield from flattened(below, each, f"{name}.{i}")


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def nested(tree: Tree, values: Iterator[Any]) -> Any:
    """The values, nested as the tree is."""
    if tree is None:
        return next(values)
    if isinstance(tree, Mapping):
        return {key: nested(below, values) for key, below in tree.items()}
    made = [nested(below, values) for below in tree]
    return made if isinstance(tree, list) else tuple(made)
