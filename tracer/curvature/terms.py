"""The terms of an objective, and the square roots of their Hessians that rows start from."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np

from tracer.arrays import backend
from tracer.arrays.random import generator
from tracer.arrays.types import Array, Generator, Stack
from tracer.curvature.cut import Cut
from tracer.curvature.record_hessian import sqrt_hessian_of_record
from tracer.curvature.rows import Rows, gradient
from tracer.curvature.seed_rows import (
    SeedRows,
    at_places,
    identity_rows,
    of_rule,
    of_stack,
    one_position_each,
)
from tracer.errors import QuantityError
from tracer.record.node import Node
from tracer.record.tensor import Tensor
from tracer.sweep.rules import cotangents_of, entry_value
from tracer.sweep.sweep import Sweep


class Term(Cut):
    """A term of the objective: where it was cut, and the rows that start there."""

    # -- where rows start ---------------------------------------------------------------------

    def asked_by(self, quantity: str) -> Term:
        """The same term, for a quantity that asks beside the one that it was cut for."""
        if quantity == self.wanted_by:
            return self
        same = copy.copy(self)
        same.wanted_by = quantity
        return same

    def seeds(self, kind: Rows) -> dict[Node, SeedRows]:
        """Rows of one kind at the nodes below the cut."""
        if kind == gradient:
            return {node: of_stack(stack) for node, stack in self._gradient().items()}
        if not self.prediction.wants:
            return {}
        if kind.of_gauss_newton and self.leaf_hessian is not None:
            return {}
        if kind.of_outputs and not self.is_of_outputs:
            return {}
        started = kind.start(self, self.record.draws.of(kind, kind.samples))
        rows = started if isinstance(started, SeedRows) else of_stack(started)
        whole = self.has_axis or kind.of_outputs
        return {self.prediction: rows if whole else self._one_entry_each(rows)}

    def _gradient(self) -> dict[Node, Stack]:
        if not self.at_loss:
            return {self.node: self.arrived}
        recorded, watched = self.record.recorded, self.record.watched
        seeds = {self.node: self.arrived}
        return Sweep([self.node], seeds, recorded=recorded, watched=watched).run()

    def _one_entry_each(self, rows: SeedRows) -> SeedRows:
        """Rows of a term of no sample, one for each of what the loss takes for samples.

        A rule's rows each stand for all entries of the first axis, which are independent in the
        loss, but not below it.
        """
        shape = self.prediction.shape
        if self.rule("sqrt_hessian") is None or not shape or not shape[0]:
            return rows
        entries = backend.namespace(self.arrived).arange(shape[0])

        def mask(some: slice) -> Array:
            alone = entries[some, None] == entries
            return alone.reshape(len(alone), shape[0], *(1,) * len(shape[1:]))

        return at_places(rows, shape[0], mask)

    @cached_property
    def leaf_hessian(self) -> Array | None:
        """`[*p]`, the Hessian of a penalty on a parameter itself, if that is known as a diagonal.

        Of P elements there would be P rows of P. It stands for sampled rows, too, which are the
        same in expectation.
        """
        rule = self.rule("diagonal_hessian")
        if rule is None or self.of_samples or not self.prediction.op.leaf:
            return None
        weight = self.weight
        hessian = rule(self.view, weight)
        if backend.of(hessian).asynchronous:
            hessian = np.where(weight < 0, np.nan, hessian)
        return hessian

    @property
    def is_of_outputs(self) -> bool:
        """Whether it judges what a model gives, and is no penalty on parameters."""
        batch, prediction = self.record.batch, self.prediction
        return not prediction.op.leaf and not (batch.marked and batch.axis(prediction) is None)

    def identity(self) -> SeedRows:
        """`[C, *prediction]`: row c is one at element c of every sample, and zero elsewhere.

        Without an axis of samples there is a row for each element.
        """
        arrived = self.arrived._value if isinstance(self.arrived, Tensor) else self.arrived
        return identity_rows(self.prediction.shape, self.axis if self.has_axis else None, arrived)

    # -- square roots -------------------------------------------------------------------------

    def root(self, *rules: str) -> SeedRows:
        """`[C, *prediction]`: exact, by the first of these rules that there is, or the record."""
        rows = of_stack(sqrt_hessian_of_record(self)) if not any(map(self.rule, rules)) else None
        for name in rules:
            if rows is None and self.rule(name) is not None:
                rows = of_rule(self.node.op, name, self.view, self.weight)
        assert rows is not None
        if not self.at_loss:
            return rows
        return one_position_each(rows, self.prediction.shape, self.axis)

    def root_of_entries(self) -> SeedRows | None:
        """The same, each row of one entry of a sample; None where there is a `leaf_hessian`."""
        if self.leaf_hessian is not None:
            return None
        return self.root("short_sqrt_hessian", "sqrt_hessian")

    def sqrt_hessian_sampled(self, samples: int, rng: Generator | None) -> Stack:
        """`[M, *prediction]`: in expectation, from targets sampled from the likelihood."""
        rule = self.rule("sqrt_hessian_sampled")
        if rule is None:
            raise QuantityError(
                f"{self.wanted_by} samples targets from the model's likelihood, and "
                f"{self.node.op.name if self.at_loss else 'a loss in plain code'} has none: use "
                f"the exact quantity"
            )
        return rule(self.view, self.weight, samples, rng or generator(self.arrived))

    def sqrt_empirical(self) -> Stack:
        """`[1, *prediction]`: the gradient of each sample's loss times the root of its weight."""
        if not self.at_loss:
            raise QuantityError(
                f"{self.wanted_by} needs registered losses, whose weights are known: use a loss "
                f"such as mse_loss"
            )
        root = np.sqrt(self.weight)[None]
        return entry_value(cotangents_of(self.view, self.node, root)[0])
