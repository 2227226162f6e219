"""Where samples are moved to: the numbers of samples, moved as an operation moves values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array
from tracer.record.axes import (
    KNOWN,
    POOLED,
    SAMPLED,
    UNKNOWN,
    Axis,
    OfOne,
    labelled,
    position_of,
    samples_of,
)
from tracer.record.node import Node

#: where entries of samples and of none were moved to: an axis, and the sample of each entry on it,
#: -1 of none
Unfilled: TypeAlias = dict[Node, tuple[int, np.ndarray]]


def of_moved(node: Node, axes: Sequence[Axis], count: int, unfilled: Unfilled) -> Axis:
    """Where an operation moves the entries of `count` samples to: it moves their numbers alike.

    Where what it gives has entries of no sample, too, that is noted in `unfilled`.
    """
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
            along = unfilled.get(parent)
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
            unfilled[node] = changing[0], _line(numbers, changing[0])
        return UNKNOWN
    return _axis_of_numbers(numbers, count)


def only_places_unknown(node: Node, axes: Sequence[Axis], unfilled: Mapping[Node, object]) -> bool:
    """Whether what is moved has known samples, and only what says where to is of unknown ones.

    Their values are there, as those of `np.argsort(lengths)` along the batch.
    """
    moving = None if node.op.moves is None else node.op.moves(node)
    if not moving:
        return False
    followed = [isinstance(axes[slot], KNOWN) for slot in moving]
    partly = [node.parents[slot] in unfilled for slot in moving]
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
