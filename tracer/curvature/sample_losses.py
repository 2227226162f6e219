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
    """Values of samples that an objective is linear in, and the nodes `above` them."""

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


class SampleLosses(NamedTuple):
    """`shares [N]`, what each sample brings to an objective; they sum to it, less penalties.

    `sums`, a boolean array without axes, says that a loss enters with the weight 1, as where losses
    are summed and not averaged.
    """

    shares: Array
    sums: Array


def sample_losses(cuts: Cuts, arrived: Mapping[Node, Stack], batch: Batch) -> SampleLosses | None:
    """From the gradient `arrived` at the cuts of an objective."""
    found: Any = None
    for node, value in cuts.values.items():
        weight = arrived[node][0]
        share = np.moveaxis(weight * value, position_of(batch.axis(node)), 0)
        share, ones = share.sum(tuple(range(1, share.ndim))), (weight == 1).any()
        found = (share, ones) if found is None else (found[0] + share, found[1] | ones)
    return None if found is None else SampleLosses(*found)


def _value(node: Node) -> Array | None:
    """The array that a node stands for, from what is saved of it."""
    if node.output is not None:
        return node.output
    if node.op.leaf or node.op.composite or any(x is None for x in node.inputs):
        return None
    return node.op.forward(*node.inputs, **node.params)
