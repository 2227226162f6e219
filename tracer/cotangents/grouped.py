"""Cotangents of the entries of a merged axis as those of samples, each with several entries."""

from __future__ import annotations

from functools import singledispatch

from tracer.arrays.types import Array, Present
from tracer.cotangents.base import Cotangent, Dense
from tracer.cotangents.gather import Gather
from tracer.cotangents.outer import Outer
from tracer.cotangents.present import of_each_use
from tracer.cotangents.reindexed import Reindexed
from tracer.cotangents.summed import Summed
from tracer.record.axes import GroupedAxis, LabelledAxis, entries_by_sample


@singledispatch
def grouped(cotangent: Cotangent, axis: GroupedAxis) -> Cotangent:
    """The cotangent of N samples, from that of the entries of an axis.

    What were uses of an entry become uses of its sample.
    """
    return Dense(entries_by_sample(cotangent.per_sample(), axis, 1).sum(2))


@grouped.register
def _(cotangent: Summed, axis: GroupedAxis) -> Cotangent:
    return Summed(_with_uses(cotangent.terms, axis, 1))


@grouped.register
def _(cotangent: Outer, axis: GroupedAxis) -> Cotangent:
    left, right = _with_uses(cotangent.left, axis, 0), _with_uses(cotangent.right, axis, 1)
    return Outer(left, right, cotangent.shape, _present(cotangent, axis))


@grouped.register
def _(cotangent: Gather, axis: GroupedAxis) -> Cotangent:
    index, right = _with_uses(cotangent.index, axis, 0), _with_uses(cotangent.right, axis, 1)
    return Gather(index, right, cotangent.shape, _present(cotangent, axis))


@grouped.register
def _(cotangent: Reindexed, axis: GroupedAxis) -> Cotangent:
    return cotangent.around(grouped(cotangent.inner, axis))


def _with_uses(array: Array, axis: GroupedAxis, lead: int) -> Array:
    """`[..., S, T, *rest]` as `[..., N, T * S / N, *rest]`."""
    entries = entries_by_sample(array, axis, lead)
    first, rest = entries.shape[: lead + 1], entries.shape[lead + 3 :]
    return entries.reshape(*first, entries.shape[lead + 1] * entries.shape[lead + 2], *rest)


def _present(cotangent: Outer | Gather, axis: GroupedAxis) -> Present:
    """Which uses `[N, U]` are there, where samples have different numbers of them; None: all."""
    if cotangent.present is None and not isinstance(axis, LabelledAxis):
        return None
    return _with_uses(of_each_use(cotangent, cotangent.present), axis, 0)
