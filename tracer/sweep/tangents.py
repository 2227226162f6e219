"""Tangents forward through a record, the other way of the same rules."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from tracer import registry
from tracer.arrays.types import Stack
from tracer.record import complex_numbers
from tracer.record.composite import recorded
from tracer.record.leaf_kinds import VARIABLE
from tracer.record.node import Node
from tracer.record.recorder import Recorder, current_tape, open_tape, rerecording, using
from tracer.record.tensor import Tensor, new_leaf
from tracer.sweep.rules import (
    Recorded,
    View,
    attribute,
    cotangents_of,
    entry_value,
    fit,
    in_rule,
)
from tracer.sweep.slopes import Tangents, by_rows, by_slopes, first
from tracer.sweep.sweep import Sweep


def push(
    nodes: Sequence[Node],
    stacks: dict[Node | None, Stack],
    recorded: bool,
    wanted: Set[Node | None] | None = None,
) -> None:
    """Stacks of tangents forward through a record: `stacks` gets one for every node reached.

    Where some nodes are `wanted`, only what leads to them is computed, and other stacks are dropped
    as soon as nothing needs them.
    """
    last_use = None if wanted is None else last_uses(nodes, wanted)
    tape = current_tape() if recorded else None
    for node in nodes:
        if last_use is not None and node not in last_use:
            continue
        tangents = [stacks.get(p) for p in node.parents]
        for tangent in tangents:
            if tangent is not None:
                break
        else:
            continue
        if node.dtype.kind not in "fc":
            continue
        if not recorded:
            moved = tangent_of(node, node, tangents)
        else:
            start = 0 if tape is None else len(tape.nodes)
            moved = tangent_of(Recorded(node), node, tangents)
            if tape is not None:
                attribute(tape.nodes[start:], node)
        stacks[node] = moved
        if last_use is not None:
            for parent in node.parents:
                if last_use.get(parent) is node:
                    stacks.pop(parent, None)


def last_uses(nodes: Sequence[Node], wanted: Set[Node | None]) -> dict[Node | None, Node | None]:
    """Of each node that leads to the wanted ones, the last that needs it; None for the wanted."""
    found: dict[Node | None, Node | None] = dict.fromkeys(wanted)
    for node in reversed(nodes):
        if node in found:
            for parent in node.parents:
                if parent not in found:
                    found[parent] = node
    return found


def tangent_of(view: View, node: Node, tangents: Tangents) -> Stack:
    """The tangent of an operation's output, from those of its inputs.

    By the operation's own rule; else from the slopes of what is elementwise, from what is linear
    itself, or from the rule for cotangents, transposed.
    """
    op = node.op
    moved: Stack = NotImplemented
    rule = op.jvp or (by_slopes if op.elementwise else by_rows if op.linear else None)
    if rule is not None and not (rule is by_slopes and op.jvp is None and _may_conjugate(node)):
        try:
            moved = rule(view, tangents)
        except Exception as error:
            raise in_rule(error, node, first(tangents), "jvp") from error
    if moved is NotImplemented:
        moved = transposed(view, node, tangents)
    if node.dtype.kind == "c" and moved.dtype.kind != "c":
        return moved.astype(node.dtype)  # of a real input's alone
    return moved


def _may_conjugate(node: Node) -> bool:
    """Whether the slopes of an operation of others may be those of no analytic function."""
    return node.dtype.kind == "c" and not type(node.op).__module__.startswith(registry.BUNDLED)


def transposed(view: View, node: Node, tangents: Sequence[Stack | None]) -> Stack:
    """A tangent of the output, from the rule for cotangents: the vjp, being linear, transposed.

    The rule is recorded at a zero cotangent of one row, and swept for the rows of tangents.
    """
    on_tape = isinstance(view, Recorded) or any(isinstance(t, Tensor) for t in tangents)
    outer = open_tape() if on_tape else None
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
        if not found.isdisjoint(node.parents) and node.dtype.kind in "fc":
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
