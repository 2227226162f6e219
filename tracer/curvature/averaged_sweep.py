"""Sweeps of rows that are averaged over samples at each bottleneck of a chain.

Bottlenecks are the tensors that all rows pass through, segments what lies between two of them (see
`tracer.sweep.chain`). Between bottlenecks, rows are exact. Through a segment that is one
elementwise operation, the average goes by itself, without rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from tracer.arrays.dtypes import working
from tracer.arrays.types import Array, Stack
from tracer.curvature import plan
from tracer.curvature.bundle import Bundle
from tracer.curvature.chunks import Chunk, shares_of
from tracer.curvature.extraction import Extraction
from tracer.curvature.limits import averaging_limit
from tracer.curvature.request import Request
from tracer.curvature.rows import ggn_averaged
from tracer.curvature.sample_checks import (
    refuse_averages,
    refuse_other_samples,
    refuse_unmarked_averages,
)
from tracer.curvature.seeding import Started, averaged_bundle
from tracer.curvature.strategy import Strategy
from tracer.curvature.sweeping import counted, sweep_bundle
from tracer.errors import QuantityError
from tracer.record.axes import SAMPLED
from tracer.record.batching import Batch
from tracer.record.names import first_uses
from tracer.record.node import Node
from tracer.sweep import chain
from tracer.sweep.bending import wanted
from tracer.sweep.rules import cotangents_of, entry_value
from tracer.sweep.sweep import Sweep


def sweep_averages(started: Started, extraction: Extraction) -> None:
    """Sweep averaged rows: all at once, or within a budget from one bottleneck to the next."""
    strategy, objective = started.strategy, started.objective
    nodes, batch, name = objective.nodes, objective.batch, _name(started.request)
    bundle = _start(strategy, name)
    bottlenecks = chain.bottlenecks(nodes, bundle.seeds, batch)
    budget = averaging_limit(strategy, bottlenecks, extraction.counts)
    segments = chain.segments(nodes, bottlenecks, batch)
    several = chain.shared_parameters(segments)
    if not several and not objective.recorded:
        _sweep_segments(started, extraction, bundle, bottlenecks, segments, budget)
        return
    if budget is not None:
        _refuse_above(budget, several, bottlenecks, started.request)
    averaged = set(bottlenecks)

    def visit(node: Node, g: Stack, others: Iterable[Node]) -> Any:
        return ggn_averaged.average(g, batch.axes[node]) if node in averaged else g

    rows = len(next(iter(bundle.seeds.values())))
    objective.progress.stage(f"{name}: one sweep", rows * len(nodes))
    sweep_bundle(started, extraction, bundle, None, visit=visit)


def _name(request: Request) -> str:
    return request.of(ggn_averaged)[0].name


def _start(strategy: Strategy, name: str) -> Bundle:
    """The rows, where samples are independent and all that is judged is of some."""
    objective = strategy.objective
    refuse_unmarked_averages(name, objective.batch)
    terms = objective.terms(name)
    sampleless = [term.prediction for term in terms if not term.of_samples]
    refuse_other_samples(strategy.request.of(ggn_averaged), sampleless, objective.batch)
    refuse_averages(name, strategy.masked, not sampleless, objective.facts)
    return averaged_bundle(strategy, ggn_averaged, terms)


def _refuse_above(
    budget: int, several: set[Node], bottlenecks: list[Node], request: Request
) -> None:
    """Raise where rows that have to be taken all at once are more than the budget.

    So it is where `several` segments share parameters.
    """
    objective = request.objective
    largest = max(math.prod(node.shape) for node in bottlenecks)
    itemsize = working(objective.loss.dtype).itemsize
    needed = 4 * largest * largest // max(1, request.sample_count) * itemsize
    if needed > budget:
        limit = "half of what is free" if objective.budget is None else "memory_budget"
        raise QuantityError(
            f"{_name(request)} takes all rows at once where several segments of a chain share a "
            f"parameter, here {objective.names.get(several.pop())!r}: that is about {needed} "
            f"bytes, and {limit} is {budget}: raise it, or use kflr"
        )


def _sweep_segments(
    started: Started,
    extraction: Extraction,
    bundle: Bundle,
    bottlenecks: list[Node],
    segments: list[list[Node]],
    budget: int | None,
) -> None:
    """Averaged rows from one bottleneck to the next, in chunks within the budget.

    Of a bottleneck only the mean outer product and its root are whole, `[D, D]`.
    """
    objective, name = started.objective, _name(started.request)
    batch, only = objective.batch, objective.only
    separate = all(quantity.separates for quantity in started.request.of(ggn_averaged))
    separate = separate and started.request.sample_count > 0
    extraction.counts |= bundle.counts
    above: Node | None = None
    square: Any = 0
    for segment, below in zip(segments, [*bottlenecks, None], strict=True):
        if below is not None and only is not None and below not in only:
            below = None  # nothing below it leads to a parameter that is asked for
        where = plan.at(below) if below is not None else "at the parameters"
        rows = len(next(iter(bundle.seeds.values()))) if bundle.seeds else 0
        objective.progress.stage(f"{name}: rows averaged {where}", len(segment) * rows)
        passed = None
        if above is not None and below is not None:
            passed = _over_elements(segment, above, below, square, batch)
        if passed is None:
            if above is not None:
                alike = separate and _are_alike(segment, batch)
                root = ggn_averaged.packed if alike else ggn_averaged.root
                seeds = {above: root(square, above.shape, batch.axes[above])}
                bundle = Bundle(bundle.counts, bundle.sampleless_from, seeds)
            passed = _sweep_segment(started, extraction, bundle, segment, below, budget)
        above, square = below, passed


def _over_elements(
    segment: list[Node], above: Node, below: Node, square: Array, batch: Batch
) -> Array | None:
    """`sum_n D_n B D_n` with the slopes D_n of the elementwise operation that a segment is.

    B is the mean at its output, `square` over the number of samples. None for other segments.
    """
    slots = wanted(above)
    if segment != [above] or not above.op.elementwise or len(slots) != 1:
        return None
    if above.parents[slots[0]] is not below or above.shape != below.shape:
        return None
    ones = np.ones_like(square, shape=(1, *above.shape))
    slopes = entry_value(cotangents_of(above, above, ones)[slots[0]])
    if slopes is None or slopes.shape[1:] != below.shape:
        return None
    by_sample = np.moveaxis(slopes[0], batch.axes[below], 0)
    by_sample = by_sample.reshape(len(by_sample), len(square))
    return square * (by_sample.T @ by_sample) / max(1, len(by_sample))


def _are_alike(segment: list[Node], batch: Batch) -> bool:
    """Whether what becomes of a row is the same in every sample."""
    return all(
        node.op.maps_alike and not any(_is_sampled(p, batch) for p in node.parents[1:])
        for node in segment
        if node.wants and _is_sampled(node, batch)
    )


def _is_sampled(node: Node | None, batch: Batch) -> bool:
    return node is not None and isinstance(batch.axes.get(node), SAMPLED)


def _sweep_segment(
    started: Started,
    extraction: Extraction,
    bundle: Bundle,
    segment: list[Node],
    below: Node | None,
    budget: int | None,
) -> Array:
    """The sum `[D, D]` of the outer products of rows at the bottleneck `below` a segment."""
    objective = started.objective
    batch, uses = objective.batch, first_uses(segment)
    square: Any = 0
    rows = len(next(iter(bundle.seeds.values()))) if bundle.seeds else 0
    slices = bundle.chunks(plan.row_bytes(segment, uses), budget, 1) if bundle.seeds else []
    for i, some in enumerate(slices):
        shares = shares_of(started.request, bundle, 0, bundle.rows)
        chunk = Chunk(bundle, 0, i == len(slices) - 1, shares, budget)
        count = rows if some.stop is None else some.stop - some.start
        arrived = Sweep(
            segment,
            {node: stack[some] for node, stack in bundle.seeds.items()},
            batch=batch,
            only=objective.only,
            complete=partial(extraction.take, chunk),
            first_uses=uses,
            visit=counted(None, count, objective.progress),
        ).run()
        if below is not None:
            square = square + ggn_averaged.square(arrived.pop(below), batch.axes[below])
    return square
