"""Frozen parameters: a leaf that wants no gradient stands for one that does.

Freezing points a parameter's tensor at another leaf. What a tape has recorded before keeps the
leaf that it recorded, so that a gradient is always of the uses that were not frozen, whatever
becomes of the parameter between the record and its sweep.
"""

from __future__ import annotations

from tracer.record.node import Node, new_node


class FrozenNode(Node):
    """The leaf of a frozen parameter; `origin` is the one that wants a gradient."""

    __slots__ = ("origin",)

    origin: Node


def frozen(leaf: Node) -> FrozenNode:
    """A leaf that stands for `leaf` while its parameter is frozen."""
    node = new_node(leaf.op, leaf, leaf.params, kind=FrozenNode)
    node.origin = leaf
    return node


def thawed(leaf: Node) -> Node:
    """The leaf that wants a gradient, of what `frozen` gave."""
    if leaf.__class__ is not FrozenNode:
        return new_node(leaf.op, leaf, leaf.params, wants=True)
    origin = leaf.origin  # type: ignore[attr-defined]
    origin.dtype = leaf.dtype  # it may have been converted meanwhile
    return origin


def origin_of(leaf: Node) -> Node:
    """The leaf that a parameter is known by, frozen or not."""
    return leaf.origin if leaf.__class__ is FrozenNode else leaf  # type: ignore[attr-defined]
