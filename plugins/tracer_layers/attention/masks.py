"""Masks of attention as what is added to the scores: 0 where a key may be seen, -inf elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracer import Tensor
from tracer.errors import ShapeError
from tracer.extend import Array, DType, TensorLike, backend, describe
from tracer_layers.module.rules import raw


def additive(name: str, mask: TensorLike, dtype: DType, *, hidden: bool) -> TensorLike:
    """A mask in `dtype`; where one of bools is `hidden`, its key is not seen.

    Floats are added as they are. A mask that wants a gradient, as a learned bias does, stays one
    that is traced. Raises `ShapeError` for other dtypes.
    """
    values = raw(mask)
    if not hasattr(values, "dtype"):
        raise ShapeError(f"{name} is an array of bools or floats, got {type(mask).__name__}")
    if values.dtype == bool:
        return np.where(values == hidden, -np.inf, 0.0).astype(dtype)
    if values.dtype.kind != "f":
        raise ShapeError(
            f"{name} is of dtype bool or of a float dtype, got {describe(values)}: convert it with "
            f"mask.astype(bool)"
        )
    if isinstance(mask, Tensor) and mask.node is not None and mask.node.wants:
        return mask
    return values.astype(dtype)


def causal(queries: int, keys: int, like: Array) -> Array:
    """`[queries, keys]` that hides from query i the keys behind position i, in the library and
    dtype of `like`.
    """
    return backend.of(like).constant(_ahead, queries, keys, like.dtype)


def _ahead(queries: int, keys: int, dtype: DType) -> np.ndarray:
    behind = np.arange(keys) > np.arange(queries)[:, None]
    return np.where(behind, -np.inf, 0.0).astype(dtype)


def combined(masks: Sequence[TensorLike | None]) -> TensorLike | None:
    """The sum of those masks that are not None, or None."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    total, *rest = given
    for mask in rest:
        total = total + mask
    return total


def refuse_empty_rows(function: str, bias: TensorLike) -> None:
    """Raise `ShapeError` that names the first query whose keys are all hidden.

    Its softmax is 0/0, which is what it gives where asking would wait for a device.
    """
    values = raw(bias)
    if backend.of(values).asynchronous:
        return
    empty = np.all(values == -np.inf, axis=-1)
    if not bool(np.any(empty)):
        return
    rows = backend.to_host(empty)
    place = np.argwhere(rows)[0].tolist()
    names = ("sample", "head", "query")[-len(place) :] if place else ()
    named = [
        f"{name} {at}"
        for name, at, size in zip(names, place[-3:], rows.shape[-3:], strict=True)
        if size > 1 or name == names[0]
    ]
    row = " of ".join(reversed(named)) or "every query"
    raise ShapeError(
        f"{function} expects a mask that leaves every query a key, got one {list(values.shape)} "
        f"that hides all {values.shape[-1]} keys from {row}: let it see a key, or leave it out"
    )
