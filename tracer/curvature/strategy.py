"""How a request is swept: what is decided before any row starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tracer.curvature.masking import last_known
from tracer.curvature.objective import Objective
from tracer.curvature.request import SIGNED, Request
from tracer.curvature.rows import hessian_eigenvectors
from tracer.curvature.sample_checks import (
    couplings,
    refuse_undefined,
    refuse_unmarked,
    samples_lost,
    taken_for_penalty,
)
from tracer.curvature.signed_parameters import cheaper_by_rows, exact_leaves
from tracer.errors import BatchError, QuantityError
from tracer.record.node import Node
from tracer.record.replay import replay, saved_values
from tracer.sweep.bending import bends_in
from tracer.sweep.tangents import descendants


@dataclass(frozen=True, eq=False)
class Strategy:
    """How a request is swept.

    `masked` says that one row per sample is needed, where quantities need samples.
    `signed_parameters` are those that signed rows serve, where the Hessian is asked for; the others
    take products with it.
    """

    request: Request
    masked: bool
    signed_parameters: set[Node]

    @property
    def objective(self) -> Objective:
        return self.request.objective

    @property
    def keeps_values(self) -> bool:
        """Whether values must outlive the first sweep."""
        return bool(self.request.asked_separately)

    @cached_property
    def bending(self) -> set[Node]:
        """The operations that signed rows start at."""
        objective = self.objective
        return {node for node in objective.nodes if bends_in(node, objective.batch)}

    @cached_property
    def masked_rows_through(self) -> set[Node] | None:
        """What masked rows go through: down to where they are seen to come to their own samples."""
        objective = self.objective
        if objective.only is None or not objective.batch.lost:
            return objective.only
        return objective.only | descendants(objective.nodes, set(last_known(objective)))


def decided(request: Request) -> Strategy:
    """The strategy for a request. Raises where quantities are undefined for its objective."""
    masked = _must_mask(request) if request.follows_samples else False
    separate = request.asked_separately
    signed_parameters = _signed_parameters(request) if separate else set()
    if request.objective.recorded and separate:
        name = separate[0].name
        raise QuantityError(
            f"{name} inside another tape would count as constant there: take it after that "
            f"tape, or in its place tracer.hessian or tracer.hvp, which are recorded"
        )
    return Strategy(request, masked, signed_parameters)


def _must_mask(request: Request) -> bool:
    """Whether one row per sample is needed. Raises where a quantity of samples is undefined."""
    objective, batch = request.objective, request.objective.batch
    _withdraw_optional(request)
    if not any(quantity.needs_samples for quantity in request.asked.values()):
        return False
    if batch.size is None:
        refuse_unmarked(request.asked.values())
        return True
    refuse_undefined(request.asked.values(), objective.facts)
    if (remark := taken_for_penalty(request.asked.values(), objective.facts)) is not None:
        objective.remarks.append(remark)
    if batch.lost:
        node = batch.lost[0]
        objective.remarks.append(  # where nothing is refused yet
            f"the samples' axis could not be followed through {node.op.name} "
            f"({node.source or 'unknown line'}): one row per sample is propagated instead, "
            f"exact and {batch.size} times as costly; give the operation a `batch_axis` rule, "
            f"or mark its result with tracer.batch(x, axis)"
        )
    return bool(couplings(objective.facts) or batch.lost or batch.singly)


def _withdraw_optional(request: Request) -> None:
    """Leave out the optional quantities that are undefined here, or would take a row per sample."""
    facts, batch = request.objective.facts, request.objective.batch
    for quantity in [q for q in request.asked.values() if q.optional]:
        try:
            if batch.size is None:
                refuse_unmarked([quantity])
            else:
                refuse_undefined([quantity], facts)
        except BatchError as error:
            request.withdraw(quantity, str(error))
            continue
        if batch.lost or batch.singly:
            request.withdraw(quantity, samples_lost(quantity.name, batch))


def _signed_parameters(request: Request) -> set[Node]:
    """The parameters that signed rows serve, if they are asked for."""
    objective, quantities = request.objective, request.of(*SIGNED)
    if not quantities:
        return set()
    exact = exact_leaves(objective.nodes, objective.names, objective.batch)
    if request.of(hessian_eigenvectors):
        return exact
    products = sum(request.sample_count if q.per_sample else 1 for q in quantities)
    return cheaper_by_rows(objective.nodes, exact, objective.batch, products)


def prepare_record(strategy: Strategy) -> None:
    """See that the record's values are those that were recorded, and are there for the sweeps."""
    objective, record = strategy.objective, strategy.objective.record
    keeps = strategy.keeps_values
    again = record.swept or keeps or _starts_in_a_block(objective)
    replayed = again or record.recomputed is not None
    record.snapshots.check(objective.nodes, replayed, objective.names)
    if again:
        known = {} if record.swept else saved_values(objective.nodes)
        replay(objective.nodes, known, _inputs_read_again(strategy) if keeps else ())
        objective.replayed = True
    if not (objective.recorded or keeps):
        record.releases += 1  # from now on, since a sweep may raise before its end


def _starts_in_a_block(objective: Objective) -> bool:
    """Whether values that rows start from are computed again: a loss is in such a block."""
    recomputed = objective.record.recomputed
    if recomputed is None:
        return False
    starts = {node for node in objective.nodes if node.op.loss or node is objective.outputs}
    return not recomputed.by_node().keys().isdisjoint(descendants(objective.nodes, starts))


def _inputs_read_again(strategy: Strategy) -> set[Node]:
    """The operations whose inputs are read after the first sweep, besides by their rules.

    Signed rows start from those of operations that bend; averages take none, and products all.
    """
    request, objective = strategy.request, strategy.objective
    by_signs = not request.of(*SIGNED) or strategy.signed_parameters.issuperset(objective.names)
    return strategy.bending if by_signs and not request.of(None) else set(objective.nodes)
