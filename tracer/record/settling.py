"""What leaves a tape knows the axis of its samples by itself, and nothing of the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracer.errors import TracerError
from tracer.record.axes import UNKNOWN, Axis, GroupedAxis, LabelledAxis, OfOne, labelled, ungrouped
from tracer.record.batching import Batch
from tracer.record.node import Node, Params


def axis_of(node: Node) -> Axis:
    """Where the samples are in what a node computed, by itself: the position of their axis.

    `UNKNOWN` if that is refused.
    """
    try:
        return ungrouped([Batch().axis(node)])[0]
    except TracerError:
        return UNKNOWN


def settle(holders: Sequence[Any]) -> None:
    """Let tensors and arrays that come from a record keep the axis of their samples alone."""
    batch = Batch()
    leaves = {holder.leaf if hasattr(holder, "leaf") else holder.node for holder in holders}
    pending = [leaf for leaf in leaves if leaf is not None and "of" in leaf.params]
    found: list[Any] = []
    for _ in range(2):  # the second time with all batches known, if there are several
        batch = Batch(sizes=batch.sizes, size=batch.size)
        found = [_settled(batch, leaf) for leaf in pending]
    for leaf, params in zip(pending, found, strict=True):
        leaf.params = params


def _settled(batch: Batch, leaf: Node) -> Params:
    """The parameters of a leaf with its axis in place of where it comes from."""
    try:
        axis = batch.axis(leaf)
    except TracerError:
        axis = UNKNOWN
    params = {"name": None, "axis": axis}
    if isinstance(axis, LabelledAxis) and batch.several:
        begin = 0
        for count in batch.sizes:
            inside = (axis.labels >= begin) & (axis.labels < begin + count)
            if axis.labels.size and inside.all():
                own = labelled(axis.position, axis.labels - begin, count)
                return params | {"axis": own, "count": count}
            begin += count
        return params | {"axis": UNKNOWN}
    if isinstance(axis, GroupedAxis | OfOne):
        params["count"] = batch.size
    return params
