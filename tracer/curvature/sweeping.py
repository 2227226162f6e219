"""Sweeps of bundles of rows, in chunks where they would take too much at once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from tracer.arrays.types import Stack
from tracer.curvature.bundle import Bundle
from tracer.curvature.chunks import Chunk, shares_of
from tracer.curvature.extraction import Extraction
from tracer.curvature.masking import rows_of_samples
from tracer.curvature.progress import Progress
from tracer.curvature.request import Request
from tracer.curvature.rows import gradient
from tracer.curvature.seed_rows import SeedRows
from tracer.curvature.seeding import Started
from tracer.record.node import Node
from tracer.sweep.rules import Visitor
from tracer.sweep.sweep import Sweep


def sweep_bundles(started: Started, extraction: Extraction) -> None:
    """Sweep what starts at the loss. The last sweep drops the record's values if nothing else does.

    A sweep gives `extraction.take` each parameter with its uses and the stack of what is of no
    sample, as soon as nothing more can reach it.
    """
    request, objective = started.request, started.objective
    for bundle in started.bundles:
        text = f"{', '.join(request.asked)}: one sweep"
        rows = bundle.rows * request.slots(bundle)
        objective.progress.stage(text, rows * len(objective.nodes))
        keeps = started.strategy.keeps_values or bundle is not started.bundles[-1]
        sweep_bundle(started, extraction, bundle, started.limits.rows, keeps=keeps)


def sweep_bundle(
    started: Started,
    extraction: Extraction,
    bundle: Bundle,
    budget: int | None,
    *,
    visit: Visitor | None = None,
    only: set[Node] | None = None,
    keeps: bool = True,
) -> None:
    """Sweep a bundle of rows, in chunks within the budget, through `only` these nodes.

    Unless it `keeps` the record's values, the last chunk drops them on its way.
    """
    request, objective = started.request, started.objective
    extraction.counts |= bundle.counts
    if not bundle.seeds:
        return
    slots = request.slots(bundle)
    if only is None:
        only = started.strategy.masked_rows_through if bundle.masked else objective.only
    slices = [slice(None)]
    if visit is None:
        slices = bundle.chunks(started.limits.each, budget, slots)
    for i, some in enumerate(slices):
        is_last = i == len(slices) - 1
        stacks = _stacks(bundle, some)
        if is_last:
            bundle.seeds.clear()
        rows, begin = len(next(iter(stacks.values()))), (some.start or 0) // slots
        shares = shares_of(request, bundle, begin, rows // slots)
        chunk = Chunk(bundle, begin, is_last, shares, budget)
        Sweep(
            objective.nodes,
            stacks,
            recorded=objective.recorded,
            release=is_last and not objective.recorded and not keeps,
            batch=objective.batch if request.follows_samples and bundle.by_samples else None,
            complete=partial(extraction.take, chunk),
            first_uses=objective.first_uses,
            watched=objective.watched if gradient in bundle.counts and i == 0 else None,
            slots=slots,
            coupled=bool(objective.batch.coupled),
            visit=counted(visit or _verifying(request, bundle), rows, objective.progress),
            only=only,
            budget=budget,
            recomputed=objective.recomputed,
        ).run()


def _stacks(bundle: Bundle, some: slice) -> dict[Node, Stack]:
    """Where a bundle's rows start, and some of them."""
    whole = some == slice(None)
    return {
        node: rows if whole and not isinstance(rows, SeedRows) else rows[some]
        for node, rows in bundle.seeds.items()
    }


def _verifying(request: Request, bundle: Bundle) -> Visitor | None:
    """A visitor that sees that the rows of single samples come to these alone."""
    if not bundle.masked:
        return None
    return rows_of_samples(request.asked.values(), request.objective, request.slots(bundle))


def counted(visit: Visitor | None, rows: int, progress: Progress) -> Visitor | None:
    """A visitor that counts these rows at each node, where somebody wants to know."""
    if progress.tell is None:
        return visit

    def see(node: Node, g: Stack, others: Iterable[Node]) -> Any:
        progress.advance(rows)
        return g if visit is None else visit(node, g, others)

    return see
