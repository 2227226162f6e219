"""Sorting and counting: the choice of elements is flat, the chosen ones carry their gradients."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.operations.arguments import (
    cast,
    flag,
    integer,
    negative_axes,
    of_real,
    one_axis,
    operand,
    raw,
    refuse,
)
from tracer.operations.placing import ScatterAdd
from tracer.record.dispatch import implements, refuse_out
from tracer.record.tensor import Tensor


@implements(np.sort)
def sort(a, axis=-1, kind=None, order=None, *, stable=None, **descending):
    refuse("sort", "tensors have no fields", order=order)
    if axis is None:
        a, axis = np.ravel(a), -1
    axis = one_axis(axis, a.ndim)
    options = {"stable": True, **descending} if descending else {"kind": "stable"}
    order = np.argsort(raw(a), axis=axis, **options)
    return np.take_along_axis(a, order, axis)


@implements(np.partition)
def partition(a, kth, axis=-1, kind="introselect", order=None):
    refuse("partition", "tensors have no fields", order=order)
    if axis is None:
        a, axis = np.ravel(a), -1
    axis = one_axis(axis, a.ndim)
    return np.take_along_axis(a, np.argpartition(raw(a), raw(kth), axis=axis), axis)


@implements(np.median)
def median(a, axis=None, out=None, overwrite_input=False, keepdims=False):
    """The middle of the sorted elements, or the mean of the two there; NaN if any is NaN."""
    refuse_out("median", out)
    axes = negative_axes(axis, a.ndim)
    last = np.moveaxis(a, axes, range(-len(axes), 0))
    ordered = np.sort(
        np.reshape(last, (*last.shape[: a.ndim - len(axes)], math.prod(a.shape[i] for i in axes))),
        axis=-1,
    )
    size = ordered.shape[-1]
    if not size:
        middle = np.sum(ordered, axis=-1) * math.nan
        return np.expand_dims(middle, axes) if flag(keepdims) else middle
    middle = 0.5 * (ordered[..., (size - 1) // 2] + ordered[..., size // 2])
    largest = ordered[..., -1]  # where NaN is sorted to
    middle = np.where(np.isnan(largest), largest, middle)
    return np.expand_dims(middle, axes) if flag(keepdims) else middle


@implements(np.unique)
def unique(
    ar, return_index=False, return_inverse=False, return_counts=False, axis=None, **options
):  # fmt: skip
    """Sorted values, each from its first occurrence, and of plain ints what else is asked for."""
    ar = ar if axis is not None else np.ravel(ar)
    found = np.unique(raw(ar), True, return_inverse, return_counts, axis, **options)
    _, first, *others = found
    taken = np.take(ar, first, 0 if axis is None else axis)
    made = (taken, *((first,) if return_index else ()), *others)
    return made if len(made) > 1 else taken


@implements(np.bincount)
def bincount(x, /, weights=None, minlength=0):
    """How often each int comes, or the sum of its weights."""
    x, minlength = raw(x), integer(minlength, "`minlength` of np.bincount")
    counts = np.bincount(x, raw(weights), minlength)
    if not isinstance(weights, Tensor):
        return counts
    return _added(weights, operand(x), len(counts))


def _added(weights, positions, size):
    """The sums in float64 of the weights at each position."""
    weights = cast(weights, np.float64)
    return ScatterAdd(weights[None], positions=positions.astype(np.intp), shape=(size,))[0]


@implements(np.histogram)
def histogram(a, bins=10, range=None, density=None, weights=None):
    """NumPy's histogram: flat in `a` but for the edges that it spans, and linear in the weights."""
    data, span = of_real(operand(raw(a)), "np.histogram"), range
    hist, edges = np.histogram(data, raw(bins), range, weights=raw(weights))
    if isinstance(weights, Tensor):
        place = np.searchsorted(edges, data.reshape(-1), side="right") - 1
        last = len(edges) - 2
        place = np.where(data.reshape(-1) == edges[-1], last, place)
        inside = (place >= 0) & (place <= last)
        flat = np.where(inside, np.ravel(weights), 0)
        hist = _added(flat, np.where(inside, place, 0), len(edges) - 1).astype(hist.dtype)
    if isinstance(bins, Tensor):
        edges = bins
    elif isinstance(a, Tensor) and span is None and np.ndim(bins) == 0 and data.size:
        edges = _spanned(a, edges)
    if density:
        hist = hist / np.diff(edges) / np.sum(hist)
    return hist, edges


def _spanned(a, edges):
    """The edges between the least and the greatest element, which move with these."""
    low, high = np.min(a), np.max(a)
    part = backend.of(a).from_host(np.linspace(0, 1, len(edges), dtype=edges.dtype))
    if not raw(low) < raw(high):  # NumPy opens an empty span by half to either side
        low, high = low - 0.5, high + 0.5
    return low + (high - low) * part


OPERATIONS: list = []
