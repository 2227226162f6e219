"""Gradients by themselves: one row through one sweep, and nothing that is asked of samples.

What training asks for at every step. `tracer.curvature.backward` gives the same beside other
quantities, with three times the bookkeeping.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.arrays.types import Stack
from tracer.cotangents import Cotangent, Dense
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
    swept = record.swept
    record.snapshots.check(nodes, swept or record.recomputed is not None, names)
    if swept:
        replay(nodes, {}, ())
    for quantity in request.asked.values():
        quantity.begin(objective)
    record.releases += 1  # from now on, since a sweep may raise before its end
    found: dict[str, dict[str, Any]] = {name: {} for name in request.asked}
    reached = set()

    def take(leaf: Node, cotangent: Cotangent) -> None:
        name, dtype = names[leaf], leaf.dtype
        context = Context(name, leaf.shape, dtype, None)
        for quantity in request.asked.values():
            try:
                value = quantity.finish(quantity.extract(cotangent, context), context)
                found[quantity.name][name] = raw_value(value, dtype)
            except QuantityError as error:
                undefined.add(quantity, leaf, error)

    def complete(leaf: Node, _: Any, stack: Stack) -> None:
        if leaf in names:
            reached.add(leaf)
            take(leaf, Dense(stack[:, None]))

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
        zeros = np.zeros_like(objective.value, dtype=leaf.dtype, shape=(1, 1, *leaf.shape))
        take(leaf, Dense(zeros))
    return collected_results(request, found, {})
