"""What has arrived at nodes that a sweep is yet to come to: stacks, and entries that wait."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tracer.arrays.types import Stack
from tracer.record.node import Node
from tracer.record.tensor import Tensor
from tracer.sweep.placed import Placed
from tracer.sweep.rules import fit
from tracer.sweep.scattered import Scattered, takes_scattered

#: what has arrived, by node: arrays, or tensors where a sweep is recorded; see `Arrived` for lists
Stacks: TypeAlias = dict[Node, Any]


class Arrived:
    """The stacks of cotangents by node, and what is still to be made part of one.

    In place of a stack there is a list where it waits to be made: of one `Scattered`, or of the
    `Placed` entries of a composite. `lets_wait` says that nobody looks at what arrives, so that
    entries may come as they are to what takes them so.
    """

    __slots__ = ("lets_wait", "placed", "stacks", "summed")

    def __init__(self, stacks: Stacks, lets_wait: bool):
        self.stacks = stacks
        self.lets_wait = lets_wait
        #: nodes whose stacks are sums made here, to which more is added in place
        self.summed: set[Node] = set()
        #: entries that wait to be put together, while the sweep is recorded
        self.placed: dict[Node, list[Placed]] = {}

    def add(self, node: Node, entry: Any) -> None:
        """Add an entry of a vjp to what has arrived at a node."""
        stacks, summed = self.stacks, self.summed
        if entry.__class__ is Placed:
            if node.op.composite:
                stacks.setdefault(node, []).append(entry)
            elif type(entry.values) is Tensor or type(stacks.get(node)) is Tensor:
                self.placed.setdefault(node, []).append(entry)
            else:
                self._place(node, entry)
            return
        if entry.shape[1:] != node.shape:
            entry = fit(entry, node.shape)
        before = stacks.get(node)
        if before is None:
            stacks[node] = entry
        elif node in summed and before.dtype == entry.dtype and type(entry) is not Tensor:
            before += entry
        else:
            total = stacks[node] = whole(before) + entry
            if type(total) is Tensor:
                summed.discard(node)
            else:
                summed.add(node)

    def wait(self, node: Node, entry: Scattered) -> bool:
        """Let an entry wait as it is, where all that comes to the node may take it so."""
        if not self.lets_wait or node in self.stacks or not takes_scattered(node, entry):
            return False
        self.stacks[node] = [entry]
        return True

    def put_together(self, node: Node) -> None:
        """Add the entries that wait for a node to what has arrived there."""
        entries = self.placed.pop(node)
        values, indices = zip(*((entry.values, entry.index) for entry in entries), strict=True)
        self.add(node, entries[0].embed(*values, indices=indices, shape=entries[0].shape))

    def _place(self, node: Node, entry: Placed) -> None:
        """Add what is zero but at an index, in place."""
        stack, values = self.stacks.get(node), entry.values
        if stack is None:
            shape = (len(values), *node.shape)
            plain = type(values) is np.ndarray  # whose own function takes a third of the time
            stack = np.zeros(shape, values.dtype) if plain else np.zeros_like(values, shape=shape)
            if node.op.marks_unreached:
                stack = -stack
        elif node not in self.summed or stack.dtype != values.dtype:
            stack = whole(stack) + np.zeros_like(values, shape=())
        self.stacks[node] = stack
        self.summed.add(node)
        stack[(slice(None), *entry.index)] += values


def whole(stack: Stack | list[Scattered]) -> Stack:
    """A stack, made if it is one that waits to be put where something was taken from."""
    return stack[0].dense() if isinstance(stack, list) else stack
