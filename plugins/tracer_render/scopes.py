"""Where in a model a node is: its module path, the classes along it, and where it is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

#: of a node, an edge or a loop, to be read: docs/reference/graph.md lists them
Attributes: TypeAlias = Mapping[str, Any]


def attribute_names(nodes: Iterable[Attributes]) -> set[str]:
    """The attributes that any of these nodes has; most have the same."""
    return set().union(*{tuple(data) for data in nodes})


def scope_path(data: Attributes) -> tuple[str, ...]:
    """The module path of a node, as components; empty at the top level."""
    scope = data.get("scope") or ""
    return tuple(scope.split(".")) if scope else ()


def class_names(data: Attributes) -> tuple[str, ...]:
    """One class name per component of the module path; the component itself where unknown."""
    path = scope_path(data)
    names = tuple(data.get("scopes") or ())
    return names[len(names) - len(path) :] if len(names) >= len(path) else path


def frame_path(data: Attributes) -> tuple[str, ...]:
    """The module in whose frame a node is drawn; a collapsed module stands in its parent's."""
    path = scope_path(data)
    return path[:-1] if "members" in data else path


def computed(data: Attributes) -> bool:
    """Whether operations made this node, or are merged in it; a leaf is made by none."""
    return bool(data.get("op")) or "members" in data or "elided" in data
