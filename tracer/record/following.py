"""The axis of the samples, followed forward from tensor to tensor through a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracer.record.axes import POOLED, SAMPLED, UNKNOWN, Axis, MergedAxis, OfOne
from tracer.record.axis_rules import MIXED, Given, output_axis, wants_by
from tracer.record.batching import Batch
from tracer.record.constant_axes import give_constants
from tracer.record.node import Node


def follow(nodes: Sequence[Node]) -> Batch:
    """Follow the batch axis through `nodes`, in the order of recording.

    A constant may have an axis of samples that nobody marked, as the zeros `[N, H]` do that a loop
    over time starts from. That shows where what becomes of it meets a batched tensor: it is then
    followed from the constant on, and each sample has its own.
    """
    given: Given = {}
    sizes: list[int] = []
    while True:
        batch = _follow(nodes, given, sizes)
        if batch.several and batch.sizes != sizes:  # now that all are known, they have numbers
            given, sizes = {}, batch.sizes
            continue
        sizes = batch.sizes
        known = len(given)
        for node in nodes:
            axis = batch.axes.get(node)
            if isinstance(axis, MergedAxis) or node.op.loss:
                continue
            if isinstance(axis, SAMPLED):
                give_constants(batch, node, axis)
        if len(given) == known:
            return _of_only_one(nodes, batch) if batch.sizes == [1] else batch


def _of_only_one(nodes: Sequence[Node], batch: Batch) -> Batch:
    """The same where one sample has no share by its axis alone, though nothing else is coupled.

    All that depends on samples is then of this one, as where a loop takes samples one by one.
    """
    if batch.lost or batch.mixing:
        return batch
    if not batch.coupled and next(contracted(nodes, batch), None) is None:
        return batch
    axes = {
        node: axis if axis is None or isinstance(axis, SAMPLED) else OfOne(0)
        for node, axis in batch.axes.items()
    }
    return Batch(
        axes,
        batch.size,
        batch.marked,
        given=batch.given,
        sizes=batch.sizes,
        singly=True,
        sums_of_one={node for node, axis in batch.axes.items() if axis is POOLED},
    )


def contracted(nodes: Sequence[Node], batch: Batch) -> Iterator[tuple[Node, Node]]:
    """Operations that sum over the samples in a product with what is of none and wants a gradient.

    With them, the latter.
    """
    for node in nodes:
        if batch.axes.get(node) is not POOLED or not node.wants:
            continue
        axes = batch.axes_of(node)
        if not any(isinstance(axis, SAMPLED) for axis in axes):
            continue
        for parent, axis in zip(node.parents, axes, strict=True):
            if axis is None and parent is not None and parent.wants:
                yield node, parent


def _follow(nodes: Sequence[Node], given: Given, sizes: list[int]) -> Batch:
    batch = Batch(given=given)
    for size in sizes:
        batch.meet(size)
    origins: dict[Node, Node] = {}
    for node in nodes:
        op = node.op
        axes = batch.axes_of(node)
        axis = output_axis(batch, node, axes)
        if POOLED in axes and _couples(batch, node, axes, axis):
            batch.coupled.append(node)
        if axis is POOLED:
            batch.pooled[node] = _pooled_by(batch, node, axes)
        elif axis is MIXED:
            batch.coupled.append(node)
            batch.mixing.add(node)
            origins[node], axis = node, UNKNOWN
        elif node in batch.unfilled:  # of no sample yet, if nothing but moves comes of it
            origins[node] = node
        elif axis is UNKNOWN or isinstance(axis, OfOne):
            batch.singly |= node.wants and axis is not UNKNOWN
            origins[node] = next((origins[p] for p in node.parents if p in origins), node)
            lost = batch.size != 1 or axis is UNKNOWN  # of one sample, all is of that one
            origin = origins[node]
            if node.wants and lost and origin not in batch.lost and origin not in batch.mixing:
                batch.lost.append(origin)
        batch.axes[node] = axis
        if op.loss and (prediction := node.parents[0]) in batch.unfilled and node.wants:
            batch.lost.append(prediction)  # which has entries of no sample
        if axis is UNKNOWN and op.composite:  # what it stands for may know more
            return batch
    return batch


def _couples(batch: Batch, node: Node, axes: list[Axis], axis: Axis) -> bool:
    """Whether samples have no share of their own below an operation on what depends on several."""
    op = node.op
    if isinstance(axis, SAMPLED) or op.loss:
        return wants_by(node, axes, POOLED)
    if axis is not POOLED or op.linear or any(isinstance(a, SAMPLED) for a in axes):
        return False
    if wants_by(node, axes, None):
        return True
    wanting = [i for i, p in enumerate(node.parents) if p is not None and p.wants]
    bends = len(wanting) > 1 or any(i not in op.linear_in for i in wanting)
    return bends and any(
        axes[i] is POOLED and (p := node.parents[i]) is not None and _contracts(batch.pooled.get(p))
        for i in wanting
    )


def _contracts(node: Node | None) -> bool:
    """Whether what pools samples is a product, as with a graph's adjacency, and no statistic."""
    return node is not None and len(node.parents) > 1


def _pooled_by(batch: Batch, node: Node, axes: list[Axis]) -> Node:
    """The operation that made a tensor without an axis of samples of several samples."""
    for parent, axis in zip(node.parents, axes, strict=True):
        if axis is POOLED and parent in batch.pooled:
            return batch.pooled[parent]
    return node
