"""Sweeps of the Hessian's signed rows, each from the operation that it starts at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain as chained
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import working
from tracer.arrays.types import Stack
from tracer.curvature.bundle import Bundle
from tracer.curvature.extraction import Extraction
from tracer.curvature.masking import last_known, masked, rows_of_samples
from tracer.curvature.request import SIGNED
from tracer.curvature.residuals import SignedRows, residual
from tracer.curvature.rows import Rows, gradient
from tracer.curvature.seed_rows import SeedRows, of_stack
from tracer.curvature.seeding import Started
from tracer.curvature.signed_parameters import rows_there
from tracer.curvature.strategy import Strategy
from tracer.curvature.sweeping import sweep_bundle
from tracer.record.node import Node
from tracer.sweep.sweep import Sweep
from tracer.sweep.tangents import descendants


def sweep_signed_rows(started: Started, extraction: Extraction) -> None:
    """Signed rows for the parameters that they are exact for, products for the others.

    The gradients that they start from are held for all operations: of these, one row each.
    """
    request, objective = started.request, started.objective
    signed_parameters, quantities = started.strategy.signed_parameters, request.of(*SIGNED)
    if started.strategy.masked and not any(bundle.masked for bundle in started.bundles):
        _see_samples(started.strategy)
    above = descendants(objective.nodes, signed_parameters)
    kinds = [kind for kind in SIGNED if request.of(kind)]
    blocks = _blocks(started, above, kinds[-1]) if signed_parameters else []
    _tell(started, above)
    for some in chained.from_iterable(blocks):
        rows = len(next(iter(some.seeds.values())))
        counts: dict[Rows, slice] = {kind: slice(0, rows) for kind in kinds}
        sampleless_from: dict[Rows, int] = dict.fromkeys(counts, rows)
        bundle = Bundle(counts, sampleless_from, some.seeds, some.signs, last=False)
        sweep_bundle(started, extraction, bundle, started.limits.block, only=above)
    for leaf in objective.names:
        if leaf not in signed_parameters:
            for quantity in quantities:
                extraction.add(quantity, leaf, partial(quantity.of_block, objective, leaf))
        elif leaf not in extraction.states[quantities[0].name]:
            extraction.take_zeros(leaf, quantities)
        extraction.finish(leaf, quantities, request.context(leaf))


def _blocks(started: Started, above: set[Node], kind: Rows) -> list[Iterator[SignedRows]]:
    """The signed rows of each operation that bends, from the gradient at its output."""
    objective, within = started.objective, started.limits
    blocks: list[Iterator[SignedRows]] = []

    def visit(node: Node, g: Stack, pending: Iterable[Node]) -> Any:
        found = residual(node, g, objective.batch, kind, within.block, within.room)
        if found is not None:
            blocks.append(found)
        return g

    seeds = {objective.loss: objective.unit_cotangent()}
    bent = descendants(objective.nodes, started.strategy.bending)
    Sweep(objective.nodes, seeds, visit=visit, only=above & bent).run()
    return blocks


def _tell(started: Started, above: set[Node]) -> None:
    """Begin to count signed rows, where somebody wants to know."""
    objective = started.objective
    if objective.progress.tell is not None:
        every = sum(there.rows for there in rows_there(objective.nodes, objective.batch))
        name = ", ".join(quantity.name for quantity in started.request.of(*SIGNED))
        objective.progress.stage(f"{name}: {every} signed rows", every * len(above))


def _see_samples(strategy: Strategy) -> None:
    """See that masked rows come to their own samples, for quantities that none are made of.

    Random rows start there, since a gradient is zero where a model fits. They go down to where
    the samples are known again. Raises `BatchError`.
    """
    request, objective = strategy.request, strategy.objective
    batch, slots = objective.batch, request.sample_count + 1
    visit = rows_of_samples(request.of(*SIGNED), objective, slots)
    if visit is None:
        return
    terms, _ = objective.first_samples()
    rng = np.random.default_rng(0)
    rows: dict[Node, SeedRows] = {}
    for node in {*(term.node for term in terms), *batch.assumed}:
        row = rng.standard_normal((1, *node.shape)).astype(working(node.dtype))
        rows[node] = of_stack(backend.of(objective.value).from_host(row))
    bundle = masked(Bundle({gradient: slice(0, 1)}, {gradient: 1}, rows), batch)
    seeds = {node: stack[:] for node, stack in bundle.seeds.items()}
    only = descendants(objective.nodes, set(last_known(objective)))
    Sweep(objective.nodes, seeds, slots=slots, visit=visit, only=only).run()
