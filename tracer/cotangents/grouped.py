"""Cotangents of the entries of a merged axis as those of samples, each with several entries."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from tracer.cotangents.base import Cotangent, Dense, Reindexed, Summed
from tracer.cotangents.gather import Gather
from tracer.cotangents.outer import Outer
from tracer.operation import MergedAxis


@singledispatch
def grouped(cotangent: Cotangent, axis: MergedAxis) -> Cotangent:
    """The cotangent of N samples, from that of the `outer * N * inner` entries of an axis.

    What were uses of an entry become uses of its sample.
    """
    entries = _samples_first(cotangent.per_sample(), axis, 1)
    return Dense(entries.sum(2))


@grouped.register
def _(cotangent: Summed, axis: MergedAxis) -> Cotangent:
    return Summed(_with_uses(cotangent.terms, axis, 1))


@grouped.register
def _(cotangent: Outer, axis: MergedAxis) -> Cotangent:
    left, right = _with_uses(cotangent.left, axis, 0), _with_uses(cotangent.right, axis, 1)
    return Outer(left, right, cotangent.shape)


@grouped.register
def _(cotangent: Gather, axis: MergedAxis) -> Cotangent:
    index, right = _with_uses(cotangent.index, axis, 0), _with_uses(cotangent.right, axis, 1)
    return Gather(index, right, cotangent.shape)


@grouped.register
def _(cotangent: Reindexed, axis: MergedAxis) -> Cotangent:
    return cotangent.around(grouped(cotangent.inner, axis))


def _samples_first(array: Any, axis: MergedAxis, lead: int) -> Any:
    """`[..., S, *rest]` as `[..., N, S / N, *rest]`, after `lead` axes."""
    first, (size, *rest) = array.shape[:lead], array.shape[lead:]
    count = size // (axis.outer * axis.inner)
    apart = array.reshape(*first, axis.outer, count, axis.inner, *rest)
    return np.moveaxis(apart, lead + 1, lead).reshape(*first, count, -1, *rest)


def _with_uses(array: Any, axis: MergedAxis, lead: int) -> Any:
    """`[..., S, T, *rest]` as `[..., N, T * S / N, *rest]`."""
    apart = _samples_first(array, axis, lead)
    first, rest = apart.shape[: lead + 1], apart.shape[lead + 3 :]
    return apart.reshape(*first, -1, *rest)
