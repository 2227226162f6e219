"""Which rows start where: the bundles of a request, and the limits that their sweeps stay within.

Rows go through sweeps in bundles: those of the gradient and of the Gauss-Newton matrix together,
averaged rows by themselves, signed rows of the Hessian by the operation that they start at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracer.arrays.types import Array
from tracer.curvature.bundle import Bundle, bundle_of_terms
from tracer.curvature.limits import Limits, limits
from tracer.curvature.masking import masked
from tracer.curvature.objective import Objective
from tracer.curvature.request import Request
from tracer.curvature.rows import Rows, gradient
from tracer.curvature.sample_checks import (
    chosen_samples,
    refuse_other_samples,
    refuse_unmarked_factors,
)
from tracer.curvature.splitting import penalties_left_out
from tracer.curvature.strategy import Strategy
from tracer.curvature.terms import Term
from tracer.record.node import Node


@dataclass(frozen=True, eq=False)
class Started:
    """Rows that wait for their sweeps.

    `bundles` are those that start at the loss, in the order of their sweeps; signed and averaged
    rows start later. `penalties` maps parameters to the diagonals `[*p]` of the Hessians of
    registered penalties on them.
    """

    strategy: Strategy
    bundles: list[Bundle]
    penalties: dict[Node, Array]
    limits: Limits

    @property
    def request(self) -> Request:
        return self.strategy.request

    @property
    def objective(self) -> Objective:
        return self.strategy.request.objective


def start_rows(strategy: Strategy) -> Started:
    """The bundles of a strategy, started. Raises where rows cannot start, or take too much."""
    request, objective = strategy.request, strategy.objective
    bundles: list[Bundle] = []
    penalties: dict[Node, Array] = {}
    for kinds in _kinds_by_sweep(strategy):
        if kinds == [gradient]:
            bundles.append(_gradient_bundle(strategy))
        else:
            terms = _terms(request, kinds)
            penalties = _penalties(request, terms)
            bundles.append(_masked_if_needed(_of_terms(request, kinds, terms), strategy))
    if request.follows_samples and not objective.batch.marked:
        refuse_unmarked_factors(request.asked.values(), objective.names)
        if objective.samples is not None:  # in number as the loss says
            chosen_samples(objective.samples, objective.batch.size)
    within = Limits(objective.budget, objective.budget, objective.budget)
    if request.follows_samples or request.asked_separately:
        within = limits(strategy, bundles[-1] if bundles else None)
    return Started(strategy, bundles, penalties, within)


def averaged_bundle(strategy: Strategy, kind: Rows, terms: Sequence[Term]) -> Bundle:
    """The rows of a kind that is averaged, started at the terms, all of which are of samples."""
    return _masked_if_needed(_of_terms(strategy.request, [kind], terms), strategy)


def _kinds_by_sweep(strategy: Strategy) -> list[list[Rows]]:
    """The kinds of rows that go through one sweep, for each sweep.

    The gradient goes by itself beside curvature whose rows are masked, and where terms of no
    sample reach parameters directly, at which its one row would stand among all the others.
    """
    request, objective = strategy.request, strategy.objective
    together = request.swept_together
    curvature = [kind for kind in together if kind != gradient]
    if gradient not in together or not curvature:
        return [together] if together else []
    name = request.of(curvature[0])[0].name
    if (
        strategy.masked
        or objective.split(name).plain
        or not all(term.of_samples for term in objective.terms(name))
    ):
        return [[gradient], curvature]
    return [together]


def _gradient_bundle(strategy: Strategy) -> Bundle:
    """The gradient's row by itself, from the objective or, of masked samples, from its terms."""
    request, objective = strategy.request, strategy.objective
    by_samples = any(quantity.needs_samples for quantity in request.of(gradient))
    if strategy.masked and by_samples:
        asking: dict[Rows, str] = {gradient: request.of(gradient)[0].name}
        terms, leftover = objective.first_samples()
        return masked(bundle_of_terms(asking, terms, leftover), objective.batch)
    seeds = {objective.loss: objective.unit_cotangent()}
    counts: dict[Rows, slice] = {gradient: slice(0, 1)}
    return Bundle(counts, {gradient: 1}, seeds, by_samples=by_samples)


def _terms(request: Request, kinds: Sequence[Rows]) -> list[Term]:
    """The terms of the Gauss-Newton matrix, which judge samples if some quantity needs that."""
    objective = request.objective
    asking = next(kind for kind in kinds if kind != gradient)
    terms = objective.terms(request.of(asking)[0].name)
    sampleless = [term.prediction for term in terms if not term.of_samples]
    refuse_other_samples(request.of(*kinds), sampleless, objective.batch)
    return terms


def _penalties(request: Request, terms: Sequence[Term]) -> dict[Node, Array]:
    """What terms add to the diagonal of parameters that they are of."""
    sampleless = [term.node for term in terms if not term.of_samples]
    lacking = [quantity.name for quantity in request.asked.values() if quantity.of_uses]
    if sampleless and lacking:
        of = request.objective
        of.remarks.append(penalties_left_out(lacking, sampleless, of.nodes, of.names))
    penalties: dict[Node, Array] = {}
    for term in terms:
        if term.leaf_hessian is not None:
            leaf = term.prediction
            penalties[leaf] = penalties.get(leaf, 0) + term.leaf_hessian
    return penalties


def _of_terms(request: Request, kinds: Sequence[Rows], terms: Sequence[Term]) -> Bundle:
    return bundle_of_terms({kind: request.of(kind)[0].name for kind in kinds}, terms, {})


def _masked_if_needed(bundle: Bundle, strategy: Strategy) -> Bundle:
    return masked(bundle, strategy.objective.batch) if strategy.masked else bundle
