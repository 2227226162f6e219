"""Where samples are in an array: kinds of axes, and arrays regrouped by the samples of an axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array, Index, Shape

#: An axis of samples, by its place: an int where each entry is one sample, in their order.
SampleAxis: TypeAlias = "int | GroupedAxis"

#: The axis of the samples in a tensor: a `SampleAxis`, None (not batched), `POOLED` (it depends on
#: several samples and has no axis of them), an `OfOne` (all of it is of one sample) or `UNKNOWN`
#: (it could not be followed).
Axis: TypeAlias = "SampleAxis | OfOne | Sentinel | None"


class HasInputs(Protocol):
    """What rules for axes read of a node."""

    @property
    def shape(self) -> Shape: ...
    def input_shape(self, slot: int, /) -> Shape: ...


class GroupedAxis:
    """The axis at `position`, whose entries are not the samples, one each and in their order.

    It is an index of a shape, as an int is, and no number: what adds to it would forget whose the
    entries are. Rules of operations that treat these apart are given the position alone.
    """

    position: int

    def __index__(self) -> int:
        return self.position

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GroupedAxis):
            return NotImplemented
        return self.position == other.position and self.grouping() == other.grouping()

    def __hash__(self) -> int:
        return hash((self.position, self.grouping()))

    def samples(self, size: int) -> np.ndarray:
        """The sample of each of `size` entries."""
        raise NotImplementedError  # both kinds define it

    def ranks(self, size: int) -> np.ndarray:
        """Which of its sample's entries each is."""
        raise NotImplementedError  # both kinds define it

    def uses(self, size: int) -> int:
        """How many entries a sample has at most."""
        raise NotImplementedError  # both kinds define it

    def count_of(self, size: int) -> int:
        """How many samples the `size` entries are of."""
        raise NotImplementedError  # both kinds define it

    def moved(self, position: int) -> GroupedAxis:
        """The same entries on another axis."""
        raise NotImplementedError  # both kinds define it

    def grouping(self) -> Hashable:
        """What axes of the same entries have in common, to be compared."""
        raise NotImplementedError  # both kinds define it


class MergedAxis(GroupedAxis):
    """An axis of `outer * N * inner` entries, sample n's at `(o * N + n) * inner + i`.

    It comes from a reshape, as of `[T, N, C]` to `[T * N, C]` (`outer` is T, `inner` 1).
    """

    def __init__(self, position: int, outer: int, inner: int):
        self.position, self.outer, self.inner = position, outer, inner

    def __repr__(self) -> str:
        return f"MergedAxis({self.position}, {self.outer}, {self.inner})"

    def samples(self, size: int) -> np.ndarray:
        return np.arange(size) // self.inner % max(1, size // (self.outer * self.inner))

    def ranks(self, size: int) -> np.ndarray:
        entries = np.arange(size)
        stride = max(1, size // self.outer)
        return entries // stride * self.inner + entries % self.inner

    def uses(self, size: int) -> int:
        return self.outer * self.inner

    def count_of(self, size: int) -> int:
        return size // self.uses(size)

    def moved(self, position: int) -> MergedAxis:
        return MergedAxis(position, self.outer, self.inner)

    def grouping(self) -> Hashable:
        return self.outer, self.inner


class LabelledAxis(GroupedAxis):
    """An axis whose entry i is of sample `labels[i]`, of `count` samples.

    It comes from what chooses, repeats or reorders samples, as a mask does, and from a batch that
    is one of several. A sample may have no entry.
    """

    def __init__(self, position: int, labels: np.ndarray, count: int):
        self.position, self.labels, self.count = position, labels, count

    def __repr__(self) -> str:
        return f"LabelledAxis({self.position}, {self.labels}, {self.count})"

    def samples(self, size: int) -> np.ndarray:
        return self.labels

    def ranks(self, size: int) -> np.ndarray:
        return self._ranks

    def uses(self, size: int) -> int:
        return self._uses

    def count_of(self, size: int) -> int:
        return self.count

    def moved(self, position: int) -> LabelledAxis:
        return LabelledAxis(position, self.labels, self.count)

    def grouping(self) -> Hashable:
        return self.labels.tobytes()

    @cached_property
    def _ranks(self) -> np.ndarray:
        order = np.argsort(self.labels, kind="stable")
        ordered = self.labels[order]
        found = np.empty(len(order), np.intp)
        found[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        return found

    @cached_property
    def _uses(self) -> int:
        return int(self._ranks.max(initial=0)) + 1

    @cached_property
    def places(self) -> np.ndarray:
        """`[N, U]`: where each sample's entries are; the number of entries where there is none."""
        found = np.full((self.count, self._uses), len(self.labels))
        found[self.labels, self._ranks] = np.arange(len(self.labels))
        return found


class Sentinel:
    """What stands in place of an axis."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


class OfOne:
    """In place of an axis: the tensor is of one sample, as a row that a loop over samples takes."""

    __slots__ = ("sample",)

    def __init__(self, sample: int):
        self.sample = sample

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfOne) and other.sample == self.sample

    def __hash__(self) -> int:
        return hash(self.sample)


#: it depends on several samples, and has no axis of them
POOLED = Sentinel("POOLED")
#: samples could not be followed here: each is then propagated as a row of its own
UNKNOWN = Sentinel("UNKNOWN")


#: what a `SampleAxis` is: `isinstance(axis, SAMPLED)` where there is an axis of samples
SAMPLED = (int, GroupedAxis)

#: and `isinstance(axis, KNOWN)` where it is known which samples a tensor is of
KNOWN = (int, GroupedAxis, OfOne)


def position_of(axis: SampleAxis) -> int:
    """Which axis it is, whosever its entries are."""
    return axis.position if isinstance(axis, GroupedAxis) else axis


def ungrouped(axes: Sequence[Axis]) -> list[Axis]:
    """The same with the positions of axes alone, as rules of operations are given them."""
    return [axis.position if isinstance(axis, GroupedAxis) else axis for axis in axes]


def at_position(axis: SampleAxis, position: int) -> SampleAxis:
    """The axis at `position`, of the same entries as `axis`."""
    return axis.moved(position) if isinstance(axis, GroupedAxis) else position


def samples_of(axis: SampleAxis, size: int) -> np.ndarray:
    """The sample of each of the `size` entries of an axis."""
    return axis.samples(size) if isinstance(axis, GroupedAxis) else np.arange(size)


def count_of(axis: SampleAxis, size: int) -> int:
    """How many samples the `size` entries of an axis are of."""
    return axis.count_of(size) if isinstance(axis, GroupedAxis) else size


def labelled(position: int, labels: np.ndarray, count: int) -> SampleAxis:
    """The axis whose entries are of these of `count` samples, in its simplest form."""
    size = len(labels)
    if size == count and (labels == np.arange(count)).all():
        return position
    if size and size % count == 0:
        uses = size // count
        inner = int(np.argmax(labels != labels[0])) if count > 1 else uses
        if inner and uses % inner == 0:
            merged = MergedAxis(position, uses // inner, inner)
            if (labels == merged.samples(size)).all():
                return merged
    return LabelledAxis(position, labels, count)


def entries_by_sample(array: Array, axis: GroupedAxis, lead: int) -> Array:
    """`[..., S, *rest]` as `[..., N, U, *rest]`, after `lead` axes: entries by their samples.

    U is the most entries that a sample has; zeros stand for those that others lack.
    """
    first, (size, *rest) = array.shape[:lead], array.shape[lead:]
    if isinstance(axis, LabelledAxis):
        end = np.zeros_like(array, shape=(*first, 1, *rest))
        padded = np.concatenate([array, end], axis=lead)
        places = _there(axis.places, array)
        index: Index = (*(slice(None),) * lead, places)
        return padded[index]
    assert isinstance(axis, MergedAxis)
    count = size // (axis.outer * axis.inner)
    shaped = array.reshape(*first, axis.outer, count, axis.inner, *rest)
    moved = np.moveaxis(shaped, lead + 1, lead)
    return moved.reshape(*first, count, axis.outer * axis.inner, *rest)


def entries_in_order(array: Array, axis: GroupedAxis, size: int, lead: int) -> Array:
    """The inverse of `entries_by_sample`: `[..., N, U, *rest]` as `[..., S, *rest]`."""
    samples, ranks = axis.samples(size), axis.ranks(size)
    index: Index = (*(slice(None),) * lead, _there(samples, array), _there(ranks, array))
    return array[index]


def _there(index: np.ndarray, array: Array) -> Array:
    """Indices in the library of an array."""
    return backend.of(array).from_host(index)


def aligned(node: HasInputs, axes: Sequence[Axis]) -> Axis:
    """Of elementwise operations, in the broadcast shape; unknown if two inputs disagree."""
    rank = len(node.shape)
    found = None
    for slot, axis in enumerate(axes):
        if not isinstance(axis, int):
            continue
        shifted = axis + rank - len(node.input_shape(slot))
        if found is not None and found != shifted:
            return UNKNOWN
        found = shifted
    return found
