"""Gradients by themselves: one row through one sweep, and nothing that is asked of samples.

What training asks for at every step. `tracer.curvature.backward` gives the same beside other
quantities, with three times the bookkeeping.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.arrays.types import Stack
from tracer.cotangents import Dense
from tracer.curvature.quantity import Context
from tracer.curvature.request import Request
from tracer.curvature.results import Results, collected_results
from tracer.curvature.values import raw_value
from tracer.errors import QuantityError
from tracer.record.node import Node
from tracer.record.replay import replay
from tracer.sweep.sweep import Sweep


def gradients(request: Request) -> Results:
    """The results of one sweep from the loss, of a request for `gradients_alone`."""
    objective, names, undefined = request.objective, request.objective.names, request.undefined
    record, nodes, loss = objective.record, objective.nodes, objective.loss
    swept, quantities = record.swept, tuple(request.asked.values())
    record.snapshots.check(nodes, swept or record.recomputed is not None, names)
    if swept:
        replay(nodes, {}, ())
    for quantity in quantities:
        quantity.begin(objective)
    record.releases += 1  # from now on, since a sweep may raise before its end
    found: dict[str, dict[str, Any]] = {name: {} for name in request.asked}
    reached = set()

    def complete(leaf: Node, _: Any, stack: Stack) -> None:
        name = names.get(leaf)
        if name is None:
            return
        reached.add(leaf)
        cotangent, context = Dense(stack[:, None]), Context(name, leaf.shape, leaf.dtype, None)
        for quantity in quantities:
            try:
                value = quantity.finish(quantity.extract(cotangent, context), context)
            except QuantityError as error:
                undefined.add(quantity, leaf, error)
                continue
            if type(value) is not np.ndarray or value.dtype != leaf.dtype:
                value = raw_value(value, leaf.dtype)
            found[quantity.name][name] = value

    Sweep(
        nodes,
        {loss: objective.unit_cotangent()},
        release=True,
        complete=complete,
        first_uses=objective.first_uses,
        watched=objective.watched,
        recomputed=record.recomputed,
    ).run()
    for leaf in names.keys() - reached:
        complete(leaf, (), np.zeros_like(objective.value, dtype=leaf.dtype, shape=(1, *leaf.shape)))
    return collected_results(request, found, {})
