"""What each sample brings to the value of an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracer.arrays.types import Array, Stack
from tracer.errors import UndefinedError
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


class Weights(NamedTuple):
    """How losses of samples that no mean is taken of enter an objective.

    Booleans without axes: whether all enter with the weight 1, as where they are summed, and with 1
    over their number, or that of the samples, as where somebody divides their sum by it.
    """

    are_one: Array | np.bool_
    are_shares: Array | np.bool_


class SampleLosses(NamedTuple):
    """`shares [N]`, what each sample brings to an objective; they sum to it, less penalties.

    `averaged` says that there are losses of which the record has a mean over samples, and `summed`
    are the weights of the others.
    """

    shares: Array
    averaged: bool
    summed: list[Weights]

    @property
    def sums(self) -> bool:
        """Whether the objective is a sum over samples, and no mean, by what is recorded.

        Raises `UndefinedError` where that cannot be told, as of `0.5 * losses.sum()`: that the sum
        of four losses is multiplied by 0.5 does not say by how much that of eight would be.
        """
        if len(self.shares) == 1:
            return False  # it is both
        means = [bool(weights.are_shares) for weights in self.summed] + [True] * self.averaged
        sums = [bool(weights.are_one) for weights in self.summed] + [False] * self.averaged
        if all(means) or all(sums):
            return not all(means)
        raise UndefinedError(
            "the losses of samples are summed with weights, and the record does not show whether "
            "the objective is their mean: say so by mean=True or mean=False"
        )


def sample_losses(cuts: Cuts, arrived: Mapping[Node, Stack], batch: Batch) -> SampleLosses | None:
    """From the gradient `arrived` at the cuts of an objective."""
    shares: Any = None
    averaged, summed = False, []
    ways = _ways(cuts, batch)
    for node, value in cuts.values.items():
        weight, axis = arrived[node][0], batch.axis(node)
        share = np.moveaxis(weight * value, position_of(axis), 0)
        share = share.sum(tuple(range(1, share.ndim)))
        shares = share if shares is None else shares + share
        averaged |= True in ways[node]
        if False in ways[node]:
            summed.append(_weights(weight, len(share)))
    return None if shares is None else SampleLosses(shares, averaged, summed)


def _ways(cuts: Cuts, batch: Batch) -> dict[Node, set[bool]]:
    """Whether a mean over samples is taken of each cut, on each way down to it."""
    found: dict[Node, set[bool]] = {}
    for node in reversed(cuts.above):
        ways = found.setdefault(node, {False})
        for parent in node.parents:
            if parent is not None:
                takes = node.op.name == "mean" and isinstance(batch.axis(parent), SAMPLED)
                takes = takes and not isinstance(batch.axis(node), SAMPLED)
                found.setdefault(parent, set()).update(way or takes for way in ways)
    return {node: found.get(node, {False}) for node in cuts.values}


def _weights(weight: Array, samples: int) -> Weights:
    """What all the weights of a cut are."""
    least = 64 * float(np.finfo(weight.dtype).eps)
    shares = [(abs(weight * count - 1) <= least).all() for count in {samples, weight.size}]
    return Weights((weight == 1).all(), shares[0] | shares[-1])


def _value(node: Node) -> Array | None:
    """The array that a node stands for, from what is saved of it."""
    if node.output is not None:
        return node.output
    if node.op.leaf or node.op.composite or any(x is None for x in node.inputs):
        return None
    return node.op.forward(*node.inputs, **node.params)
