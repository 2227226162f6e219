"""Gradients by themselves: one row through one sweep, and nothing that is asked of samples.

What training asks for at every step. `tracer.curvature.backward` gives the same beside other
quantities, with three times the bookkeeping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracer.arrays.ownership import unaliased
from tracer.arrays.types import Stack
from tracer.cotangents import Cotangent, Dense
from tracer.curvature.objective import Objective, unit_row
from tracer.curvature.quantity import Context, Quantity, Value
from tracer.curvature.request import UNFOLLOWED, Options, observed
from tracer.curvature.results import Results
from tracer.curvature.rows import gradient
from tracer.curvature.undefined import Undefined
from tracer.curvature.values import Values, raw_value
from tracer.errors import QuantityError
from tracer.record.names import first_uses, parameter_names
from tracer.record.node import Node
from tracer.record.recorder import Recorder, owner
from tracer.record.replay import replay
from tracer.record.tensor import Tensor
from tracer.sweep.sweep import Sweep


def are_gradients(asked: Mapping[str, Quantity], options: Options) -> bool:
    """Whether gradients are all that is asked for, without options that a sweep would follow."""
    if options.reduce or options.progress or options.rng is not None:
        return False
    if options.samples is not None or options.outputs is not None:
        return False
    if options.memory_budget is not None or options.parameters is not None:
        return False
    for quantity in asked.values():
        if quantity.rows is not gradient or quantity.needs_samples or quantity.per != "parameter":
            return False
    return True


class Gradients:
    """The quantities `asked` for, by name, where these `are_gradients`, of a loss with these nodes.

    `watched` sees the gradient at each node, `undefined` takes what has to be left out, and
    `remarks` what the user is to be warned of.
    """

    def __init__(
        self,
        tape: Recorder,
        loss: Tensor,
        nodes: list[Node],
        asked: Mapping[str, Quantity],
        options: Options,
    ):
        self.record, self.loss, self.nodes, self.asked = owner(tape), loss, nodes, asked
        self.uses = first_uses(nodes)
        self.names = parameter_names(tape, self.uses, loss.node)
        self.undefined = Undefined(options.undefined, self.names, self.names, nodes)
        self.watched = None
        if (tape.watched is not None or tape.keeps_cotangents) and "grad" in asked:
            self.watched = observed(tape, loss)
        self.remarks: list[str] = []
        self._reached: set[Node] = set()
        self._found: dict[str, dict[Node, Value]] = {name: {} for name in asked}

    def swept(self) -> Results:
        """The results of one sweep from the loss."""
        record, nodes, value = self.record, self.nodes, self.loss._value
        swept = record.releases > 0
        record.snapshots.check(nodes, swept or record.recomputed is not None, self.names)
        if swept:
            replay(nodes, {}, ())
        self._begin()
        record.releases += 1  # from now on, since a sweep may raise before its end
        Sweep(
            nodes,
            {self.loss.node: unit_row(self.loss.node, value)},
            release=True,
            complete=self._take,
            first_uses=self.uses,
            watched=self.watched,
            recomputed=record.recomputed,
        ).run()
        for leaf in self.names.keys() - self._reached:
            self._take(leaf, (), np.zeros_like(value, dtype=leaf.dtype, shape=(1, *leaf.shape)))
        if self.undefined.errors:
            self.undefined.check()
        return self._results()

    def _begin(self) -> None:
        """Tell the quantities that want to know which objective it is."""
        for quantity in self.asked.values():
            if getattr(quantity.begin, "__func__", None) is not Quantity.begin:
                of = self.record, self.nodes, self.loss.node, self.loss._value, self.names
                objective = Objective(*of, UNFOLLOWED, self.uses, remarks=self.remarks)
                quantity.begin(objective)

    def _take(self, leaf: Node, _: Sequence[Cotangent], stack: Stack) -> None:
        """Take in the stack that has come to a parameter."""
        name = self.names.get(leaf)
        if name is None:
            return
        self._reached.add(leaf)
        cotangent, context = Dense(stack[:, None]), Context(name, leaf.shape, leaf.dtype, None)
        for quantity in self.asked.values():
            try:
                value = quantity.finish(quantity.extract(cotangent, context), context)
            except QuantityError as error:
                self.undefined.add(quantity, leaf, error)
                continue
            if type(value) is not np.ndarray or value.dtype != leaf.dtype:
                value = raw_value(value, leaf.dtype)
            self._found[quantity.name][leaf] = value

    def _results(self) -> Results:
        """The values, in the order of the parameters, as arrays of the caller's own."""
        results, names = Results(), self.names
        for quantity, found in self._found.items():
            own = {
                name: unaliased([found.pop(leaf)]) for leaf, name in names.items() if leaf in found
            }
            absent = self.undefined.absent(quantity) if self.undefined.errors else None
            results[quantity] = Values(names, own, absent)
        return results
