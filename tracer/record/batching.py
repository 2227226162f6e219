"""Where the samples are: the batch axis of every tensor, followed forward through a record."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array
from tracer.errors import BatchError
from tracer.record.axes import (
    KNOWN,
    POOLED,
    SAMPLED,
    UNKNOWN,
    Axis,
    GroupedAxis,
    LabelledAxis,
    MergedAxis,
    OfOne,
    SampleAxis,
    Sentinel,
    at_position,
    labelled,
    position_of,
    samples_of,
    ungrouped,
)
from tracer.record.leaf_kinds import CONSTANT, INPUT
from tracer.record.node import Node

#: the axes of samples of constants, by (node, slot); of what was broadcast, by (node, None)
Given: TypeAlias = dict[tuple[Node, int | None], SampleAxis]


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
    unfilled: dict[Node, tuple[int, np.ndarray]] = field(default_factory=dict)
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
                _give_constants(batch, node, axis)
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


def _give_constants(batch: Batch, node: Node, axis: SampleAxis) -> None:
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


def through(node: Node, axes: Sequence[Axis]) -> Axis:
    """The axis that an operation's rule gives, from those of its inputs."""
    op = node.op
    if op.batch_axis is None:
        return UNKNOWN
    return op.batch_axis(node, axes if op.grouped_axes else ungrouped(axes))


#: of an operation in whose entries different samples meet
MIXED = Sentinel("MIXED")


def _follow(nodes: Sequence[Node], given: Given, sizes: list[int]) -> Batch:
    batch = Batch(given=given)
    for size in sizes:
        batch.meet(size)
    origins: dict[Node, Node] = {}
    for node in nodes:
        op = node.op
        axes = batch.axes_of(node)
        axis = _axis_of(batch, node, axes)
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
        return _wants(node, axes, POOLED)
    if axis is not POOLED or op.linear or any(isinstance(a, SAMPLED) for a in axes):
        return False
    if _wants(node, axes, None):
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


def _axis_of(batch: Batch, node: Node, axes: list[Axis]) -> Axis:
    """The axis of the samples in a node's output, or `MIXED`."""
    op = node.op
    if op.name == "batch":
        return _marked(batch, node, axes[0])
    known = any(isinstance(axis, SAMPLED) for axis in axes)
    if op.loss and not isinstance(axes[0], OfOne) and (known or UNKNOWN in axes):
        return _of_loss(batch, node, axes)
    if UNKNOWN in axes:
        followed = _only_places_unknown(batch, node, axes)
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
    return MIXED if any(_wants(node, axes, axis) for axis in singles) else UNKNOWN


def _grouping(axis: Axis) -> Hashable:
    return axis.grouping() if isinstance(axis, GroupedAxis) else None


def _of_moved(batch: Batch, node: Node, axes: list[Axis]) -> Axis:
    """Where entries of samples are moved to: the operation moves their numbers alike."""
    assert batch.size is not None
    assert node.op.moves is not None
    moving = node.op.moves(node)
    if moving is None:
        return UNKNOWN
    arrays: list[Array] = []
    for slot, axis in enumerate(axes):
        shape = node.input_shape(slot)
        if slot not in moving:
            arrays.append(_on_host(node.inputs[slot]))
            continue
        numbers: Any = np.array(axis.sample if isinstance(axis, OfOne) else -1)
        along = None
        if isinstance(axis, SAMPLED):
            along = position_of(axis), samples_of(axis, shape[axis])
        if axis is UNKNOWN and (parent := node.parents[slot]) is not None:
            along = batch.unfilled.get(parent)
        if along is not None:
            position, numbers = along
            numbers = numbers.reshape([-1 if i == position else 1 for i in range(len(shape))])
        arrays.append(np.broadcast_to(numbers, shape))
    if any(type(x) is not np.ndarray for x in arrays):
        return UNKNOWN
    numbers = node.op.forward(*arrays, **_on_host(node.params))
    if type(numbers) is not np.ndarray:
        return UNKNOWN
    if numbers.size and numbers.min() < 0:
        changing = _changing(numbers) or [0]
        if len(changing) == 1 and numbers.ndim:
            batch.unfilled[node] = changing[0], _line(numbers, changing[0])
        return UNKNOWN
    return _axis_of_numbers(numbers, batch.size)


def _only_places_unknown(batch: Batch, node: Node, axes: list[Axis]) -> bool:
    """Whether what is moved has known samples, and only what says where to is of unknown ones.

    Their values are there, as those of `np.argsort(lengths)` along the batch.
    """
    moving = None if node.op.moves is None else node.op.moves(node)
    if not moving:
        return False
    followed = [isinstance(axes[slot], KNOWN) for slot in moving]
    partly = [node.parents[slot] in batch.unfilled for slot in moving]
    return any(followed + partly) and all(
        axes[slot] is not POOLED and (axes[slot] is not UNKNOWN or some)
        for slot, some in zip(moving, partly, strict=True)
    )


def _on_host(value: Any) -> Any:
    """Indices, nested in tuples and dicts, as NumPy's arrays."""
    if isinstance(value, dict):
        return {key: _on_host(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_on_host, value))
    return backend.to_host(value) if backend.is_array(value) else value


def _axis_of_numbers(numbers: np.ndarray, count: int) -> Axis:
    """The one axis along which the samples' numbers change, if there is one."""
    if not numbers.size:
        empty = [i for i in range(numbers.ndim) if not numbers.shape[i]]
        none = np.empty(0, np.intp)
        return labelled(empty[0], none, count) if len(empty) == 1 else UNKNOWN
    changing = _changing(numbers)
    if len(changing) > 1:
        return UNKNOWN
    single = [i for i in range(numbers.ndim) if numbers.shape[i] == 1]
    for axis in changing or single[:1]:
        return labelled(axis, _line(numbers, axis), count)
    return OfOne(int(numbers.flat[0]))


def _changing(numbers: np.ndarray) -> list[int]:
    """The axes along which the samples' numbers change."""
    return [
        i for i in range(numbers.ndim)
        if numbers.shape[i] > 1 and (numbers != numbers.take([0], i)).any()
    ]  # fmt: skip


def _line(numbers: np.ndarray, axis: int) -> np.ndarray:
    """The samples' numbers along the one axis along which they change."""
    return np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)[:, 0].astype(np.intp)


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
        axis = _axis_of(batch, top, batch.axes_of(top))
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


def _pooled_by(batch: Batch, node: Node, axes: list[Axis]) -> Node:
    """The operation that made a tensor without an axis of samples of several samples."""
    for parent, axis in zip(node.parents, axes, strict=True):
        if axis is POOLED and parent in batch.pooled:
            return batch.pooled[parent]
    return node


def _wants(node: Node, axes: list[Axis], kind: Axis) -> bool:
    """Whether a gradient flows to an input whose axis of samples is of this kind."""
    return any(
        axis is kind and parent is not None and parent.wants
        for axis, parent in zip(axes, node.parents, strict=True)
    )
