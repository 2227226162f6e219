"""Bundles: rows of one or more kinds that go through a sweep together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracer import backend
from tracer.batching import Batch, samples_of
from tracer.dtypes import working
from tracer.errors import BatchError
from tracer.names import first_uses
from tracer.operation import UNKNOWN
from tracer.rows import Rows, gradient
from tracer.tape import Node
from tracer.tensor import Tensor
from tracer.terms import Term


@dataclass
class Bundle:
    """Rows that go through a sweep together.

    `counts` tells where each kind's rows are, `apart` the first of those that start at a term of
    no sample; `seeds` where they start; `signs [R, N]` (or `[R, 1]`) weigh their squares, unless
    all are positive. Where it is not the `last` one, others bring more rows of the same kinds.
    """

    counts: dict[Rows, slice]
    apart: dict[Rows, int]
    seeds: dict[Node, Any]
    signs: Any = None
    last: bool = True

    @property
    def rows(self) -> int:
        return max(kind.stop for kind in self.counts.values())

    def chunks(self, nodes: Sequence[Node], budget: int | None, slots: int) -> list[slice]:
        """Slices of rows whose sweep over `nodes` stays within the budget, `slots` at a time.

        A contraction at a parameter holds three arrays of one sample's share. What the rows start
        from takes its part of the budget.
        """
        rows = len(next(iter(self.seeds.values())))
        if budget is None or rows == 1:
            return [slice(None)]
        started = sum(map(_held, self.seeds.values()))
        leaves = max(map(_bytes, first_uses(nodes)), default=0)
        each = max(row_bytes(nodes), 3 * leaves, 1)
        step = max(1, (budget - started) // each // slots) * slots
        if step >= rows:
            return [slice(None)]
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def _held(stack: Any) -> int:
    """Bytes of a stack, which is broadcast where all samples have the same rows."""
    array = stack._value if isinstance(stack, Tensor) else stack
    strides = zip(array.shape, array.strides, strict=True)
    return math.prod(n for n, stride in strides if stride) * array.dtype.itemsize


def row_bytes(nodes: Sequence[Node]) -> int:
    """The most bytes that one row takes at once in a sweep over `nodes`.

    Stacks wait at tensors that are used again further up in the record, and those that parameters'
    cotangents are made of until the parameter is complete. A rule makes two temporaries beside what
    it reads and returns.
    """
    waiting: dict[Node, int] = {}
    begin, total, most = first_uses(nodes), 0, 0
    for node in reversed(nodes):
        if not node.wants:
            continue
        own = _bytes(node)
        total -= waiting.pop(node, 0)
        parents = {p for p in node.parents if p is not None and p.wants}
        for parent in parents:
            kept = own if parent.op.leaf else max(_bytes(parent) - waiting.get(parent, 0), 0)
            waiting[parent] = waiting.get(parent, 0) + kept
            total += kept
        most = max(most, total + own + 2 * max(map(_bytes, {node, *parents})))
        total -= sum(waiting.pop(leaf) for leaf in parents if begin.get(leaf) is node)
    return most


def _bytes(node: Node) -> int:
    return math.prod(node.shape) * working(node.dtype).itemsize


def start(kinds: Sequence[Rows], terms: Sequence[Term], leftover: dict[Node, Any]) -> Bundle:
    """The bundle of these kinds of rows, from where the terms were cut.

    The gradient has one row, to which all terms and `leftover` add; the other kinds have rows of
    their own for each term, those of samples first.
    """
    counts: dict[Rows, slice] = {}
    apart: dict[Rows, int] = {}
    places: list[tuple[int, dict[Node, Any]]] = []
    total = 0
    if gradient in kinds:
        places = [(0, leftover), *((0, term.seeds(gradient)) for term in terms)]
        counts[gradient], apart[gradient], total = slice(0, 1), 1, 1
    for kind in kinds:
        if kind == gradient:
            continue
        first = apart[kind] = total
        for term in terms:
            block = term.seeds(kind)
            places.append((total, block))
            total += len(next(iter(block.values()))) if block else 0
            if term.of_samples:
                apart[kind] = total
        counts[kind] = slice(first, total)
    seeds: dict[Node, Any] = {}
    for begin, block in places:
        for node, stack in block.items():
            stack = _padded(stack, begin, total)
            seeds[node] = seeds[node] + stack if node in seeds else stack
    return Bundle(counts, apart, seeds)


def _padded(stack: Any, begin: int, total: int) -> Any:
    """The stack's rows at `begin` of `total` rows, the others being zero."""
    if len(stack) == total:
        return stack
    before = np.zeros_like(stack, shape=(begin, *stack.shape[1:]))
    after = np.zeros_like(stack, shape=(total - begin - len(stack), *stack.shape[1:]))
    return np.concatenate([before, stack, after])


def masked(bundle: Bundle, batch: Batch) -> Bundle:
    """The same with N + 1 rows for each row, where samples are coupled or could not be followed.

    One is for each sample, zero at the others; the last has what is of no sample. Exact on any
    graph, at N times the cost.
    """
    seeds = {node: _one_row_per_sample(node, s, batch) for node, s in bundle.seeds.items()}
    apart = {kind: span.stop for kind, span in bundle.counts.items()}
    return replace(bundle, apart=apart, seeds=seeds)


def _one_row_per_sample(node: Node, stack: Any, batch: Batch) -> Any:
    """`[V, *shape]` as `[V * (N + 1), *shape]`."""
    axis = batch.axis(node)
    if not batch.marked:
        axis = 0
        batch.size = batch.size or (node.shape[0] if node.shape else 1)
        if not node.shape or node.shape[0] != batch.size:
            raise BatchError(
                f"the samples of {node!r} are expected along its first axis, in number "
                f"{batch.size}: mark the inputs, as in x = tracer.batch(x)"
            )
    count = batch.size
    assert count is not None
    if axis is UNKNOWN:
        axis = 0 if node.shape and node.shape[0] == count else None
    if isinstance(axis, int):
        mask = np.arange(count + 1)[:, None] == samples_of(axis, node.shape[axis])
    else:
        mask, axis = np.arange(count + 1)[:, None] == count, 0
    width = mask.shape[1]
    mask = mask.reshape(1, count + 1, *(width if i == axis else 1 for i in range(len(node.shape))))
    mask = backend.of(stack).from_host(mask)
    return np.where(mask, stack[:, None], 0).reshape(-1, *node.shape)
