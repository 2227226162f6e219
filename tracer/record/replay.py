"""What nodes saved: dropped once a sweep has passed, and computed again from the leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tracer.arrays.types import Array
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node


def leaves_only(arrays: tuple[Any, ...], parents: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a replay of the forward computation needs of the inputs: constants and leaves."""
    if len(parents) == 1:
        return DROPPED if parents[0].parents else arrays
    if len(parents) == 2:
        (a, b), (p, q) = arrays, parents
        if p is not None and p.parents:
            a = None
        if q is not None and q.parents:
            b = None
        return a, b
    left = list(arrays)
    for i, parent in enumerate(parents):
        if parent is not None and parent.parents:
            left[i] = None
    return tuple(left)


#: what is left of one input that an operation computed
DROPPED = (None,)


def forget(node: Node) -> None:
    """Drop what a node saved, but for the constants and leaves that a replay starts from."""
    node.output = None
    if node.kept is not None:
        node.kept = None
    if node.inputs is not DROPPED:
        node.inputs = leaves_only(node.inputs, node.parents)


def replay(
    nodes: Sequence[Node],
    known: Mapping[Node, Array] | None = None,
    keep_inputs: Collection[Node] = (),
    only: Collection[Node] | None = None,
) -> None:
    """Compute again what sweeps have dropped, from the leaves and constants.

    That is for the rules of the nodes that want a gradient, or of `only` these, which may want none
    any more.

    The values of operations that are `known` are taken as they are. Without them all are computed,
    so that they agree with each other also where the array of a parameter has been changed.
    `keep_inputs` are nodes that keep their inputs also where their rules do not read them.
    """
    every = [*before(nodes), *nodes]
    values = dict(known or {})
    needed: set[Node | None] = set()
    for node in reversed(every):
        swept = node.wants if only is None else node in only
        missing = node in needed or (swept and node.op.saves_output and node not in values)
        if missing:
            needed.add(node)
        if missing or (swept and (node.op.saves_inputs or node in keep_inputs)):
            needed.update(p for p in node.parents if p not in values)
    for node in every:
        if node.kept is not None:
            node.kept = None
        arrays = tuple(
            values.get(p, x)  # type: ignore[arg-type]  # a constant's parent is None
            for x, p in zip(node.inputs, node.parents, strict=True)
        )
        if node in needed:
            values[node] = node.op.forward(*arrays, **node.params)
        if not (node.wants if only is None else node in only):
            continue
        if node.op.saves_inputs or node in keep_inputs:
            node.inputs = arrays
        if node.op.saves_output:
            node.output = values[node]


def saved_values(nodes: Iterable[Node]) -> dict[Node, Array]:
    """The values of operations that nodes hold, as their own or as inputs."""
    values: dict[Node, Array] = {}
    for node in nodes:
        if node.output is not None:
            values[node] = node.output
        for parent, value in zip(node.parents, node.inputs, strict=True):
            if parent is not None and parent.parents and value is not None:
                values[parent] = value
    return values


def before(nodes: Sequence[Node]) -> list[Node]:
    """The operations outside of `nodes` (of other tapes) that they come from, inputs first."""
    known, found = set(nodes), []
    waiting = [p for node in nodes for p in node.parents]
    while waiting:
        node = waiting[-1]
        if node is None or not node.parents or node in known:
            waiting.pop()
            continue
        missing = [p for p in node.parents if p is not None and p.parents and p not in known]
        if missing:
            waiting += missing
        else:
            known.add(node)
            found.append(node)
    return found


INTERNAL_FILES.add(__file__)
