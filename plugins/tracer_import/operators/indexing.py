"""Elements by their places: slices, indices, scatters, lookups in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.errors import TracingError
from tracer.extend import ScatterAdd, Tensor, TensorLike, raw
from tracer_import.operators.context import Operand, like
from tracer_import.operators.table import operator
from tracer_layers import functional

#: what PyTorch writes for "up to the end"
END = 2**63 - 1
#: adds rows of values at places
ADD: Any = ScatterAdd


def _slice(self: TensorLike, dim: int, start: Any, end: Any, step: int) -> tuple[slice, ...]:
    """The index of a slice, within the axis."""
    size = self.shape[dim]
    begin, stop, step = slice(start, None if end is None or end >= END else end, step).indices(size)
    return (*(slice(None),) * (dim % self.ndim), slice(begin, max(begin, stop), step))


@operator("slice.Tensor", "slice_copy.Tensor")
def slice_(
    self: TensorLike, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> TensorLike:
    """A part of an axis."""
    index = _slice(self, dim, start, end, step)
    last = index[-1]
    whole = (last.start, last.stop, last.step) == (0, self.shape[dim], 1)
    return self if whole else self[index]


@operator("narrow.default")
def narrow(self: TensorLike, dim: int, start: int, length: int) -> TensorLike:
    """So many elements of an axis."""
    return slice_(self, dim, start, start + length)


@operator("select.int", "select_copy.int")
def select(self: TensorLike, dim: int, index: int) -> TensorLike:
    """One entry of an axis."""
    lead: tuple[Any, ...] = (slice(None),) * (dim % self.ndim)
    return self[(*lead, index)]


def put(self: TensorLike, index: Any, values: TensorLike) -> TensorLike:
    """A copy with other values at an index."""
    if not isinstance(self, Tensor) and not isinstance(values, Tensor):
        out = np.array(self)
        out[index] = values
        return out
    places = np.arange(self.size).reshape(self.shape)[index]
    flat = np.reshape(np.broadcast_to(values, places.shape), (-1,))
    places = places.reshape(-1)
    kept = np.ones(self.size, bool)
    kept[places] = False
    source = np.full(self.size, 0)
    source[places] = np.arange(len(places))
    mask = like(kept.reshape(self.shape), self)
    new = np.reshape(np.take(flat, like(source, self), axis=0), self.shape)
    return np.where(mask, self, new.astype(self.dtype))


@operator("slice_scatter.default")
def slice_scatter(
    self: TensorLike, src: TensorLike, dim: int = 0, start: int | None = None,
    end: int | None = None, step: int = 1,
) -> TensorLike:  # fmt: skip
    """`self` in which a part of an axis is `src`."""
    index = _slice(self, dim, start, end, step)
    part = index[-1]
    if (part.start, part.step) == (0, 1) and part.stop == self.shape[dim]:
        return np.broadcast_to(src, self.shape)
    if part.step != 1:
        return put(self, index, src)
    lead = index[:-1]
    before, after = self[(*lead, slice(0, part.start))], self[(*lead, slice(part.stop, None))]
    parts = [x for x in (before, src, after) if x.shape[dim]]
    return np.concatenate(parts, axis=dim)


@operator("tracer.narrow_scatter")
def narrow_scatter(
    self: TensorLike, src: TensorLike, dim: int, start: int, length: int
) -> TensorLike:
    """`self` in which so many elements of an axis are `src`."""
    return slice_scatter(self, src, dim, start, start + length)


@operator("select_scatter.default")
def select_scatter(self: TensorLike, src: TensorLike, dim: int, index: int) -> TensorLike:
    """`self` in which one entry of an axis is `src`."""
    index %= self.shape[dim]
    return slice_scatter(self, np.expand_dims(src, dim), dim, index, index + 1)


@operator("diagonal_scatter.default")
def diagonal_scatter(
    self: TensorLike, src: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> TensorLike:
    """`self` in which a diagonal is `src`."""
    places = np.arange(self.size).reshape(self.shape)
    index = np.unravel_index(np.diagonal(places, offset, dim1, dim2), self.shape)
    return put(self, index, src)


def _index(indices: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(slice(None) if index is None else raw(index) for index in indices)


def rows_of(table: TensorLike, rows: TensorLike) -> TensorLike:
    """Rows of a table, by a lookup: a parameter has Kronecker factors then."""
    if bool((raw(rows) < 0).any()):
        rows = np.where(rows < 0, rows + table.shape[0], rows)
    return functional.embedding(rows, table)


@operator("index.Tensor", "_unsafe_index.Tensor")
def index(self: TensorLike, indices: Sequence[TensorLike | None]) -> TensorLike:
    """Elements at places, or where a mask that depends on no sample is true.

    Places that are of samples, as tokens are, keep them.
    """
    if isinstance(self, Tensor) and self.ndim == 2 and len(indices) == 1:
        (rows,) = indices
        if rows is not None and rows.dtype.kind in "iu":
            return rows_of(self, rows)
    if isinstance(self, Tensor):
        return self[tuple(slice(None) if each is None else each for each in indices)]
    given = [each for each in indices if isinstance(each, Tensor) and each.node is not None]
    if len(indices) == len(given) == 1 and given[0].dtype.kind in "iu":
        return np.take(self, given[0], axis=0)
    return self[_index(indices)]


@operator("index_put.default", "_unsafe_index_put.default")
def index_put(
    self: TensorLike, indices: Sequence[TensorLike | None], values: TensorLike,
    accumulate: bool = False,
) -> TensorLike:  # fmt: skip
    """`self` with other values at places, or with these added there."""
    where = _index(indices)
    masks = [x for x in where if getattr(x, "dtype", None) is not None and x.dtype.kind == "b"]
    if masks and len(where) == 1 and np.ndim(raw(values)) == 0 and not accumulate:
        mask = masks[0].reshape(*masks[0].shape, *(1,) * (self.ndim - masks[0].ndim))
        return np.where(mask, values, self)
    if not accumulate:
        return put(self, where, values)
    places = np.arange(self.size).reshape(self.shape)[where]
    added = np.broadcast_to(values, places.shape).reshape(-1)
    positions = like(places.reshape(-1), self)
    return self + ADD(added[None], positions=positions, shape=self.shape)[0]


@operator("index_select.default")
def index_select(self: TensorLike, dim: int, index: TensorLike) -> TensorLike:
    """Entries of an axis."""
    if isinstance(self, Tensor) and self.ndim == 2 and dim % 2 == 0 and self.dtype.kind != "c":
        return rows_of(self, index)
    found = np.take(self if self.ndim else self[None], raw(index), axis=dim)
    return found if self.ndim else np.reshape(found, ())


@operator("gather.default")
def gather(self: TensorLike, dim: int, index: TensorLike, sparse_grad: bool = False) -> TensorLike:
    """Elements along an axis, at other places for each entry of the others."""
    places = raw(index)
    if self.ndim == 0 or places.ndim != self.ndim:  # of none, or of what has no axes
        return np.reshape(np.take(np.reshape(self, (-1,)), places), places.shape)
    cut = tuple(
        slice(None) if axis == dim % self.ndim else slice(0, n)
        for axis, n in enumerate(places.shape)
    )
    return np.take_along_axis(self[cut] if self.shape != places.shape else self, places, dim)


@operator("take_along_dim.default")
def take_along_dim(self: TensorLike, indices: TensorLike, dim: int | None = None) -> TensorLike:
    """The same, broadcast."""
    if dim is None:
        return np.take(np.reshape(self, (-1,)), raw(indices).reshape(-1))
    return np.take_along_axis(self, raw(indices), dim)


@operator("scatter.src", "scatter.value")
def scatter(
    self: TensorLike, dim: int, index: TensorLike, src: Operand = None, value: Operand = None
) -> Any:
    """`self` with other values along an axis, at places of their own."""
    given = value if src is None else src
    places = raw(index)
    axes = np.indices(places.shape, sparse=True)
    where = tuple(places if axis == dim % self.ndim else x for axis, x in enumerate(axes))
    if np.ndim(raw(given)):
        given = given[tuple(slice(0, n) for n in places.shape)]
    return put(self, where, given)


@operator("scatter_add.default")
def scatter_add(self: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> TensorLike:
    """`self` with values added along an axis, at places of their own."""
    places = raw(index)
    axes = np.indices(places.shape, sparse=True)
    where = tuple(places if axis == dim % self.ndim else x for axis, x in enumerate(axes))
    return index_put(self, where, src[tuple(slice(0, n) for n in places.shape)], accumulate=True)


@operator("embedding.default")
def embedding(
    weight: TensorLike, indices: TensorLike, padding_idx: int = -1,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> TensorLike:  # fmt: skip
    """Rows of a table."""
    if scale_grad_by_freq:
        raise TracingError(
            "an embedding scales gradients by how often a row is used, which is not there: build "
            "it with scale_grad_by_freq=False"
        )
    padding = None if padding_idx < 0 else padding_idx
    return functional.embedding(indices, weight, padding_idx=padding)


#: PyTorch's numbers of how the rows of a bag are put together
BAG_MODES = ("sum", "mean", "max")


@operator(
    *("embedding_bag.padding_idx", "embedding_bag.default"),
    *("_embedding_bag.default", "_embedding_bag_forward_only.default"),
)
def embedding_bag(
    weight: TensorLike, indices: TensorLike, offsets: TensorLike, scale_grad_by_freq: bool = False,
    mode: int = 0, sparse: bool = False, per_sample_weights: TensorLike | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> tuple[TensorLike, Any, Any, Any]:  # fmt: skip
    """Rows of a table put together in bags, with places for what is not given here."""
    padding = None if padding_idx is None or padding_idx < 0 else padding_idx
    bags = functional.embedding_bag(
        indices, weight, raw(offsets), mode=BAG_MODES[mode], per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset, padding_idx=padding,
    )  # fmt: skip
    return bags, None, None, None


@operator("one_hot.default")
def one_hot(self: TensorLike, num_classes: int = -1) -> TensorLike:
    """A last axis with one 1."""
    return functional.one_hot(self, num_classes)
