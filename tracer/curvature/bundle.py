"""Bundles: rows of one or more kinds that go through a sweep together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.curvature.rows import Rows, gradient
from tracer.curvature.seed_rows import SeedRows, joined, of_stack, stack_bytes
from tracer.curvature.terms import Term
from tracer.errors import BatchError
from tracer.record.axes import OfOne, samples_of
from tracer.record.batching import Batch
from tracer.record.node import Node


@dataclass
class Bundle:
    """Rows that go through a sweep together.

    `counts` tells where each kind's rows are, `apart` the first of those that start at a term of
    no sample; `seeds` where they start, stacks or `SeedRows`; `signs [R, N]` (or `[R, 1]`) weigh
    their squares, unless all are positive. Where it is not the `last` one, others bring more rows
    of the same kinds. `masked` says that N + 1 rows stand for one (see there), `by_samples` that
    its quantities read the samples' shares, and not their sum alone.
    """

    counts: dict[Rows, slice]
    apart: dict[Rows, int]
    seeds: dict[Node, Any]
    signs: Any = None
    last: bool = True
    masked: bool = False
    by_samples: bool = True

    @property
    def rows(self) -> int:
        return max(kind.stop for kind in self.counts.values())

    def chunks(self, each: int, budget: int | None, slots: int) -> list[slice]:
        """Slices of rows of `each` bytes that stay within the budget, `slots` at a time.

        What the rows start from takes its part of the budget.
        """
        rows = len(next(iter(self.seeds.values())))
        if budget is None or rows == 1:
            return [slice(None)]
        started = sum(map(stack_bytes, self.seeds.values()))
        step = max(1, (budget - started) // max(1, each) // slots) * slots
        if step >= rows:
            return [slice(None)]
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def start(kinds: Mapping[Rows, str], terms: Sequence[Term], leftover: dict[Node, Any]) -> Bundle:
    """The bundle of these kinds of rows, from where the terms were cut.

    `kinds` maps each to the quantity that is to be named where it cannot start. The gradient has
    one row, to which all terms and `leftover` add; the other kinds have rows of their own for each
    term, those of samples first.
    """
    counts: dict[Rows, slice] = {}
    apart: dict[Rows, int] = {}
    places: list[tuple[int, dict[Node, SeedRows]]] = []
    total = 0
    if gradient in kinds:
        places = [(0, {node: of_stack(stack) for node, stack in leftover.items()})]
        places += [(0, term.seeds(gradient)) for term in terms]
        counts[gradient], apart[gradient], total = slice(0, 1), 1, 1
    for kind in kinds:
        if kind == gradient:
            continue
        first = apart[kind] = total
        for term in terms:
            block = term.asked_by(kinds[kind]).seeds(kind)
            places.append((total, block))
            total += len(next(iter(block.values()))) if block else 0
            if term.of_samples:
                apart[kind] = total
        counts[kind] = slice(first, total)
    pieces: dict[Node, list[tuple[int, SeedRows]]] = {}
    for begin, block in places:
        for node, rows in block.items():
            pieces.setdefault(node, []).append((begin, rows))
    return Bundle(counts, apart, {node: joined(some, total) for node, some in pieces.items()})


def masked(bundle: Bundle, batch: Batch) -> Bundle:
    """The same with N + 1 rows for each row, where samples are coupled or could not be followed.

    One is for each sample, zero at the others; the last has what is of no sample. Exact on any
    graph, at N times the cost.
    """
    seeds = {node: _one_row_per_sample(node, rows, batch) for node, rows in bundle.seeds.items()}
    apart = {kind: span.stop for kind, span in bundle.counts.items()}
    return replace(bundle, apart=apart, seeds=seeds, masked=True)


def _one_row_per_sample(node: Node, rows: Any, batch: Batch) -> SeedRows:
    """`[V, *shape]` as `[V * (N + 1), *shape]`."""
    axis = batch.assumed.get(node, batch.axis(node))
    if not batch.marked:
        axis = 0
        entries = node.shape[0] if node.shape else 1  # a number is one sample
        if batch.size is None:
            batch.size = entries
        if entries != batch.size:
            raise BatchError(
                f"the samples of {node!r} are expected along its first axis, in number "
                f"{batch.size}: mark the inputs, as in x = tracer.batch(x)"
            )
    count = batch.size
    assert count is not None
    every = np.arange(count + 1)[:, None]
    if isinstance(axis, int):
        size = node.shape[axis] if node.shape else 1  # a number is one sample, if nothing is marked
        mask = every == samples_of(axis, size)
    else:  # of one sample, or of none
        mask, axis = every == (axis.sample if isinstance(axis, OfOne) else count), 0
    width = mask.shape[1]
    mask = mask.reshape(1, count + 1, *(width if i == axis else 1 for i in range(len(node.shape))))
    slots = count + 1

    def make(some: slice) -> Any:
        stack = rows[some.start // slots : some.stop // slots]
        there = backend.of(stack).from_host(mask)
        return np.where(there, stack[:, None], 0).reshape(len(stack) * slots, *node.shape)

    return SeedRows(len(rows) * slots, make, stack_bytes(rows))
