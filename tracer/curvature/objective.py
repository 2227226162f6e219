"""The objective of a sweep: its record, its terms, and products with its curvature matrices.

A gradient sweep of what lies above its terms (`tracer.curvature.splitting`) gives each its weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import working
from tracer.arrays.random import Restarted
from tracer.arrays.types import Array, Generator, Stack
from tracer.curvature.objective_record import ObjectiveRecord
from tracer.curvature.plan import AT_ONCE, Allowance
from tracer.curvature.products import Products
from tracer.curvature.progress import SILENT, Progress
from tracer.curvature.sample_checks import (
    refuse_contraction,
    samples_not_followed,
)
from tracer.curvature.sample_losses import SampleLosses, sample_losses, valued
from tracer.curvature.seed_rows import SeedRows, of_stack
from tracer.curvature.splitting import Split, at_first_samples, left_out, split
from tracer.curvature.terms import Term
from tracer.record.axes import SAMPLED, OfOne, position_of, samples_of
from tracer.record.batching import Batch
from tracer.record.following import follow
from tracer.record.names import Names
from tracer.record.node import Node
from tracer.record.recomputed import Recomputed
from tracer.record.recorder import Recorder
from tracer.record.replay import replay, saved_values
from tracer.sweep.observed import Observed
from tracer.sweep.sizes import node_bytes
from tracer.sweep.sweep import Sweep


def unit_row(loss: Node, value: Array, recorded: bool = False) -> Stack:
    """The cotangent of a loss, in the library of its `value`: a stack of one row.

    All that comes of it is in its dtype, so that of half precision is in float32, unless the sweep
    is recorded.
    """
    dtype = loss.dtype
    if dtype.char == "e" and not recorded:
        dtype = working(dtype)
    plain = type(value) is np.ndarray
    row = (np if plain else backend.namespace(value)).empty((1, *loss.shape), dtype)
    row.fill(1)  # with `ones` it takes three times as long
    return row


@dataclass(eq=False)
class Objective:
    """What a sweep starts from.

    `nodes` is what `record`, a tape, holds up to `loss`, whose raw array is `value`; `names` maps
    parameters to their names, `batch` tells where the samples are, and `first_uses` the first
    operation on each parameter. `outputs` is the tensor that splits model from loss, or None.
    `recorded` says that the sweep is itself recorded, `watched` sees the gradient at each node.
    `remarks` is what the user is to be warned of, `only` what depends on `names` where these are
    some of the parameters; None where all.
    `of_outputs` says that rows start at the outputs alone, of which a penalty is no part.
    `replayed` says that all values of the record were computed again, for all sweeps at once.
    """

    record: Recorder
    nodes: list[Node]
    loss: Node
    value: Any
    names: Names
    batch: Batch
    first_uses: Mapping[Node, Node]
    outputs: Node | None = None
    recorded: bool = False
    rng: Generator | None = None
    budget: int | None = None
    samples: Any = None
    watched: Observed | None = None
    progress: Progress = SILENT
    remarks: list[str] = field(default_factory=list)
    only: set[Node] | None = None
    of_outputs: bool = False
    replayed: bool = False
    _split: Split | None = None

    @cached_property
    def allowed(self) -> Allowance:
        """The bytes that there are for it: of `budget`, or half of what is free."""
        return Allowance(self.budget, self.value)

    @property
    def recomputed(self) -> Recomputed | None:
        """The blocks that sweeps compute again as they come to them, and drop behind them.

        None where all values are there: what one sweep drops, another might read.
        """
        return None if self.replayed else self.record.recomputed

    def like(self, node: Node) -> Array:
        """Some array of the library in use, of the node's dtype."""
        value = self.value
        return value.astype(node.dtype) if value.dtype != node.dtype else value

    def unit_cotangent(self) -> Stack:
        """The cotangent of the objective, a stack of one row."""
        return unit_row(self.loss, self.value, self.recorded)

    @cached_property
    def facts(self) -> ObjectiveRecord:
        """What its terms, and refusals, read of it."""
        return ObjectiveRecord(
            self.record,
            self.nodes,
            self.loss,
            self.batch,
            self.outputs,
            self.recorded,
            self.watched,
            self.only,
            Restarted(self.rng),
        )

    # -- terms --------------------------------------------------------------------------------

    def split(self, wanted_by: str) -> Split:
        """Where it splits into terms; plain ones of parameters alone are remarked upon, once."""
        if self._split is None:
            batch = self.batch if self.batch.axes else follow(self.nodes)
            self._split = split(self.nodes, batch, self.outputs, self.names, wanted_by)
            if self._split.plain and not self.of_outputs:
                self.remarks.append(left_out(self._split.plain, self.nodes, self.names))
        return self._split

    def terms(self, wanted_by: str) -> list[Term]:
        """The terms at `outputs` or at registered losses; those of samples come first.

        Raises `QuantityError`, naming the quantity `wanted_by`, where a term does not split.
        """
        found = self.split(wanted_by)
        arrived = self._arrived(found.above)
        terms = [Term(self.facts, node, arrived[node], wanted_by) for node in found.splits]
        for term in terms:
            term.refuse_other_inputs()
        return sorted(terms, key=lambda term: not term.of_samples)

    def first_samples(self) -> tuple[list[Term], dict[Node, Stack]]:
        """The first tensors with samples on the way down, and the gradient of what has none."""
        wanted_by = "a per-sample quantity"
        first, above = at_first_samples(self.nodes, self.loss, self.batch, wanted_by)
        arrived = self._arrived(above)
        terms = [
            Term(self.facts, node, arrived.pop(node), wanted_by)
            for node in list(arrived)
            if node in first
        ]
        if not terms:
            raise samples_not_followed()
        return terms, arrived

    def saved_values(self) -> dict[Node, Array]:
        """The values that the record has now, of operations whose values some rule reads."""
        if self.record.recomputed is not None:
            replay(self.nodes, saved_values(self.nodes))
        return saved_values(self.nodes)

    def sample_losses(self) -> SampleLosses | None:
        """The samples' shares of its value; None where these are not known.

        So it is where it is not linear in what there is of single samples.
        """
        if self.batch.size is None or self.batch.several:
            return None
        cuts = valued(self.nodes, self.batch)
        return None if cuts is None else sample_losses(cuts, self._arrived(cuts.above), self.batch)

    def _arrived(self, above: list[Node]) -> dict[Node, Stack]:
        """The gradient `[1, *shape]` at the tensors that these uppermost operations are of."""
        seeds = {self.loss: self.unit_cotangent()}
        return Sweep(
            above,
            seeds,
            recorded=self.recorded,
            watched=self.watched,
            recomputed=self.recomputed,
        ).run()

    # -- matrices -----------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Node]:
        """Parameters by name."""
        return {name: leaf for leaf, name in self.names.items()}

    @property
    def draws(self) -> Restarted:
        """The generator `rng`, from its first state on for every kind of sampled rows."""
        return self.facts.draws

    @cached_property
    def products(self) -> Products:
        """Products with the Hessian, and with Gauss-Newton matrices of given roots."""
        seeds = {self.loss: self.unit_cotangent()}
        return self._products(seeds)

    def _products(self, seeds: Mapping[Node, Stack]) -> Products:
        return Products(self.record, self.nodes, seeds, self.names, self.allowed, self.only)

    def gauss_newton(self, kind: str, wanted_by: str, samples: int = 1) -> Any:
        """A function from vectors to products with the Gauss-Newton or a Fisher matrix.

        `kind` says what square root of the terms' Hessians it takes: "exact", "sampled" (from
        targets sampled now) or "empirical".
        """
        make = {
            "exact": Term.root_of_entries,
            "sampled": lambda term: (
                of_stack(term.sqrt_hessian_sampled(samples, self.draws.of(wanted_by, samples)))
                if term.leaf_hessian is None
                else None
            ),
            "empirical": lambda term: of_stack(term.sqrt_empirical()),
        }[kind]
        terms = [term for term in self.terms(wanted_by) if term.prediction.wants]
        roots = [(term, self._there(make(term), term.prediction)) for term in terms]
        products = self.products  # made now, while the record's values are there
        return lambda vectors: products.gauss_newton(vectors, roots)

    def _there(self, rows: SeedRows | None, prediction: Node) -> SeedRows | None:
        """Rows that products are made with, all made now where they take little of what may be."""
        if rows is None:
            return None
        nbytes = len(rows) * node_bytes(prediction)
        limit = self.allowed.limit(8 * nbytes)
        return of_stack(rows[:]) if limit is None or 8 * nbytes <= limit else rows

    def hessian_diagonal(self, leaf: Node) -> Array:
        """The diagonal of a parameter's block of the Hessian, `[*p]`, from products."""
        return self._diagonal(leaf, self.products)

    def hessian_diagonal_of_samples(self, leaf: Node) -> Array:
        """Each sample's share of that diagonal, `[N, *p]`: products for each sample by itself."""
        count = 1 if self.batch.size is None else self.batch.size
        chosen = range(count) if self.samples is None else self.samples % count
        terms, _ = self.first_samples()
        refuse_contraction(leaf, self.facts)
        diagonals = []
        for n in chosen:
            seeds: Mapping[Node, Stack] = {
                term.node: np.where(self._only_sample(term, n), term.arrived, 0) for term in terms
            }
            diagonals.append(self._diagonal(leaf, self._products(seeds)))
        return (
            np.stack(diagonals)
            if diagonals
            else np.zeros_like(self.like(leaf), shape=(0, *leaf.shape))
        )

    def _only_sample(self, term: Term, n: int) -> Array:
        shape, axis = term.node.shape, self.batch.axis(term.node)
        mask = np.array(isinstance(axis, OfOne) and axis.sample == n)
        if not isinstance(axis, OfOne):
            axis = axis if isinstance(axis, SAMPLED) else 0
            mask = samples_of(axis, shape[axis]) == n
            along = position_of(axis)
            mask = mask.reshape([-1 if i == along else 1 for i in range(len(shape))])
        return backend.of(term.arrived).from_host(mask)

    def _diagonal(self, leaf: Node, products: Products) -> Array:
        size = math.prod(leaf.shape)
        budget = AT_ONCE if self.budget is None else self.budget
        step = max(1, budget // max(1, 16 * size * leaf.dtype.itemsize))
        pieces = []
        self.progress.stage(f"the Hessian's diagonal of {self.names[leaf]!r} by products", size)
        for start in range(0, size, step):
            elements = backend.namespace(self.like(leaf)).arange(size)
            basis = (elements[start : start + step, None] == elements).astype(leaf.dtype)
            moved = products.hessian({leaf: basis.reshape(-1, *leaf.shape)})[leaf]
            pieces.append((moved.reshape(basis.shape) * basis).sum(1))
            self.progress.advance(len(basis))
        return np.concatenate(pieces).reshape(leaf.shape)
