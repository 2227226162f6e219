"""Tangents forward through a record, the other way of the same rules."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from tracer.arrays.types import Stack
from tracer.record import complex_numbers
from tracer.record.composite import recorded
from tracer.record.leaf_kinds import VARIABLE
from tracer.record.node import Node
from tracer.record.recorder import Recorder, open_tape, rerecording, using
from tracer.record.tensor import Tensor, new_leaf
from tracer.sweep.rules import Recorded, View, attribute, cotangents_of, entry_value, fit
from tracer.sweep.sweep import Sweep


def push(nodes: Sequence[Node], stacks: dict[Node | None, Stack], recorded: bool) -> None:
    """Stacks of tangents forward through a record: `stacks` gets one for every node reached."""
    for node in nodes:
        if not any(p in stacks for p in node.parents):
            continue
        view = Recorded(node) if recorded else node
        tangents = [stacks.get(p) for p in node.parents]
        if node.op.jvp is not None:
            stacks[node] = node.op.jvp(view, tangents)
            if node.dtype.kind == "c" and stacks[node].dtype.kind != "c":
                stacks[node] = stacks[node].astype(node.dtype)  # of a real input's alone
        else:
            stacks[node] = transposed(view, node, tangents)


def transposed(view: View, node: Node, tangents: Sequence[Stack | None]) -> Stack:
    """A tangent of the output, from the rule for cotangents: the vjp, being linear, transposed.

    The rule is recorded at a zero cotangent of one row, and swept for the rows of tangents.
    """
    outer = open_tape() if isinstance(view, Recorded) else None
    rows = len(next(t for t in tangents if t is not None))
    with using(outer), rerecording() if outer is None else Recorder() as tape:
        like = next(t for t in tangents if t is not None)
        like = like._value if isinstance(like, Tensor) else like
        if node.dtype.kind == "c":
            complex_numbers.note(VARIABLE, node.dtype)
        zero = np.zeros_like(like, shape=(1, *node.shape), dtype=node.dtype)
        variable = Tensor(zero, new_leaf(VARIABLE, zero, {"name": None}, wants=True))
        entries = cotangents_of(view, node, variable)
        seeds: dict[Node, Stack] = {}
        for parent, entry, tangent in zip(node.parents, entries, tangents, strict=True):
            if tangent is None or parent is None:
                continue
            entry = entry_value(entry)
            if not isinstance(entry, Tensor):
                continue
            entry = fit(entry, parent.shape)
            stack = tangent[:, None]
            if entry.dtype.kind == "c" and tangent.dtype.kind != "c":
                stack = stack.astype(entry.dtype)
            node_ = entry.node
            if node_ is not None:
                seeds[node_] = seeds[node_] + stack if node_ in seeds else stack
    nodes = recorded(tape)
    attribute(nodes, node)
    if outer is not None:
        settle(nodes, [variable.node])
    direct = seeds.pop(variable.node, None)
    only = descendants(nodes, {variable.node})
    with using(outer):
        arrived = Sweep(nodes, seeds, recorded=outer is not None, only=only).run()
        out = arrived.get(variable.node)
        if direct is not None:
            out = direct if out is None else out + direct
        if out is None:
            return np.zeros_like(zero, shape=(rows, *node.shape))
        return out[:, 0]


def descendants(nodes: Sequence[Node], starts: Set[Node | None]) -> set[Any]:
    """The starts and all nodes that depend on them, but not through integers or booleans."""
    found = set(starts)
    for node in nodes:
        if any(p in found for p in node.parents) and node.dtype.kind in "fc":
            found.add(node)
    return found


def settle(nodes: Sequence[Node], variables: Sequence[Node]) -> None:
    """Let only what depends on more than these variables want a gradient from here on.

    `nodes` are what was recorded with them, in that order, on a tape within another, for which
    they are constants or what they were made from.
    """
    for variable in variables:
        variable.wants = False
    made = set(variables)
    for node in nodes:
        if node.wants or node in made:
            node.wants = any(p is not None and p.wants for p in node.parents)
