"""What quantities make of what reaches a parameter: states by chunks of rows, and then values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tracer.arrays.ownership import unaliased
from tracer.arrays.types import Array, Shape, Stack
from tracer.cotangents import Cotangent, Dense, Outer, Unfollowed, collect
from tracer.curvature.chunks import Chunk, is_partial, part_of, with_rows
from tracer.curvature.masking import used_unfollowed
from tracer.curvature.quantity import Context, Quantity, State, Value
from tracer.curvature.request import Request
from tracer.curvature.rows import Rows, ggn_averaged
from tracer.curvature.states import (
    first_of,
    of_all_rows,
    of_chunk,
    require_additive,
    with_chunk,
)
from tracer.curvature.values import raw_value
from tracer.errors import QuantityError
from tracer.record.node import Node


class Extraction:
    """The states of each quantity at each parameter, and values where states are complete.

    A state is what `Quantity.extract` made of the chunks of rows so far. `values` maps quantities
    to values by parameter name, `counts` tells how many rows of each kind were swept.
    `penalties` are the diagonals that registered penalties add to the Gauss-Newton matrix.
    """

    def __init__(self, request: Request, penalties: Mapping[Node, Array]):
        self.request = request
        self.objective, self.undefined = request.objective, request.undefined
        self.penalties = penalties
        self.counts: dict[Rows, slice] = {}
        self.states: dict[str, dict[Node, State]] = {name: {} for name in request.asked}
        self.values: dict[str, dict[str, Value]] = {name: {} for name in request.asked}
        #: the parameters that rows of a quantity have come to
        self._reached: set[tuple[Node, str]] = set()
        #: the quantities whose states of chunks were seen to join
        self._joining: set[str] = set()
        #: the parameters whose states are sums made here
        self._summed: dict[str, set[Node]] = {name: set() for name in request.asked}

    def take(self, chunk: Chunk, leaf: Node, uses: list[Cotangent], stack: Stack | None) -> None:
        """Take in what a chunk brings to a parameter: its uses, and what is of no sample."""
        self._reached.update((leaf, quantity.name) for quantity, _ in chunk.shares)
        signs = chunk.bundle.signs
        if leaf not in self.objective.names or self._is_uneven(chunk, leaf, uses):
            return
        cotangent = collected(self.request, chunk, leaf, uses, stack)
        context = self.request.context(leaf)
        if signs is not None:
            cotangent.signs = signs[chunk.begin : chunk.begin + cotangent.rows]
        parts: dict[Any, Cotangent] = {}
        for quantity, share in chunk.shares:
            part = cotangent
            if share is not None:
                key = (share[:3], id(share.samples))
                if key not in parts:  # one for all, which may leave sums on it for each other
                    parts[key] = part_of(cotangent, share, chunk.budget)
                part = parts[key]
            self._take_share(chunk, leaf, part, context, quantity)
        if chunk.is_last and chunk.bundle.last:
            self.finish(leaf, self.request.asked.values(), context)

    def _take_share(
        self,
        chunk: Chunk,
        leaf: Node,
        part: Cotangent,
        context: Context,
        quantity: Quantity,
    ) -> None:
        """Add what a quantity makes of its share of a chunk's rows to its state."""
        states = self.states[quantity.name]
        part.partial = is_partial(self.request, chunk, quantity, part)
        if leaf in self.penalties and leaf not in states:
            self._penalise(part, quantity, leaf)  # once, with the first rows
        known = with_rows(self.request, chunk.bundle, quantity, context)
        first = leaf not in states
        make = partial(quantity.extract, part, known)
        if part.partial:
            make = partial(of_chunk, quantity, states.get(leaf), part, known)
        self.add(quantity, leaf, make)
        state = states.get(leaf)
        if first and part.partial and state is not None and quantity.name not in self._joining:
            self._joining.add(quantity.name)
            require_additive(quantity, part, state, known)

    def _is_uneven(self, chunk: Chunk, leaf: Node, uses: list[Cotangent]) -> bool:
        """Whether averages left uses of one kind with rows in several numbers, which do not add.

        So it is where a link between them has another number of elements than rows came to it.
        """
        if ggn_averaged not in chunk.bundle.counts:
            return False
        if len({(use.kind(), use.rows) for use in uses}) == len({use.kind() for use in uses}):
            return False
        error = QuantityError(
            "its rows are averaged between its uses, and come in several numbers: use kflr"
        )
        for quantity, _ in chunk.shares:
            self.undefined.add(quantity, leaf, error)
        return True

    def _penalise(self, cotangent: Cotangent, quantity: Quantity, leaf: Node) -> None:
        """Count a penalty on a parameter in its Gauss-Newton matrix."""
        kind = self.request.kinds[quantity.name]
        if kind is not None and kind.of_gauss_newton:
            cotangent.unbatched_squares = self.penalties.get(leaf)

    def add(self, quantity: Quantity, leaf: Node, make: Callable[[], State]) -> None:
        """Take in a state of a quantity at a parameter, or leave out what is undefined there."""
        if self.undefined.has(quantity, leaf):
            return
        states, summed = self.states[quantity.name], self._summed[quantity.name]
        if leaf in states and leaf not in summed:
            states[leaf] = first_of(quantity, states[leaf])
            summed.add(leaf)
        try:
            state = make()
            states[leaf] = with_chunk(quantity, states[leaf], state) if leaf in states else state
        except QuantityError as error:
            states.pop(leaf, None)
            self.undefined.add(quantity, leaf, error)

    def finish(self, leaf: Node, quantities: Iterable[Quantity], context: Context) -> None:
        """Make values of the states of a parameter that there are, as soon as they are complete."""
        for quantity in quantities:
            if leaf not in self.states[quantity.name]:
                continue
            try:
                state = of_all_rows(quantity, self.states[quantity.name].pop(leaf))
                value = [quantity.finish(state, context)]
            except QuantityError as error:
                self.undefined.add(quantity, leaf, error)
                continue
            if quantity.per != "parameter":  # wide, and together, until all are there
                self.values[quantity.name][context.name] = value[0]
                continue
            if not self.objective.recorded:
                value[0] = raw_value(value[0], leaf.dtype)
            if quantity.name in self.request.reduce:
                value[0] = self.request.reduce[quantity.name](context.name, unaliased(value))
            self.values[quantity.name][context.name] = value[0]

    def take_zeros(self, leaf: Node, quantities: Sequence[Quantity]) -> None:
        """A parameter that the objective does not depend on: zeros of every quantity."""
        request, objective = self.request, self.objective
        array, context = objective.like(leaf), request.context(leaf)
        for quantity in quantities:
            if quantity.rows is None or context.name in self.values[quantity.name]:
                continue
            kind: Any = request.kinds[quantity.name]
            span = self.counts.get(kind, slice(0, 1))
            restricted = objective.samples is not None and quantity.of_chosen_samples
            count = len(objective.samples) if restricted else request.sample_count
            zeros = _zeros(array, span.stop - span.start, count, leaf.shape)
            self._penalise(zeros, quantity, leaf)
            self.add(quantity, leaf, partial(quantity.extract, zeros, context))
        self.finish(leaf, quantities, context)

    def complete(self) -> None:
        """Take in zeros wherever no rows have come."""
        for leaf in self.objective.names:
            quantities = self.request.asked.values()
            rest = [q for q in quantities if (leaf, q.name) not in self._reached]
            self.take_zeros(leaf, rest)


def collected(
    request: Request, chunk: Chunk, leaf: Node, uses: list[Cotangent], stack: Any
) -> Cotangent:
    """All that reached a parameter: uses by samples, and a stack of what is of no sample."""
    size, bundle = request.sample_count, chunk.bundle
    if bundle.masked:
        if stack is not None:
            uses = [*uses, _of_masked(request, leaf, stack, request.slots(bundle))]
        every = collect(uses)
        uses = [every.select(samples=slice(0, size))]
        stack = every.select(samples=slice(size, None)).total()
    if uses:
        cotangent = collect(uses)
    elif request.follows_samples and bundle.by_samples:
        cotangent = Dense(np.zeros_like(stack, shape=(len(stack), size, *leaf.shape)))
    else:
        cotangent, stack = Dense(stack[:, None]), None
    cotangent.unbatched = stack
    return cotangent.within(chunk.budget)


def _of_masked(request: Request, leaf: Node, stack: Stack, slots: int) -> Cotangent:
    """Masked rows `[V * slots, *p]` that reached a parameter by no use of its own."""
    array = stack.reshape(len(stack) // slots, slots, *leaf.shape)
    where = None
    if len(leaf.shape) > 1 and any(quantity.of_uses for quantity in request.asked.values()):
        where = used_unfollowed(leaf, request.objective)
    return Dense(array) if where is None else Unfollowed(array, where)


def _zeros(array: Array, rows: int, samples: int, shape: Shape) -> Cotangent:
    """The cotangent of what nothing reaches, as of a linear map where it may be a weight.

    Its arrays are in the library and the dtype of `array`.
    """
    if len(shape) < 2:
        return Dense(np.zeros_like(array, shape=(rows, samples, *shape)))
    left = np.zeros_like(array, shape=(samples, 1, 1, math.prod(shape[1:])))
    right = np.zeros_like(array, shape=(rows, samples, 1, 1, shape[0]))
    return Outer(left, right, shape)
