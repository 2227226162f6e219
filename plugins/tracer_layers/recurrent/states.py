"""First states of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import ShapeError
from tracer.extend import CONSTANT, INPUT, Array, TensorLike, backend, describe
from tracer_layers.module.dtypes import floats
from tracer_layers.module.rules import raw

#: leaves of batches, whose states may be of other axes
LEAVES = (INPUT, CONSTANT)


def described(value: object) -> str:
    """Shape and dtype of an array, or of each in a tuple, list or dict, for messages."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {described(v)}' for k, v in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(described(v) for v in value)})"
    return describe(value)


def given_states(layer: str, hx: Any, count: int) -> list[Any]:
    """The `count` arrays that a first state consists of, one or a pair; Nones if it is None."""
    if hx is None:
        return [None] * count
    given = hx if count > 1 else (hx,)
    if (
        not isinstance(given, tuple | list)
        or len(given) != count
        or not all(is_array(state) for state in given)
    ):
        form = "a pair (h, c) of arrays" if count > 1 else "one array"
        raise ShapeError(f"{layer} expects its state as {form}, got {described(hx)}")
    return [unmarked(state) for state in given]


def is_array(value: object) -> bool:
    """Whether it is an array or a tensor."""
    return isinstance(value, Tensor) or backend.is_array(value)


#: what the first states are called in a graph: the only one of a layer, or both of an LSTM
NAMES = {1: ("first state",), 2: ("first state h", "first state c")}


def first_state(
    layer: str, given: TensorLike | None, x: TensorLike, size: int, name: str
) -> TensorLike:
    """A state `[N, size]` of the samples of `x [..., N, features]`: zeros if none is given.

    One for all samples, `[1, size]`, is broadcast. In a graph it has this name.
    """
    count, like = x.shape[-2], raw(x)
    if given is None:
        return _batch_like(x, np.zeros_like(like, shape=(count, size)), name)
    given = floats(given, x)
    if given.ndim != 2 or given.shape[1] != size or given.shape[0] not in (1, count):
        several = f" for {count} samples, or [1, {size}] for all of them" if count > 1 else ""
        raise ShapeError(
            f"{layer} expects a state [{count}, {size}]{several}, got {described(given)}"
        )
    if given.dtype != x.dtype:
        raise ShapeError(
            f"{layer} expects a state of the input's dtype {x.dtype}, got {described(given)}: "
            f"convert it with astype"
        )
    return of_samples(given, count, x, name)


def of_samples(state: TensorLike, count: int, x: TensorLike, name: str = NAMES[1][0]) -> TensorLike:
    """A state `[N, ...]`, or `[1, ...]` for all samples, as one of each of the `count` of `x`.

    A tensor meets zeros of the batch, so that each sample has a state of its own below which a
    learned one collects its gradient.
    """
    state = unmarked(state)
    if isinstance(state, Tensor) and state.node is not None:
        zeros = np.zeros_like(raw(state), shape=(count, *(1,) * (state.ndim - 1)))
        return state + _batch_like(x, zeros, "zero for each sample")
    array = raw(state)
    return _batch_like(x, np.broadcast_to(array, (count, *array.shape[1:])), name)


def _batch_like(x: TensorLike, array: Array, name: str) -> Tensor:
    """An array `[N, ...]` as a batch of the samples that `x` has, in whatever order they are."""
    tensor = tracer.batch(array, name=name)
    computed = isinstance(x, Tensor) and x.node is not None and x.node.op not in LEAVES
    if computed and tensor.node is not None:
        tensor.node.params["like"] = x.node
    return tensor


def unmarked(state: Any) -> Any:
    """The array of a state that is marked as a batch; anything else as it is.

    The outermost module marks all that it is called with along one axis. That of the samples in
    sequences and that in states may differ.
    """
    marked = isinstance(state, Tensor) and state.node is not None and state.node.op in LEAVES
    return raw(state) if marked else state
