"""Where the samples are: the batch axis of every tensor, followed forward through a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracer.errors import BatchError
from tracer.operation import INPUT, POOLED, UNKNOWN, MergedAxis
from tracer.tape import Node


@dataclass
class Batch:
    """What is known of the samples in a record.

    `axes` maps recorded nodes to their axis (see `tracer.operation.Axis`); `size` is the number of
    samples or None, `marked` whether an input says so; `lost` the nodes through which the axis
    could not be followed, `coupled` those in which something that depends on several samples meets
    a batched tensor or, but in a sum, an unbatched one: no sample has a gradient of its own there.
    `given` maps (node, slot) to the axis of samples of a constant that has one, though no mark.
    """

    axes: dict[Node, Any] = field(default_factory=dict)
    size: int | None = None
    marked: bool = False
    lost: list[Node] = field(default_factory=list)
    coupled: list[Node] = field(default_factory=list)
    given: dict[tuple[Node, int], int] = field(default_factory=dict)

    def axis(self, node: Node | None) -> Any:
        """The axis of the samples in a node's output; None for constants and parameters."""
        if node is None:
            return None
        return node.params["axis"] if node.op is INPUT else self.axes.get(node)

    def axes_of(self, node: Node) -> list[Any]:
        """The axes of the samples in a node's inputs."""
        axes = [self.axis(parent) for parent in node.parents]
        if self.given:
            axes = [self.given.get((node, i), axis) for i, axis in enumerate(axes)]
        return axes


def samples_of(axis: int, size: int) -> np.ndarray:
    """The sample of each of the `size` entries of an axis."""
    return axis.samples(size) if isinstance(axis, MergedAxis) else np.arange(size)


def follow(nodes: Sequence[Node]) -> Batch:
    """Follow the batch axis through `nodes`, in the order of recording.

    A constant may have an axis of samples that nobody marked, as the zeros `[N, H]` do that a loop
    over time starts from. That shows where what becomes of it meets a batched tensor: it is then
    followed from the constant on, and each sample has its own.
    """
    given: dict[tuple[Node, int], int] = {}
    while True:
        batch = _follow(nodes, given)
        known = len(given)
        for node in nodes:
            axis = batch.axes.get(node)
            if isinstance(axis, MergedAxis) or node.op.loss:
                continue
            if isinstance(axis, int):
                _give_constants(batch, node, axis)
        if len(given) == known:
            return batch


def _give_constants(batch: Batch, node: Node, axis: int) -> None:
    """Note the constants with an axis of samples behind unbatched inputs of a batched operation."""
    between = [
        (slot, parent) for slot, parent in enumerate(node.parents)
        if parent is not None and parent.parents and parent.wants and batch.axis(parent) is None
    ]  # fmt: skip
    if not between:
        return
    axes = batch.axes_of(node)
    for slot, parent in between:
        for own, size in enumerate(parent.shape):
            aligned = [own if i == slot else a for i, a in enumerate(axes)]
            if size == batch.size and node.op.batch_axis(node, aligned) == axis:
                batch.given.update(_constants(batch, parent, own, depth=100))


def _constants(batch: Batch, node: Node, axis: int, depth: int) -> dict[tuple[Node, int], int]:
    """The constant that gives an unbatched `node` its `axis` of samples; empty if none does."""
    if node.op.batch_axis is None or not depth:
        return {}
    axes = batch.axes_of(node)
    for slot, parent in enumerate(node.parents):
        if axes[slot] is not None:
            continue
        for own, size in enumerate(node.input_shape(slot)):
            aligned = [own if i == slot else a for i, a in enumerate(axes)]
            if size != batch.size or node.op.batch_axis(node, aligned) != axis:
                continue
            if parent is None:
                return {(node, slot): own}
            if parent.parents and (found := _constants(batch, parent, own, depth - 1)):
                return found
    return {}


def _follow(nodes: Sequence[Node], given: dict[tuple[Node, int], int]) -> Batch:
    batch = Batch(given=given)
    origins: dict[Node, Node] = {}
    for node in nodes:
        op = node.op
        axes = batch.axes_of(node)
        for parent in node.parents:
            if parent is not None and parent.op is INPUT:
                _size(batch, parent, parent.params["axis"])
        known = any(isinstance(axis, int) for axis in axes)
        if op.name == "batch" or (op.loss and (known or UNKNOWN in axes)):
            axis = _merged(batch, node, axes, op.batch_axis(node, axes))
            _size(batch, node, axis)
        elif UNKNOWN in axes:
            axis = UNKNOWN
        elif not known:
            axis = POOLED if POOLED in axes else None
            if axis is POOLED and not op.linear and _wants(node, axes, None):
                batch.coupled.append(node)
        else:
            axis = op.batch_axis(node, axes) if op.batch_axis is not None else UNKNOWN
            if axis is UNKNOWN and op.composite:  # what it stands for may know more
                batch.lost.append(node)
                return batch
            axis = _merged(batch, node, axes, axis)
            if POOLED in axes and isinstance(axis, int) and _wants(node, axes, POOLED):
                batch.coupled.append(node)
        if axis is UNKNOWN:
            origins[node] = next((origins[p] for p in node.parents if p in origins), node)
            if node.wants and origins[node] not in batch.lost:
                batch.lost.append(origins[node])
        batch.axes[node] = axis
    return batch


def _merged(batch: Batch, node: Node, axes: list[Any], axis: Any) -> Any:
    """The axis that a rule gave, merged as the inputs' is where all its entries are left."""
    if type(axis) is not int or MergedAxis not in map(type, axes):
        return axis
    found = {(a.outer, a.inner) if isinstance(a, MergedAxis) else None
             for a in axes if isinstance(a, int)}  # fmt: skip
    if found <= {None} or node.shape[axis] == batch.size:
        return axis
    return UNKNOWN if len(found) > 1 else MergedAxis(axis, *found.pop())  # type: ignore[misc]


def _wants(node: Node, axes: list[Any], kind: Any) -> bool:
    """Whether a gradient flows to an input whose axis of samples is of this kind."""
    return any(
        axis is kind and parent is not None and parent.wants
        for axis, parent in zip(axes, node.parents, strict=True)
    )


def _size(batch: Batch, node: Node, axis: Any) -> None:
    if not isinstance(axis, int) or axis >= len(node.shape) or isinstance(axis, MergedAxis):
        return
    size = node.shape[axis]
    if batch.size is None:
        batch.size, batch.marked = size, True
    elif batch.size != size:
        raise BatchError(
            f"one batch has {batch.size} samples and another ({node.label}) has {size} along axis "
            f"{axis}: mark with tracer.batch only axes of the same samples"
        )
