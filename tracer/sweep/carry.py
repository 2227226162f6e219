"""From batched operations to unbatched tensors: the cotangents of an input, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Present, Some, Stack
from tracer.cotangents import Cotangent, Deferred, Dense, Reindexed, Summed, broadcast_uses, grouped
from tracer.cotangents.contractions import indexed
from tracer.record.axes import GroupedAxis, LabelledAxis, SampleAxis
from tracer.record.node import Node
from tracer.sweep.rules import Captured, Entry, Recorded, View, cotangents_of, entry_value, fit
from tracer.sweep.sizes import entry_bytes

#: bytes of rows of single samples that go through a rule at once, where no budget says less
DERIVED = 256 << 20


def of_samples(use: Cotangent, axis: SampleAxis, present: Present) -> Cotangent:
    """The cotangent of the samples from that of an axis's entries, of which some are there."""
    if present is not None and isinstance(axis, LabelledAxis) and len(present) == use.samples:
        use, present = use.among(present), None
    if isinstance(axis, GroupedAxis):
        use = grouped(use, axis)
    return use if present is None else use.among(present)


def is_reindexing(node: Node) -> bool:
    reindexes = node.op.reindexes
    return reindexes(node) if callable(reindexes) else reindexes


def reindexed(node: Node, cotangent: Cotangent) -> Reindexed:
    op, params, shape = node.op, node.params, node.input_shape(0)
    return Reindexed(
        cotangent,
        shape,
        pull=lambda stack: fit(entry_value(op.vjp(node, stack)[0]), shape),
        push=lambda direction: op.forward(direction, **params),
        key=(op.name, repr(sorted(params.items()))),
    )


def spread(
    node: Node, slot: int, g: Stack, axis: int, entries: Sequence[Entry]
) -> Cotangent | None:
    """What an unbatched input has that an operation only broadcasts over the samples, or None.

    Its `vjp` before summing then has them apart, and each place that it was broadcast to.
    """
    op, shape = node.op, node.input_shape(slot)
    if not (op.elementwise or op.spreads):
        return None
    aligned = axis + len(shape) - len(node.shape)
    if aligned >= 0 and shape[aligned] != 1:
        return None
    entry = entry_value(entries[slot])
    if entry is None:
        return None
    if entry.shape[1:] != node.shape:
        entry = np.broadcast_to(entry, (len(g), *node.shape))
    summed = broadcast_uses(entry, axis, shape)
    if len(shape) > 1 and not _linear(node, slot):
        return Dense(summed.per_sample(), (op.name, node.code, node.lasti))
    return summed


def _linear(node: Node, slot: int) -> bool:
    return node.op.linear or slot in node.op.linear_in


def carried_by_use(view: View, node: Node, slot: int, cotangent: Cotangent) -> Cotangent | None:
    """The uses of an input of an operation that adds, scales or moves elements, or None.

    It adds no two elements of that input, so that each use of its output is one of it, or several.
    """
    op, shape = node.op, node.input_shape(slot)
    if not (op.elementwise or op.spreads or op.places) or not _linear(node, slot):
        return None
    terms = cotangent.use_terms()
    if terms is None:
        return None

    def pull(stack: Stack) -> Stack:
        entry = entry_value(cotangents_of(view, node, stack)[slot])
        if entry is None:
            return np.zeros_like(stack, shape=(len(stack), *shape))
        if op.elementwise and entry.shape[1:] != node.shape:
            return np.broadcast_to(entry, (len(stack), *node.shape))
        return entry

    return terms.moved(pull, shape)


def derived(
    view: View,
    node: Node,
    slot: int,
    g: Stack,
    axis: int,
    entries: Sequence[Entry],
    budget: int | None = None,
) -> Cotangent | None:
    """The cotangent of an unbatched input of any operation.

    Where the operation only broadcasts that input over the samples, its `vjp` before summing
    already has them apart; elsewhere one row per sample goes through the `vjp`, of all samples at
    once if that fits the budget.
    """
    shape, through = node.input_shape(slot), (node.op.name, node.code, node.lasti)
    aligned = axis + len(shape) - len(node.shape)
    if node.op.broadcasts and (aligned < 0 or shape[aligned] == 1):
        entry = entry_value(entries[slot])
        if entry is None:
            return None
        if entry.ndim - 1 == len(node.shape) and entry.shape[1 + axis] == node.shape[axis]:
            return Dense(broadcast_uses(entry, axis, shape).per_sample(), through)
    count, view = node.shape[axis], view if isinstance(view, Recorded) else Captured(node)
    if count == 1 and (use := carried_by_use(view, node, slot, Summed(g[:, None, None]))):
        return use
    library = backend.of(g)

    def made(rows: Some, samples: np.ndarray) -> Any:
        mask = samples[:, None] == np.arange(count)
        mask = mask.reshape(
            len(samples), *(count if i == axis else 1 for i in range(len(node.shape)))
        )
        apart = np.where(library.from_host(mask), indexed(g, (), rows)[:, None], 0)
        entry = entry_value(
            cotangents_of(view, node, apart.reshape(math.prod(apart.shape[:2]), *node.shape))[slot]
        )
        return None if entry is None else fit(entry, shape).reshape(*apart.shape[:2], *shape)

    each = entry_bytes(node, slot) + 3 * math.prod(node.shape) * g.dtype.itemsize
    every = np.arange(count)
    if count * len(g) * each <= (DERIVED if budget is None else budget // 3):
        whole = made(slice(None), every)
        return None if whole is None else Dense(whole, through)
    first = made(slice(0, 1), every[:1])
    if first is None:
        return None
    return Deferred(made, range(len(g)), every, shape, first.dtype, each)
