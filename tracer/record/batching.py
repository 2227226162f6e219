"""What is known of the samples in a record: how many there are, and where they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracer.errors import BatchError
from tracer.record.axes import (
    POOLED,
    SAMPLED,
    UNKNOWN,
    Axis,
    LabelledAxis,
    OfOne,
    at_position,
    position_of,
    samples_of,
)
from tracer.record.axis_rules import MIXED, Given, output_axis
from tracer.record.leaf_kinds import CONSTANT, INPUT
from tracer.record.moved_samples import Unfilled
from tracer.record.node import Node


@dataclass
class Batch:
    """What is known of the samples in a record.

    `axes` maps recorded nodes to their axis (see `tracer.record.axes`); `size` is the number of
    samples or None, `marked` whether an input says so; `lost` the nodes through which the axis
    could not be followed, `coupled` those in which something that depends on several samples meets
    a batched tensor or, but in a sum, an unbatched one: no sample has a gradient of its own there.
    `given` maps (node, slot) to the axis of samples of a constant that has one, though no mark, and
    (node, None) to that of what was broadcast to the samples.

    An axis that is looked up is an `Axis`, of which most callers know that it is one of samples.

    Batches of several `sizes` are of different samples. These are numbered one batch after the
    other, and `size` counts them all.
    """

    axes: dict[Node, Any] = field(default_factory=dict)
    size: int | None = None
    marked: bool = False
    lost: list[Node] = field(default_factory=list)
    coupled: list[Node] = field(default_factory=list)
    given: Given = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    #: what depends on several samples -> the operation that made it of them
    pooled: dict[Node, Node] = field(default_factory=dict)
    #: predictions that a loss takes for as many samples, though their axis could not be followed
    assumed: dict[Node, int] = field(default_factory=dict)
    #: of those coupled, where entries of different samples meet
    mixing: set[Node] = field(default_factory=set)
    #: whether tensors of one sample each want a gradient, as in a loop over samples
    singly: bool = False
    #: where entries of samples and of none were moved to: an axis, and the sample of each entry on
    #: it, -1 of none. Their own axis is `UNKNOWN` until what is of no sample is written over
    unfilled: Unfilled = field(default_factory=dict)
    #: where all is of the only sample that there is: what sums over its axis
    sums_of_one: set[Node] = field(default_factory=set)

    @property
    def several(self) -> bool:
        """Whether there are batches of several sizes."""
        return len(self.sizes) > 1

    def axis(self, node: Node | None) -> Any:
        """The axis of the samples in a node's output; None for constants and parameters."""
        if node is None:
            return None
        if node.op.leaf:
            return self._of_leaf(node)
        return self.axes[node] if node in self.axes else _resolved(self, node)

    def axes_of(self, node: Node) -> list[Axis]:
        """The axes of the samples in a node's inputs."""
        axes = [self.axis(parent) for parent in node.parents]
        if self.given:
            axes = [self.given.get((node, i), axis) for i, axis in enumerate(axes)]
        return axes

    def _of_leaf(self, leaf: Node) -> Axis:
        if leaf.op is INPUT:
            if "unclear" in leaf.params:
                raise _unclear(leaf)
            if "like" in leaf.params:
                return self._of_same_samples(leaf, leaf.params["like"])
            return self.numbered(leaf.params["axis"], leaf)
        if leaf.op is not CONSTANT:
            return None
        origin = leaf.params.get("of")
        if origin is None:
            return self.numbered(leaf.params["axis"], leaf)
        axis = self.axes[origin] if origin in self.axes else _resolved(self, origin)
        return None if axis is POOLED else axis  # a statistic of many samples is a constant

    def _of_same_samples(self, leaf: Node, like: Node) -> Axis:
        """The axis of a batch `[N, ...]` that is of the samples of another tensor, in its order."""
        axis = self.axis(like)
        if axis is None:
            return self.numbered(leaf.params["axis"], leaf)
        if isinstance(axis, SAMPLED) and like.shape[axis] == leaf.shape[0]:
            return at_position(axis, 0)
        return axis if isinstance(axis, OfOne) else None

    def numbered(self, axis: Axis, node: Node) -> Axis:
        """An axis of a batch by itself, as that of all samples that there are."""
        if isinstance(axis, OfOne):
            self.meet(node.params["count"])
            before = self.sizes[: self.sizes.index(node.params["count"])]
            return OfOne(axis.sample + sum(before))
        if not isinstance(axis, SAMPLED):
            return axis
        size = node.shape[axis]
        count = node.params.get("count", size)
        self.meet(count)
        if not self.several:
            return axis
        begin = sum(self.sizes[: self.sizes.index(count)])
        return LabelledAxis(position_of(axis), begin + samples_of(axis, size), self.size or 0)

    def meet(self, count: int) -> None:
        """Note that there is a batch of so many samples."""
        if count not in self.sizes:
            self.sizes.append(count)
            self.size, self.marked = sum(self.sizes), True


def _resolved(batch: Batch, node: Node) -> Axis:
    """The axis of what no record that is followed has, as of the origin of a constant."""
    waiting = [node]
    while waiting:
        top = waiting[-1]
        missing = [
            found for parent in top.parents
            if (found := _computed(parent)) is not None and found not in batch.axes
        ]  # fmt: skip
        if missing:
            waiting += missing
            continue
        waiting.pop()
        axis = output_axis(batch, top, batch.axes_of(top))
        batch.axes[top] = UNKNOWN if axis is MIXED else axis
    return batch.axes[node]


def _unclear(leaf: Node) -> BatchError:
    model = leaf.params["unclear"]
    return BatchError(
        f"where the samples are in the input {list(leaf.shape)} of {model} is not clear: it has "
        f"layers that take sequences first, to which the input could not be followed: write "
        f"`batch_axis = 0` (or 1) in the class {model}, or call it with tracer.batch(x, axis)"
    )


def _computed(node: Node | None) -> Node | None:
    """The operation that a node is or, of a constant that comes from one, was made by."""
    if node is None or (node.op.leaf and node.op is not CONSTANT):
        return None
    return node.params.get("of") if node.op is CONSTANT else node
