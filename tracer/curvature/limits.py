"""The limits that the sweeps of one call of `backward` stay within, and what is refused beforehand.

Explicit budgets bound what is made beside the values that are returned; a plan for half of the
memory that is free counts these, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracer.arrays.dtypes import working
from tracer.curvature import plan
from tracer.curvature.bundle import Bundle
from tracer.curvature.quantity import Quantity
from tracer.curvature.request import Request
from tracer.curvature.rows import Rows, ggn_averaged, hessian, hessian_eigenvectors
from tracer.curvature.seed_rows import stack_bytes
from tracer.curvature.signed_parameters import RowsThere, rows_there
from tracer.curvature.strategy import Strategy
from tracer.record.node import Node


@dataclass
class Limits:
    """Bytes, None where all may be done at once.

    `rows` is for the rows that go through one sweep together, `block` for signed rows, `room` for
    what those are made from. One row takes `each`.
    """

    rows: int | None = None
    block: int | None = None
    room: int | None = None
    each: int = 1


def limits(strategy: Strategy, bundle: Bundle | None) -> Limits:
    """Those of a strategy, whose widest rows are a bundle's. Raises `QuantityError` for too much.

    What is surely little is not looked at more closely.
    """
    request, objective, budget = strategy.request, strategy.objective, strategy.objective.budget
    counts = {} if bundle is None else bundle.counts
    signed: list[RowsThere] = []
    if strategy.signed_parameters:
        signed = rows_there(objective.nodes, objective.batch)
    rows = 0 if bundle is None else bundle.rows * request.slots(bundle)
    found = Limits(budget, budget, budget)
    if budget is None and _surely_small(request, counts, rows, signed):
        return found
    leaf = plan.leaf_bytes(objective.names)
    values = plan.values(
        request.asked, lambda quantity: request.contexts(quantity, counts), request.reduced_at_once
    )
    plan.require_values(objective.allowed, values)
    widest = plan.width(objective.nodes)
    found.each = max(widest.nbytes, 3 * leaf, _stacked(request, counts) + leaf, 1)
    if bundle is not None:
        _limit_bundle(strategy, found, bundle, widest, values)
    if signed:
        _limit_signed(strategy, found, signed, widest, values.nbytes + values.largest_value)
    return found


def _limit_bundle(
    strategy: Strategy, found: Limits, bundle: Bundle, widest: plan.Width, values: plan.ValueBytes
) -> None:
    """The limit of rows that go through one sweep together."""
    request, allowed = strategy.request, strategy.objective.allowed
    slots = request.slots(bundle)
    rows = bundle.rows * slots
    leaf = plan.leaf_bytes(strategy.objective.names) if strategy.masked else 0
    started = sum(map(stack_bytes, bundle.seeds.values()))
    row_bytes = widest.nbytes if allowed.budget is None else widest.least
    floor = started + slots * (row_bytes + leaf)
    adding = values.largest_value if rows > slots else 0
    found.rows = allowed.limit(started + rows * found.each, values.nbytes, adding)
    beside = values.nbytes + (0 if found.rows is None else adding)
    quantity = request.of(*request.swept_together)[-1]
    _require(request, quantity, floor, beside, _one_row(strategy, widest.node))


def _surely_small(
    request: Request, counts: Mapping[Rows, slice], rows: int, signed: list[RowsThere]
) -> bool:
    """Whether bounds that are quick to tell are below what is looked at more closely."""
    total = 0
    for there in signed:
        rows, total = max(rows, there.rows), total + there.made + there.matrices
    leaf = max([math.prod(leaf.shape) for leaf in request.objective.names], default=0)
    elements = 3 * rows * max(plan.record_elements(request.objective.nodes), leaf)
    for quantity in request.asked.values():
        if quantity.rows is not None:
            elements += sum([*map(quantity.elements, request.contexts(quantity, counts))])
    return total + 8 * elements <= plan.SMALL


def _stacked(request: Request, counts: Mapping[Rows, slice]) -> int:
    """The most bytes of one row in a parameter's value, where values grow with the rows."""
    most = 0
    for quantity in request.of(*counts):
        for context in request.contexts(quantity, counts):
            if context.rows is None or context.rows < 2:
                continue
            fewer = context._replace(rows=context.rows - 1)
            elements = quantity.elements(context) - quantity.elements(fewer)
            most = max(most, elements * working(context.dtype).itemsize)
    return most


def _one_row(strategy: Strategy, node: Node | None) -> str:
    return f"for {'one row of each sample' if strategy.masked else 'one row'} {plan.at(node)}"


def _require(request: Request, quantity: Quantity, needed: int, beside: int, what: str) -> None:
    """Refuse a quantity that needs more than there is, beside the values where these count."""
    allowed = request.objective.allowed
    if allowed.budget is None:
        needed += beside
    allowed.require(needed, quantity.name, what, plan.instead_of(quantity))


def _limit_signed(
    strategy: Strategy, found: Limits, signed: list[RowsThere], widest: plan.Width, beside: int
) -> None:
    """The limits of signed rows, which come in blocks of at most `plan.AT_ONCE` anyway."""
    request, allowed = strategy.request, strategy.objective.allowed
    quantity = request.of(hessian, hessian_eigenvectors)[-1]
    row_bytes = widest.nbytes if allowed.budget is None else widest.least
    _require(request, quantity, row_bytes, beside, _one_row(strategy, widest.node))
    if allowed.budget is not None:
        return
    if eigenvectors := request.of(hessian_eigenvectors):
        largest = max(signed, key=lambda there: there.matrices)
        what = f"for the eigenvectors of what curvature is added {plan.at(largest.node)}"
        _require(request, eigenvectors[0], largest.matrices, beside, what)
        kept = _kept_rows(strategy, signed)
        _require(request, eigenvectors[0], kept, beside, "for the rows that it keeps")
        beside += kept
    needed = max(max(there.made, there.rows * found.each) for there in signed)
    found.block = allowed.limit(needed, beside)
    if needed > plan.AT_ONCE:
        found.block = min(found.block or plan.AT_ONCE, plan.AT_ONCE)
    matrices = max(there.matrices for there in signed)
    found.room = allowed.limit(matrices, beside)
    if found.room is not None and found.block is None:
        found.block = found.room


def _kept_rows(strategy: Strategy, signed: list[RowsThere]) -> int:
    """Bytes of signed rows where they meet parameters: of all that start further up."""
    counts, rows, total = {there.node: there.rows for there in signed}, 0, 0
    for node in reversed(strategy.objective.nodes):
        rows += counts.get(node, 0)
        leaves = [parent for parent in node.parents if parent in strategy.signed_parameters]
        total += rows * len(leaves) * plan.node_bytes(node)
    return total


def averaging_limit(
    strategy: Strategy, bottlenecks: Sequence[Node], counts: Mapping[Rows, slice]
) -> int | None:
    """The limit of rows averaged at these bottlenecks, of D elements per sample each.

    The averages are D x D: one is factored while the next is summed. `counts` are the rows of the
    kinds that were swept before.
    """
    request, objective = strategy.request, strategy.objective
    samples, itemsize = objective.batch.size or 1, working(objective.loss.dtype).itemsize
    elements = {node: math.prod(node.shape) // samples for node in bottlenecks}
    if not elements:
        return objective.budget
    largest = max(elements, key=elements.__getitem__)
    square = 4 * elements[largest] ** 2 * itemsize
    quantity = request.of(ggn_averaged)[0]
    values = plan.values(
        request.asked, lambda each: request.contexts(each, counts), request.reduced_at_once
    ).nbytes
    allowed = objective.allowed
    if allowed.budget is None:
        what = f"for averages of {elements[largest]:,} elements {plan.at(largest)}"
        _require(request, quantity, square, values, what)
    if elements[largest] * 24 * plan.record_elements(objective.nodes) <= plan.SMALL:
        return objective.budget
    rows = elements[largest] * plan.row_bytes(objective.nodes, objective.names)
    return allowed.limit(square + rows, values)
