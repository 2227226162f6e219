"""What each sample brings to the value of an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracer.arrays.types import Array, Stack
from tracer.record.axes import SAMPLED, position_of
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.sweep.bending import is_linear, wanted


class Cuts(NamedTuple):
    """Values `[.., N, ..]` of samples that an objective is linear in, and the nodes `above` them."""

    values: dict[Node, Array]
    above: list[Node]


def valued(nodes: Sequence[Node], batch: Batch) -> Cuts | None:
    """The uppermost tensors of samples whose values are at hand; None where there are none.

    What the last of `nodes` is of is linear down to them. Terms of no sample are left out.
    """
    reached, values, above = {nodes[-1]}, {}, []
    for node in reversed(nodes):
        if node not in reached:
            continue
        axis = batch.axis(node)
        if axis is None:
            continue  # of parameters alone
        if isinstance(axis, SAMPLED):
            if node.shape[axis] != batch.size:
                return None
            if (value := _value(node)) is not None:
                values[node] = value
                continue
        slots = wanted(node)
        if node.op.leaf or not is_linear(node, slots):
            return None
        above.append(node)
        reached.update(parent for slot in slots if (parent := node.parents[slot]) is not None)
    return Cuts(values, above[::-1])


def sample_losses(cuts: Cuts, arrived: Mapping[Node, Stack], batch: Batch) -> Array | None:
    """`[N]`: the samples' shares of the objective, from the gradient at its cuts.

    They sum to its value, less what is of no sample.
    """
    total: Any = None
    for node, value in cuts.values.items():
        along = position_of(batch.axis(node))
        share = np.moveaxis(arrived[node][0] * value, along, 0)
        share = share.reshape(len(share), -1).sum(1)
        total = share if total is None else total + share
    return total


def _value(node: Node) -> Array | None:
    """The array that a node stands for, from what is saved of it."""
    if node.output is not None:
        return node.output
    if node.op.leaf or node.op.composite or any(x is None for x in node.inputs):
        return None
    return node.op.forward(*node.inputs, **node.params)
