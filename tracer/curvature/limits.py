"""The limits that the sweeps of one call of `backward` stay within, and what is refused beforehand.

Explicit budgets bound what is made beside the values that are returned; a plan for half of the
memory that is free counts these, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tracer.arrays.dtypes import working
from tracer.curvature import plan
from tracer.curvature.bundle import Bundle
from tracer.curvature.objective import Objective
from tracer.curvature.quantity import Context, Quantity
from tracer.curvature.rows import Rows, ggn_averaged, hessian, hessian_eigenvectors
from tracer.curvature.seed_rows import stack_bytes
from tracer.curvature.signed_parameters import RowsThere, rows_there
from tracer.record.names import Names
from tracer.record.node import Node


class Run(Protocol):
    """The call that asks; see `tracer.curvature.backward.Run`."""

    objective: Objective
    asked: dict[str, Quantity]
    names: Names
    reduce: Mapping[str, Any]
    together: list[Any]
    by_signs: set[Node]
    bundle: Bundle
    masked: bool

    def of(self, *kinds: Rows | None) -> list[Quantity]: ...

    def slots(self, rows: Bundle) -> int: ...

    def contexts(self, quantity: Quantity, counts: Mapping[Rows, slice]) -> list[Context]: ...


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


def limits(run: Run, started: Bundle | None) -> Limits:
    """Those of a run whose rows start at `started`. Raises `QuantityError` for what is too much.

    What is surely little is not looked at more closely.
    """
    objective, budget = run.objective, run.objective.budget
    counts = {} if started is None else started.counts
    signed = rows_there(objective.nodes, objective.batch) if run.by_signs else []
    rows = 0 if started is None else started.rows * run.slots(started)
    found = Limits(budget, budget, budget)
    if budget is None and _surely_small(run, counts, rows, signed):
        return found
    allowed, nodes, leaf = objective.allowed, objective.nodes, plan.leaf_bytes(run.names)
    values = plan.values(run.asked, lambda quantity: run.contexts(quantity, counts), run.reduce)
    plan.require_values(allowed, values)
    widest = plan.width(nodes)
    found.each = max(widest.nbytes, 3 * leaf, _stacked(run, counts) + leaf, 1)
    if started is not None:
        held = sum(map(stack_bytes, started.seeds.values()))
        one = widest.nbytes if budget is None else widest.least
        floor = held + run.slots(started) * (one + (leaf if run.masked else 0))
        adding = values.one if rows > run.slots(started) else 0
        found.rows = allowed.limit(held + rows * found.each, values.nbytes, adding)
        beside = values.nbytes + (0 if found.rows is None else adding)
        _require(run, run.of(*run.together)[-1], floor, beside, _one_row(run, widest.node))
    if signed:
        _limit_signed(run, found, signed, widest, values.nbytes + values.one)
    return found


def _surely_small(
    run: Run, counts: Mapping[Rows, slice], rows: int, signed: list[RowsThere]
) -> bool:
    """Whether bounds that are quick to tell are below what is looked at more closely."""
    total = 0
    for there in signed:
        rows, total = max(rows, there.rows), total + there.made + there.matrices
    leaf = max([math.prod(leaf.shape) for leaf in run.names], default=0)
    elements = 3 * rows * max(plan.record_elements(run.objective.nodes), leaf)
    for quantity in run.asked.values():
        if quantity.rows is not None:
            elements += sum([*map(quantity.elements, run.contexts(quantity, counts))])
    return total + 8 * elements <= plan.SMALL


def _stacked(run: Run, counts: Mapping[Rows, slice]) -> int:
    """The most bytes of one row in a parameter's value, where values grow with the rows."""
    most = 0
    for quantity in run.of(*counts):
        for context in run.contexts(quantity, counts):
            if context.rows is None or context.rows < 2:
                continue
            fewer = context._replace(rows=context.rows - 1)
            elements = quantity.elements(context) - quantity.elements(fewer)
            most = max(most, elements * working(context.dtype).itemsize)
    return most


def _one_row(run: Run, node: Node | None) -> str:
    return f"for {'one row of each sample' if run.masked else 'one row'} {plan.at(node)}"


def _require(run: Run, quantity: Quantity, needed: int, beside: int, what: str) -> None:
    """Refuse a quantity that needs more than there is, beside the values where these count."""
    allowed = run.objective.allowed
    if allowed.budget is None:
        needed += beside
    allowed.require(needed, quantity.name, what, plan.instead_of(quantity))


def _limit_signed(
    run: Run, found: Limits, signed: list[RowsThere], widest: plan.Width, beside: int
) -> None:
    """The limits of signed rows, which come in blocks of at most `plan.AT_ONCE` anyway."""
    allowed = run.objective.allowed
    quantity = run.of(hessian, hessian_eigenvectors)[-1]
    one = widest.nbytes if allowed.budget is None else widest.least
    _require(run, quantity, one, beside, _one_row(run, widest.node))
    if allowed.budget is not None:
        return
    if eigenvectors := run.of(hessian_eigenvectors):
        largest = max(signed, key=lambda there: there.matrices)
        what = f"for the eigenvectors of what curvature is added {plan.at(largest.node)}"
        _require(run, eigenvectors[0], largest.matrices, beside, what)
        kept = _kept_rows(run, signed)
        _require(run, eigenvectors[0], kept, beside, "for the rows that it keeps")
        beside += kept
    needed = max(max(there.made, there.rows * found.each) for there in signed)
    found.block = allowed.limit(needed, beside)
    if needed > plan.AT_ONCE:
        found.block = min(found.block or plan.AT_ONCE, plan.AT_ONCE)
    matrices = max(there.matrices for there in signed)
    found.room = allowed.limit(matrices, beside)
    if found.room is not None and found.block is None:
        found.block = found.room


def _kept_rows(run: Run, signed: list[RowsThere]) -> int:
    """Bytes of signed rows where they meet parameters: of all that start further up."""
    counts, rows, total = {there.node: there.rows for there in signed}, 0, 0
    for node in reversed(run.objective.nodes):
        rows += counts.get(node, 0)
        leaves = [parent for parent in node.parents if parent in run.by_signs]
        total += rows * len(leaves) * plan.node_bytes(node)
    return total


def averaging_limit(run: Run, links: Sequence[Node]) -> int | None:
    """The limit of rows averaged at these links of a chain, of D elements per sample each.

    The averages are D x D: one is factored while the next is summed.
    """
    objective = run.objective
    samples, itemsize = objective.batch.size or 1, working(objective.loss.dtype).itemsize
    elements = {link: math.prod(link.shape) // samples for link in links}
    if not elements:
        return objective.budget
    largest = max(elements, key=elements.__getitem__)
    square = 4 * elements[largest] ** 2 * itemsize
    counts = run.bundle.counts
    quantity = run.of(ggn_averaged)[0]
    values = plan.values(run.asked, lambda each: run.contexts(each, counts), run.reduce).nbytes
    allowed = objective.allowed
    if allowed.budget is None:
        what = f"for averages of {elements[largest]:,} elements {plan.at(largest)}"
        _require(run, quantity, square, values, what)
    if elements[largest] * 24 * plan.record_elements(objective.nodes) <= plan.SMALL:
        return objective.budget
    rows = elements[largest] * plan.row_bytes(objective.nodes, run.names)
    return allowed.limit(square + rows, values)
