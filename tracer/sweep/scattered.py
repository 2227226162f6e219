"""Cotangents that are yet to be put where a value was taken from.

A maximum over windows takes some elements of its input, and what comes back is zero elsewhere.
What its input was made by can often do its part with what comes back before that is put in place:
a ReLU masks as many elements as there are windows, and padding leaves room for none of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tracer.arrays.types import Array, Shape, Stack
from tracer.record.node import Node

#: for each axis, how many elements there are before and after
Width = Sequence[tuple[int, int]]


class Placement(Protocol):
    """Where values were taken from, which `picked` has the shape of."""

    def put(self, values: Stack) -> Stack:
        """`[V, *picked.shape]` where they were taken from, in a stack that is zero elsewhere."""

    def within(self, width: Width) -> Placement | None:
        """The same in what is left without so many elements at the ends; None if it is no such."""


class Scattered:
    """An entry of a vjp: values to be put where some elements of an input were taken from.

    They are `values [V, *picked.shape]`, and `picked` these elements, None where they are not
    known. Operations of one input that was not constant may take that as it is: elementwise ones
    that are linear in pieces and whose rule reads nothing but the output, which at those places is
    `picked`, and those with a rule `through`.
    """

    __slots__ = ("picked", "placement", "values")

    #: that of no stack, as which a sweep does not take it
    shape: Shape = ()

    def __init__(self, values: Stack, picked: Array | None, placement: Placement):
        self.values = values
        self.picked = picked
        self.placement = placement

    def dense(self) -> Stack:
        """The stack `[V, *shape]`."""
        return self.placement.put(self.values)

    def within(self, width: Width) -> Scattered | None:
        """The cotangent of what was padded by `width`; None where it is to be made first."""
        placement = self.placement.within(width)
        return None if placement is None else Scattered(self.values, self.picked, placement)

    def shifted(self) -> Scattered:
        """The cotangent of what something was added to, which is not known where it was taken."""
        return Scattered(self.values, None, self.placement)


class Picked:
    """An elementwise operation, at those elements of its output that were picked."""

    __slots__ = ("node", "output", "shape")

    def __init__(self, node: Node, picked: Array):
        self.node, self.output, self.shape = node, picked, picked.shape

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def only_parent(node: Node) -> Node | None:
    """The input of an operation whose other inputs are constants; None if there are several."""
    parents = [parent for parent in node.parents if parent is not None]
    return parents[0] if len(parents) == 1 else None


def has_slopes_of_output(node: Node) -> bool:
    """Whether the rule of an operation on single elements reads those of the output alone."""
    op = node.op
    return op.elementwise and op.saves_output and not op.saves_inputs and len(node.parents) == 1


def takes_scattered(node: Node, entry: Scattered) -> bool:
    """Whether an operation may take a cotangent of its output that is yet to be put in place.

    Slopes other than those of what is linear in pieces may be NaN where nothing was taken from, and
    zero times that is what is there otherwise.
    """
    if node.op.through is not None:
        return only_parent(node) is not None
    return entry.picked is not None and node.op.piecewise_linear and has_slopes_of_output(node)
