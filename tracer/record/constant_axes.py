"""Constants with an axis of samples that nobody marked, as the state that a loop starts from."""

from __future__ import annotations

from tracer.record.axes import SAMPLED, Axis, SampleAxis, at_position, position_of
from tracer.record.axis_rules import Given, through
from tracer.record.batching import Batch
from tracer.record.node import Node


def give_constants(batch: Batch, node: Node, axis: SampleAxis) -> None:
    """Note the constants with an axis of samples behind unbatched inputs of a batched operation.

    That an axis is as long as there are samples is not enough: it has to lie where the operation
    looks for these, so that its entries and the samples meet one to one.
    """
    between = [
        (slot, parent) for slot, parent in enumerate(node.parents)
        if parent is not None and parent.parents and parent.wants and batch.axis(parent) is None
    ]  # fmt: skip
    if not between:
        return
    axes = batch.axes_of(node)
    for slot, parent in between:
        for own, size in enumerate(parent.shape):
            if size == node.shape[axis] and _lands(node, axes, slot, own, axis):
                found = _constants(batch, parent, at_position(axis, own), size, depth=100)
                batch.given.update(found)


def _constants(batch: Batch, node: Node, axis: SampleAxis, length: int, depth: int) -> Given:
    """What gives an unbatched `node` its `axis` of samples, a constant or a broadcast, if any."""
    if node.op.spreads:
        shape = node.input_shape(0)
        before = position_of(axis) + len(shape) - len(node.shape)
        if before < 0 or shape[before] != node.shape[axis]:
            return {(node, None): axis}
    if node.op.batch_axis is None or not depth:
        return {}
    axes = batch.axes_of(node)
    for slot, parent in enumerate(node.parents):
        if axes[slot] is not None:
            continue
        for own, size in enumerate(node.input_shape(slot)):
            if size != length or not _lands(node, axes, slot, own, axis):
                continue
            if parent is None:
                return {(node, slot): at_position(axis, own)}
            if parent.parents:
                found = _constants(batch, parent, at_position(axis, own), length, depth - 1)
                if found:
                    return found
    return {}


def _lands(node: Node, axes: list[Axis], slot: int, own: int, axis: SampleAxis) -> bool:
    """Whether the axis `own` of an input becomes that of the samples, where others have `axes`."""
    found = through(node, [own if i == slot else a for i, a in enumerate(axes)])
    return isinstance(found, SAMPLED) and position_of(found) == position_of(axis)
