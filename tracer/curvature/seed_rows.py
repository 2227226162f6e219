"""Where rows start: stacks whose rows are made when a sweep asks for them, some at a time."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array, Shape, Stack
from tracer.record.axes import Axis, GroupedAxis, SampleAxis, position_of
from tracer.record.node import Node
from tracer.record.rules import Rules
from tracer.record.tensor import Tensor
from tracer.sweep.rules import View


class SeedRows:
    """`count` rows `[count, *shape]`; `make(slice(a, b))` gives rows a to b.

    `held` is the number of bytes that exist whether or not rows are made.
    """

    def __init__(self, count: int, make: Callable[[slice], Stack], held: int = 0):
        self.count = count
        self.make = make
        self.held = held

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, some: slice) -> Stack:
        start, stop, _ = some.indices(self.count)
        return self.make(slice(start, stop))


#: tensor -> the rows that start there, a stack or `SeedRows`
Seeds: TypeAlias = dict[Node, Any]


def of_stack(stack: Stack) -> SeedRows:
    """Rows that are there already, in an array or a recorded tensor."""
    count = len(stack)
    return SeedRows(count, lambda some: _cut(stack, some), stack_bytes(stack))


def _cut(stack: Stack, some: slice) -> Stack:
    return stack if some == slice(0, len(stack)) else stack[some]


def stack_bytes(stack: Stack | SeedRows) -> int:
    """Bytes of a stack, which is broadcast where all samples have the same rows."""
    if isinstance(stack, SeedRows):
        return stack.held
    array = stack._value if isinstance(stack, Tensor) else stack
    strides = zip(array.shape, array.strides, strict=True)
    return math.prod(n for n, stride in strides if stride) * array.dtype.itemsize


def of_rule(op: Rules, name: str, view: View, weight: Array) -> SeedRows:
    """Rows by a loss's rule `name`; all at once where it does not take a slice of `rows`."""
    rule = getattr(op, name)
    count = op.row_counts(view).get(name) if _takes_rows(rule) else None
    if count is None:
        return of_stack(rule(view, weight))
    whole = slice(0, count)
    return SeedRows(
        count, lambda some: rule(view, weight) if some == whole else rule(view, weight, some)
    )


@functools.cache
def _takes_rows(rule: Callable[..., Any]) -> bool:
    return "rows" in inspect.signature(rule).parameters


def at_places(rows: SeedRows, places: int, mask: Callable[[slice], Array]) -> SeedRows:
    """Each row as `places` rows, one after the other, each of which is zero but where a mask says.

    `mask(some)` gives those of some places, `[len(some), *shape]`.
    """
    if places == 1:
        return rows

    def make(some: slice) -> Stack:
        first, last = some.start // places, -(-some.stop // places)
        stack = rows[first:last]
        if (first * places, last * places) == (some.start, some.stop):
            there = backend.of(stack).from_host(mask(slice(0, places)))
            placed = np.where(there, stack[:, None], 0)
            return placed.reshape(len(stack) * places, *stack.shape[1:])
        pieces = []
        for i in range(first, last):
            start, stop = max(some.start - i * places, 0), min(some.stop - i * places, places)
            there = backend.of(stack).from_host(mask(slice(start, stop)))
            pieces.append(np.where(there, stack[i - first], 0))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    return SeedRows(len(rows) * places, make, rows.held)


def one_position_each(rows: SeedRows, shape: Shape, axis: Axis) -> SeedRows:
    """Rows `[R, *y]` as rows of one entry of each sample, where an axis has several.

    Rules take entries for samples, which are apart in the loss but not below it.
    """
    if not isinstance(axis, GroupedAxis) or axis.uses(shape[axis]) == 1:
        return rows
    ranks, places = axis.ranks(shape[axis]), axis.uses(shape[axis])

    def mask(some: slice) -> Array:
        alone = ranks == np.arange(places)[some, None]
        line = (size if i == axis.position else 1 for i, size in enumerate(shape))
        return alone.reshape(len(alone), *line)

    return at_places(rows, places, mask)


def identity_rows(shape: Shape, axis: SampleAxis | None, like: Array) -> SeedRows:
    """`[C, *shape]`: row c is one at element c of every sample, and zero elsewhere.

    Elements are numbered in row-major order, the place of the samples' axis taken by the entries
    that a sample has on it; without an axis all are of one. The rows are arrays as `like` is one.
    """
    of_sample = list(shape)
    if axis is not None and shape:
        position = position_of(axis)
        uses, ranks = 1, np.zeros(shape[position], np.intp)
        if isinstance(axis, GroupedAxis):
            uses, ranks = axis.uses(shape[position]), axis.ranks(shape[position])
        of_sample[position] = uses
    count = math.prod(of_sample)
    elements = np.arange(count).reshape(of_sample)
    if axis is not None and shape:
        elements = elements.take(ranks, position)
    library, dtype = backend.of(like), like.dtype

    def make(some: slice) -> Stack:
        chosen = np.arange(some.start, some.stop).reshape(-1, *(1,) * len(shape))
        return library.from_host(elements == chosen).astype(dtype)

    return SeedRows(count, make, elements.nbytes)


def joined(pieces: Sequence[tuple[int, SeedRows]], total: int) -> SeedRows:
    """`total` rows: the sum of pieces, each beginning at some row and zero elsewhere."""
    if len(pieces) == 1 and len(pieces[0][1]) == total:
        return pieces[0][1]

    def make(some: slice) -> Stack:
        added = None
        for begin, rows in pieces:
            start, stop = max(some.start, begin), min(some.stop, begin + len(rows))
            if start < stop:
                stack = rows[start - begin : stop - begin]
                stack = _padded(stack, start - some.start, some.stop - some.start)
                added = stack if added is None else added + stack
        if added is None:
            first_row = next(rows for _, rows in pieces)[0:1]
            shape = (some.stop - some.start, *first_row.shape[1:])
            return np.zeros_like(first_row, shape=shape)
        return added

    return SeedRows(total, make, sum(rows.held for _, rows in pieces))


def _padded(stack: Stack, begin: int, total: int) -> Stack:
    """The stack's rows at `begin` of `total` rows, the others being zero."""
    if len(stack) == total:
        return stack
    before = np.zeros_like(stack, shape=(begin, *stack.shape[1:]))
    after = np.zeros_like(stack, shape=(total - begin - len(stack), *stack.shape[1:]))
    return np.concatenate([before, stack, after])
