"""Where samples are in an array: kinds of axes, and arrays regrouped by the samples of an axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array, Index, Shape

#: The axis of the samples in a tensor: an int, None (not batched), `POOLED` (it depends on several
#: samples and has no axis of them), an `OfOne` (all of it is of one sample) or `UNKNOWN` (it could
#: not be followed). A `GroupedAxis` is an int.
Axis: TypeAlias = "int | OfOne | Sentinel | None"


class HasInputs(Protocol):
    """What rules for axes read of a node."""

    @property
    def shape(self) -> Shape: ...
    def input_shape(self, slot: int, /) -> Shape: ...


class GroupedAxis(int):
    """An axis whose entries are not the samples, one each and in their order.

    Rules of operations that treat its entries apart need not know.
    """

    def samples(self, size: int) -> np.ndarray:
        """The sample of each of `size` entries."""
        raise NotImplementedError  # both kinds define it

    def positions(self, size: int) -> np.ndarray:
        """Which of its sample's entries each is."""
        raise NotImplementedError  # both kinds define it

    def uses(self, size: int) -> int:
        """How many entries a sample has at most."""
        raise NotImplementedError  # both kinds define it

    def at(self, axis: int) -> GroupedAxis:
        """The same entries on another axis."""
        raise NotImplementedError  # both kinds define it

    def grouping(self) -> Hashable:
        """What axes of the same entries have in common, to be compared."""
        raise NotImplementedError  # both kinds define it


class MergedAxis(GroupedAxis):
    """An axis of `outer * N * inner` entries, sample n's at `(o * N + n) * inner + i`.

    It comes from a reshape, as of `[T, N, C]` to `[T * N, C]` (`outer` is T, `inner` 1).
    """

    outer: int
    inner: int

    def __new__(cls, axis: int, outer: int, inner: int) -> MergedAxis:
        self = super().__new__(cls, axis)
        self.outer, self.inner = outer, inner
        return self

    def samples(self, size: int) -> np.ndarray:
        return np.arange(size) // self.inner % max(1, size // (self.outer * self.inner))

    def positions(self, size: int) -> np.ndarray:
        entries = np.arange(size)
        stride = max(1, size // self.outer)
        return entries // stride * self.inner + entries % self.inner

    def uses(self, size: int) -> int:
        return self.outer * self.inner

    def at(self, axis: int) -> MergedAxis:
        return MergedAxis(axis, self.outer, self.inner)

    def grouping(self) -> Hashable:
        return self.outer, self.inner


class LabelledAxis(GroupedAxis):
    """An axis whose entry i is of sample `labels[i]`, of `count` samples.

    It comes from what chooses, repeats or reorders samples, as a mask does, and from a batch that
    is one of several. A sample may have no entry.
    """

    labels: np.ndarray
    count: int

    def __new__(cls, axis: int, labels: np.ndarray, count: int) -> LabelledAxis:
        self = super().__new__(cls, axis)
        self.labels, self.count = labels, count
        return self

    def samples(self, size: int) -> np.ndarray:
        return self.labels

    def positions(self, size: int) -> np.ndarray:
        return self._positions

    def uses(self, size: int) -> int:
        return self._uses

    def at(self, axis: int) -> LabelledAxis:
        return LabelledAxis(axis, self.labels, self.count)

    def grouping(self) -> Hashable:
        return self.labels.tobytes()

    @cached_property
    def _positions(self) -> np.ndarray:
        order = np.argsort(self.labels, kind="stable")
        ordered = self.labels[order]
        found = np.empty(len(order), np.intp)
        found[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        return found

    @cached_property
    def _uses(self) -> int:
        return int(self._positions.max(initial=0)) + 1

    @cached_property
    def places(self) -> np.ndarray:
        """`[N, U]`: where each sample's entries are; the number of entries where there is none."""
        found = np.full((self.count, self._uses), len(self.labels))
        found[self.labels, self._positions] = np.arange(len(self.labels))
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


POOLED = Sentinel("POOLED")
UNKNOWN = Sentinel("UNKNOWN")


def samples_of(axis: int, size: int) -> np.ndarray:
    """The sample of each of the `size` entries of an axis."""
    return axis.samples(size) if isinstance(axis, GroupedAxis) else np.arange(size)


def labelled(axis: int, labels: np.ndarray, count: int) -> int:
    """The axis whose entries are of these of `count` samples, in its simplest form."""
    size = len(labels)
    if size == count and (labels == np.arange(count)).all():
        return axis
    if size and size % count == 0:
        uses = size // count
        inner = int(np.argmax(labels != labels[0])) if count > 1 else uses
        if inner and uses % inner == 0:
            merged = MergedAxis(axis, uses // inner, inner)
            if (labels == merged.samples(size)).all():
                return merged
    return LabelledAxis(axis, labels, count)


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
    samples, positions = axis.samples(size), axis.positions(size)
    index: Index = (*(slice(None),) * lead, _there(samples, array), _there(positions, array))
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
