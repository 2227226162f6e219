"""Elements by where they lie in memory: an index array of sizes, strides and an offset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tracer.errors import ShapeError, TracingError
from tracer.extend import TensorLike
from tracer_import.operators.context import like, sizes
from tracer_import.operators.indexing import put
from tracer_import.operators.table import operator

Sizes = Sequence[int]


@operator("as_strided.default", "as_strided_copy.default")
def as_strided(
    self: TensorLike, size: Sizes, stride: Sizes, storage_offset: int | None = None,
    order: Sizes = (),
) -> TensorLike:  # fmt: skip
    """`y[i, j, ...]` is the element `storage_offset + i stride[0] + j stride[1] + ...` in memory.

    `order` are the axes as they lay in memory, outermost first; none is their own order. Where the
    first axis stays the outermost, as that of samples does, elements are taken within its entries.
    """
    x = np.transpose(self, order) if order else self
    size, stride, offset = sizes(size), sizes(stride), int(storage_offset or 0)
    if _keeps_first(x.shape, size, stride, offset):
        rest = x.shape[1:]
        places = _places(math.prod(rest), size[1:], stride[1:], offset)
        if np.array_equal(places.reshape(-1), np.arange(math.prod(rest))):
            return np.reshape(x, size)
        flat = np.reshape(x, (x.shape[0], -1))
        return np.reshape(np.take(flat, like(places.reshape(-1), self), axis=1), size)
    places = _places(math.prod(x.shape), size, stride, offset)
    return np.reshape(np.take(np.reshape(x, (-1,)), like(places.reshape(-1), self)), size)


@operator("as_strided_scatter.default")
def as_strided_scatter(
    self: TensorLike, src: TensorLike, size: Sizes, stride: Sizes,
    storage_offset: int | None = None, order: Sizes = (),
) -> TensorLike:  # fmt: skip
    """`self` in which what `as_strided` shows is `src`."""
    x = np.transpose(self, order) if order else self
    places = _places(math.prod(x.shape), sizes(size), sizes(stride), int(storage_offset or 0))
    if len(np.unique(places)) < places.size:
        raise TracingError(
            f"as_strided with sizes {list(size)} and strides {list(stride)} shows an element "
            f"twice, and the program writes there: write into a copy, x.clone()"
        )
    new = put(x, np.unravel_index(places, x.shape), src)
    return np.transpose(new, np.argsort(order)) if order else new


def _keeps_first(shape: Sizes, size: Sizes, stride: Sizes, offset: int) -> bool:
    """Whether the first axis is that of `shape`, and each of its entries is taken within itself."""
    if not shape or not size or shape[0] != size[0] or 0 in size:
        return False
    inner = math.prod(shape[1:])
    last = offset + sum((n - 1) * step for n, step in zip(size[1:], stride[1:], strict=True))
    return last < inner and (size[0] == 1 or stride[0] == inner)


@lru_cache(maxsize=256)
def _places(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> np.ndarray:
    """The places of elements among `count` that lie in a row."""
    places = np.full(size, offset)
    for axis, (n, step) in enumerate(zip(size, stride, strict=True)):
        places += (np.arange(n) * step).reshape(-1, *(1,) * (len(size) - axis - 1))
    if places.size and (places.min() < 0 or places.max() >= count):
        raise ShapeError(
            f"as_strided with sizes {list(size)}, strides {list(stride)} and offset {offset} "
            f"reaches beyond an array of {count} elements: call contiguous() on it before"
        )
    places.setflags(write=False)
    return places
