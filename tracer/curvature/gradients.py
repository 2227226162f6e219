"""Gradients by themselves: one row through one sweep, and nothing that is asked of samples.

What training asks for at every step. `tracer.curvature.backward` gives the same beside other
quantities, with three times the bookkeeping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import working
from tracer.arrays.ownership import own
from tracer.cotangents import Cotangent, Dense
from tracer.curvature.quantity import Context, Quantity
from tracer.curvature.results import Results
from tracer.curvature.rows import gradient
from tracer.curvature.seed_rows import unit_cotangent
from tracer.curvature.undefined import Undefined
from tracer.curvature.values import Values
from tracer.errors import QuantityError
from tracer.record.names import Names
from tracer.record.node import Node
from tracer.record.recorder import Recorder
from tracer.record.replay import replay
from tracer.record.tensor import Tensor
from tracer.sweep.sweep import Sweep


def are_all(asked: Mapping[str, Quantity]) -> bool:
    """Whether nothing else is asked for."""
    return all(q.rows is gradient and not q.needs_samples for q in asked.values())


def gradients(
    record: Recorder,
    nodes: list[Node],
    loss: Tensor,
    names: Names,
    first_uses: Mapping[Node, Node],
    asked: Mapping[str, Quantity],
    undefined: Undefined,
    watched: dict[Any, Any] | None,
) -> Results:
    """The results of a sweep from `loss`, whose record is `nodes` of the tape `record`."""
    record.snapshots.check(nodes, replayed=record.swept)
    if record.swept:
        replay(nodes, {}, ())
    record.releases += 1  # from now on, since a sweep may raise before its end
    found: list[tuple[Quantity, dict[str, Any]]] = [(quantity, {}) for quantity in asked.values()]
    reached = set()

    def take(leaf: Node, cotangent: Cotangent) -> None:
        name, dtype = names[leaf], leaf.dtype
        context = Context(name, leaf.shape, dtype, None)
        for quantity, values in found:
            try:
                value = quantity.finish(quantity.extract(cotangent, context), context)
                values[name] = raw_value(value, dtype)
            except QuantityError as error:
                undefined.add(quantity, leaf, error)

    def complete(leaf: Node, _: Any, stack: Any) -> None:
        if leaf in names:
            reached.add(leaf)
            take(leaf, Dense(stack[:, None]))

    row = unit_cotangent(loss.node, loss._value, working(loss.node.dtype))
    Sweep(
        nodes,
        {loss.node: row},
        release=True,
        complete=complete,
        first_uses=first_uses,
        watched=watched,
    ).run()
    for leaf in names.keys() - reached:
        zeros = np.zeros_like(loss._value, dtype=leaf.dtype, shape=(1, 1, *leaf.shape))
        take(leaf, Dense(zeros))
    undefined.check()
    results = Results()
    for quantity, values in found:
        ordered = {name: own([values.pop(name)]) for name in names.values() if name in values}
        results[quantity.name] = Values(undefined.every, ordered, undefined.absent(quantity.name))
    return results


def raw_value(value: Any, dtype: Any) -> Any:
    """Arrays of the parameter's dtype without history; other objects as they are."""
    if type(value) is np.ndarray and value.dtype == dtype:
        return value
    if isinstance(value, Tensor):
        return raw_value(value._value, dtype)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if backend.is_array(value) and value.dtype != dtype and value.dtype.kind == "f":
        return value.astype(dtype)
    return value
