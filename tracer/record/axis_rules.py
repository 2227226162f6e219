"""Where the samples are in what an operation gives, from where they are in its inputs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeAlias

from tracer.errors import BatchError
from tracer.record.axes import (
    POOLED,
    SAMPLED,
    UNKNOWN,
    Axis,
    GroupedAxis,
    MergedAxis,
    OfOne,
    SampleAxis,
    Sentinel,
    at_position,
    position_of,
    ungrouped,
)
from tracer.record.moved_samples import Unfilled, of_moved, only_places_unknown
from tracer.record.node import Node

#: the axes of samples of constants, by (node, slot); of what was broadcast, by (node, None)
Given: TypeAlias = dict[tuple[Node, int | None], SampleAxis]


class Batch(Protocol):
    """What is known of the samples in a record; see `tracer.record.batching`."""

    size: int | None
    sizes: list[int]
    given: Given
    assumed: dict[Node, int]
    unfilled: Unfilled

    @property
    def several(self) -> bool: ...

    def numbered(self, axis: Axis, node: Node) -> Axis: ...


#: of an operation in whose entries different samples meet
MIXED = Sentinel("MIXED")


def through(node: Node, axes: Sequence[Axis]) -> Axis:
    """The axis that an operation's rule gives, from those of its inputs."""
    op = node.op
    if op.batch_axis is None:
        return UNKNOWN
    return op.batch_axis(node, axes if op.grouped_axes else ungrouped(axes))


def output_axis(batch: Batch, node: Node, axes: list[Axis]) -> Axis:
    """The axis of the samples in a node's output, or `MIXED`."""
    op = node.op
    if op.name == "batch":
        return _marked(batch, node, axes[0])
    known = any(isinstance(axis, SAMPLED) for axis in axes)
    if op.loss and not isinstance(axes[0], OfOne) and (known or UNKNOWN in axes):
        return _of_loss(batch, node, axes)
    if UNKNOWN in axes:
        followed = only_places_unknown(node, axes, batch.unfilled)
        return _of_moved(batch, node, axes) if followed else UNKNOWN
    singles = {axis for axis in axes if isinstance(axis, OfOne)}
    if singles:
        return _of_singles(batch, node, axes, singles)
    if not known:
        return POOLED if POOLED in axes else batch.given.get((node, None))
    axis = through(node, axes)
    if axis is UNKNOWN:
        return _of_moved(batch, node, axes) if op.moves else UNKNOWN
    return _regrouped(batch, node, axes, axis)


def _marked(batch: Batch, node: Node, axis: Axis) -> Axis:
    """The axis that a tensor is marked with, where it is not known already."""
    own = node.params["axis"]
    size = node.shape[own]
    if isinstance(axis, SAMPLED) and position_of(axis) == own:
        return axis
    if (isinstance(axis, SAMPLED) or axis in (POOLED, UNKNOWN)) and size not in batch.sizes:
        raise BatchError(
            f"one batch has {' and '.join(map(str, batch.sizes))} samples and another (batch, "
            f"{node.source or 'unknown line'}) has {size} along axis {own}, though it is made of "
            f"the same samples: mark with tracer.batch only axes of the same samples"
        )
    return batch.numbered(own, node)


def _of_loss(batch: Batch, node: Node, axes: list[Axis]) -> Axis:
    """Where the samples are in the unreduced losses.

    Losses take their prediction's first axis for that of the samples. That is believed of as many
    as there are, and checked when rows of single samples come to where they are known again.
    """
    axis, shape = axes[0], node.input_shape(0)
    if axis is UNKNOWN:
        prediction = node.parents[0]
        if prediction is None or not shape or batch.several or shape[0] != batch.size:
            return UNKNOWN
        batch.assumed[prediction] = 0
        return through(node, [0, *axes[1:]])
    if isinstance(axis, SAMPLED):
        return _regrouped(batch, node, axes, through(node, axes))
    for slot, other in enumerate(axes):
        if isinstance(other, SAMPLED) and node.input_shape(slot) == node.shape:
            return other
        if isinstance(other, SAMPLED) and node.input_shape(slot) == shape:
            found = through(node, [other, *axes[1:]])
            return at_position(other, found) if isinstance(found, int) else found
    return UNKNOWN


def _regrouped(batch: Batch, node: Node, axes: list[Axis], axis: Axis) -> Axis:
    """The axis that a rule gave, with the inputs' entries where these are left as they are.

    Inputs that want a gradient decide; others are constants, whatever samples they come from.
    """
    if not isinstance(axis, int):
        return axis
    size = node.shape[axis]
    if [a for a in axes if isinstance(a, GroupedAxis)]:
        slots = [i for i, a in enumerate(axes) if isinstance(a, SAMPLED)]
        wanting = [i for i in slots if (p := node.parents[i]) is not None and p.wants]
        groupings = {_grouping(axes[i]): i for i in wanting or slots}
        if len(groupings) > 1:
            if node.op.moves is not None:
                return _of_moved(batch, node, axes)
            return MIXED if wanting else UNKNOWN
        (slot,) = groupings.values()
        found = axes[slot]
        if isinstance(found, GroupedAxis):
            if size == node.input_shape(slot)[found]:
                return found.moved(axis)
            return axis if isinstance(found, MergedAxis) and size == batch.size else UNKNOWN
    if size == batch.size:
        return axis
    return MergedAxis(axis, 1, size) if batch.size == 1 else UNKNOWN


def _of_singles(batch: Batch, node: Node, axes: list[Axis], singles: set[OfOne]) -> Axis:
    """The axis of what is made of tensors that are each of one sample."""
    others = any(axis is POOLED or isinstance(axis, SAMPLED) for axis in axes)
    if len(singles) == 1 and not others:
        return next(iter(singles))
    if node.op.moves is not None and POOLED not in axes:
        return _of_moved(batch, node, axes)
    if node.op.linear and not any(isinstance(axis, SAMPLED) for axis in axes):
        return POOLED
    return MIXED if any(wants_by(node, axes, axis) for axis in singles) else UNKNOWN


def _of_moved(batch: Batch, node: Node, axes: list[Axis]) -> Axis:
    assert batch.size is not None
    return of_moved(node, axes, batch.size, batch.unfilled)


def _grouping(axis: Axis) -> Hashable:
    return axis.grouping() if isinstance(axis, GroupedAxis) else None


def wants_by(node: Node, axes: list[Axis], kind: Axis) -> bool:
    """Whether a gradient flows to an input whose axis of samples is of this kind."""
    return any(
        axis is kind and parent is not None and parent.wants
        for axis, parent in zip(axes, node.parents, strict=True)
    )
