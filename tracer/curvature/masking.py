"""One row per sample in place of one, and whether each comes back to its own sample."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import chain as chained
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Stack
from tracer.curvature.bundle import Bundle
from tracer.curvature.objective import Objective
from tracer.curvature.quantity import Quantity
from tracer.curvature.sample_checks import astray, name_of_samples, placed, unexpected_number
from tracer.curvature.seed_rows import SeedRows, stack_bytes
from tracer.record.axes import (
    KNOWN,
    POOLED,
    SAMPLED,
    UNKNOWN,
    OfOne,
    SampleAxis,
    position_of,
    samples_of,
)
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.record.tensor import Tensor
from tracer.sweep.rules import Visitor


def masked(bundle: Bundle, batch: Batch) -> Bundle:
    """The same with N + 1 rows for each row, where samples are coupled or could not be followed.

    One is for each sample, zero at the others; the last has what is of no sample. Exact on any
    graph, at N times the cost.
    """
    seeds = {node: _one_row_per_sample(node, rows, batch) for node, rows in bundle.seeds.items()}
    sampleless_from = {kind: span.stop for kind, span in bundle.counts.items()}
    return replace(bundle, sampleless_from=sampleless_from, seeds=seeds, masked=True)


def _one_row_per_sample(node: Node, rows: Stack | SeedRows, batch: Batch) -> SeedRows:
    """`[V, *shape]` as `[V * (N + 1), *shape]`."""
    axis = batch.assumed.get(node, batch.axis(node))
    if not batch.marked:
        axis = 0
        entries = node.shape[0] if node.shape else 1  # a number is one sample
        if batch.size is None:
            batch.size = entries
        if entries != batch.size:
            raise unexpected_number(node, batch)
    count = batch.size
    assert count is not None
    every = np.arange(count + 1)[:, None]
    if isinstance(axis, SAMPLED):
        size = node.shape[axis] if node.shape else 1  # a number is one sample, if nothing is marked
        mask, along = every == samples_of(axis, size), position_of(axis)
    else:  # of one sample, or of none
        mask, along = every == (axis.sample if isinstance(axis, OfOne) else count), 0
    width = mask.shape[1]
    mask = mask.reshape(1, count + 1, *(width if i == along else 1 for i in range(len(node.shape))))
    slots = count + 1

    def make(some: slice) -> Stack:
        stack = rows[some.start // slots : some.stop // slots]
        there = backend.of(stack).from_host(mask)
        return np.where(there, stack[:, None], 0).reshape(len(stack) * slots, *node.shape)

    return SeedRows(len(rows) * slots, make, stack_bytes(rows))


def come_to_their_own(g: Stack, axis: SampleAxis | OfOne, slots: int) -> bool:
    """Whether of masked rows `[V * slots, *shape]` each is zero at others than its own sample.

    The last one of `slots` is of no sample.
    """
    value = g._value if isinstance(g, Tensor) else g
    if isinstance(axis, OfOne):
        its_samples, moved = np.array([axis.sample]), value[:, None]
    else:
        along = 1 + position_of(axis)
        its_samples, moved = samples_of(axis, value.shape[along]), np.moveaxis(value, along, 1)
    count = len(value) // slots
    rows = abs(moved.reshape(count, slots, len(its_samples), math.prod(moved.shape[2:])))
    others = np.arange(slots - 1)[:, None] != its_samples
    others = backend.of(value).from_host(others[None, :, :, None])
    largest = rows.max(initial=0)
    stray = np.where(others, rows[:, :-1], 0).max(initial=0)
    return bool(stray <= 1e3 * np.finfo(value.dtype).eps * largest)


def rows_of_samples(
    asked: Collection[Quantity], objective: Objective, slots: int
) -> Visitor | None:
    """A visitor of a sweep that sees that masked rows come to their own samples alone.

    Where samples were followed into operations that they could not be followed through, each row is
    to come back from there to the sample that it is of. None if no quantity is of single samples.
    """
    batch = objective.batch
    name = name_of_samples(asked, batch)
    if name is None or not batch.marked:
        return None
    into = last_known(objective)
    for node in objective.nodes:
        if not isinstance(batch.axes.get(node), SAMPLED):
            for parent in node.parents:
                if parent is not None and parent.wants and isinstance(batch.axis(parent), SAMPLED):
                    into.setdefault(parent, node)

    def visit(node: Node, g: Stack, others: Iterable[Node]) -> Any:
        if node in into and not come_to_their_own(g, batch.axes[node], slots):
            raise astray(name, into[node])
        return g

    return visit


def last_known(objective: Objective) -> dict[Node, Node]:
    """Tensors of known samples -> an operation on them that these could not be followed through."""
    batch: Batch = objective.batch
    found: dict[Node, Node] = {}
    for node in objective.nodes:
        for parent in node.parents if batch.axes.get(node) is UNKNOWN else ():
            if parent is None or not parent.wants or parent.op.leaf:
                continue
            if isinstance(batch.axis(parent), KNOWN):
                found.setdefault(parent, node)
    return found


def used_unfollowed(leaf: Node, objective: Objective) -> str | None:
    """Where a parameter is used on what has no axis of samples, in words; None if nowhere."""
    batch, carried = objective.batch, {leaf}
    above = set(objective.split("a Kronecker factor").above)
    for node in objective.nodes:
        if node in above or not any(parent in carried for parent in node.parents):
            continue
        axis = batch.axes.get(node)
        if axis is None:
            carried.add(node)
        elif axis is POOLED and not node.op.loss:
            return f"on what {placed(batch.pooled.get(node, node))} makes of several samples"
        elif axis is UNKNOWN:
            lost = next(chained(batch.mixing, batch.lost), node)
            return f"after {placed(lost)}, from where on no axis of samples is known"
    return None
