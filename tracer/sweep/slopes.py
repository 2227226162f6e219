"""Tangents of operations whose rule for them follows from another: the cotangents', or `forward`.

Each is a `jvp(node, tangents)`, to be named in an operation as `jvp = by_slopes`. Tangents are
stacks `[V, *input.shape]`, None for inputs that are constant, and what is given is a stack
`[V, *output.shape]`, or `NotImplemented` where the rule for cotangents is to be transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np

from tracer.arrays.types import Array, Shape, Stack
from tracer.record.node import Params
from tracer.record.operation import Operation
from tracer.record.rules import Rules
from tracer.record.tensor import Tensor
from tracer.sweep.rules import View, entry_value

#: stacks of tangents, one for each input; None for one that is constant
Tangents: TypeAlias = "Sequence[Stack | None]"
#: what an operation was given
Value: TypeAlias = "Array | Tensor | complex | None"


def by_slopes(node: View, tangents: Tangents) -> Stack:
    """Of an elementwise operation: its rule for cotangents multiplies by the slope, as this does.

    Every elementwise operation has it without saying so.
    """
    total, shape, dtype = None, node.shape, node.dtype
    for slot, tangent in enumerate(tangents):
        if tangent is None:
            continue
        if tangent.dtype is not dtype and tangent.dtype != dtype:
            wide = np.result_type(tangent.dtype, dtype)
            tangent = tangent if tangent.dtype == wide else tangent.astype(wide)
        if tangent.shape[1:] != shape:
            tangent = broadcast_tangent(tangent, shape)
        entry = entry_value(node.op.vjp(node, tangent)[slot])
        if entry is None:
            continue
        if entry.shape != tangent.shape:
            return NotImplemented  # the rule has summed what was broadcast
        total = entry if total is None else total + entry
    if total is None:
        return zeros(node, first(tangents))
    if dtype.kind != "c" and total.dtype.kind == "c":
        return np.real(total)
    return total


def by_symmetry(node: View, tangents: Tangents) -> Stack:
    """Of an operation of one input whose derivative is a symmetric matrix, as that of a softmax."""
    return entry_value(node.op.vjp(node, tangents[0])[0])


def by_contraction(axes: Callable[[View], Sequence[int]]) -> Callable[[View, Tangents], Stack]:
    """Of an operation that makes each element of the output of elements that no other is made of.

    Those lie along these axes of the first input, counted from its end. The slopes are what the
    rule for cotangents gives for ones.
    """

    def jvp(node: View, tangents: Tangents) -> Stack:
        tangent, *others = tangents
        if tangent is None or any(other is not None for other in others):
            return NotImplemented
        like = tangent._value if isinstance(tangent, Tensor) else tangent
        one = np.ones_like(like, shape=(1, *node.shape), dtype=node.dtype)
        slopes = entry_value(node.op.vjp(node, one)[0])
        if slopes is None:
            return zeros(node, tangent)
        moved = np.sum(tangent * slopes, axis=tuple(axes(node)))
        if node.dtype.kind != "c" and moved.dtype.kind == "c":
            moved = np.real(moved)
        return moved.reshape(len(tangent), *node.shape)

    jvp.__doc__ = "The sum of t * g_x along these axes, with g_x that of the vjp for ones."
    return jvp


def by_stacks(node: View, tangents: Tangents) -> Stack:
    """Of a linear operation whose `forward` counts axes from the end: what it makes of stacks."""
    like = first(tangents)
    rows, like = len(like), like._value if isinstance(like, Tensor) else like
    inputs = []
    for slot, tangent in enumerate(tangents):
        if tangent is None:
            shape = node.input_shape(slot)
            tangent = np.broadcast_to(np.zeros_like(like, shape=(1,) * len(shape)), (rows, *shape))
        inputs.append(tangent)
    return cast("Operation", node.op)(*inputs, **node.params)


def by_rows(node: View, tangents: Tangents) -> Stack:
    """Of a linear operation: what it makes of one row after the other.

    Every linear operation has it without saying so.
    """
    constants = []
    for slot, (tangent, value) in enumerate(zip(tangents, node.inputs, strict=True)):
        if tangent is None:
            value = _without_tangent(node, slot, value, first(tangents))
            if value is NotImplemented:
                return value
        constants.append(value)
    return rows_of(node.op, node.params, constants, tangents)


def _without_tangent(node: View, slot: int, value: Value, like: Stack) -> Value:
    """An input of a linear operation that does not move: zero, or what is no number."""
    parent = node.parents[slot]
    dtype = parent.dtype if parent is not None else getattr(value, "dtype", None)
    if dtype is None:
        return type(value)(0) if isinstance(value, float | complex) else value
    if dtype.kind not in "fc":
        return NotImplemented if value is None else value
    like = like._value if isinstance(like, Tensor) else like
    return np.zeros_like(like, shape=node.input_shape(slot), dtype=dtype)


def rows_of(op: Rules, params: Params, inputs: Sequence[Value], tangents: Tangents) -> Stack:
    """A stack of what an operation makes of the inputs with each row of tangents in their place."""
    call = cast("Operation", op)
    moved = [
        call(*(x if t is None else t[v] for x, t in zip(inputs, tangents, strict=True)), **params)
        for v in range(len(first(tangents)))
    ]
    return moved[0][None] if len(moved) == 1 else np.stack(moved)


def by_slots(node: View, tangents: Tangents) -> Stack:
    """Of a product: the sum of those with the tangent of each input in the place of that input.

    It is linear in each of them, and zero where that is zero.
    """
    count = len(tangents)
    alone = [
        [t if i == slot else None for i in range(count)]
        for slot, t in enumerate(tangents) if t is not None
    ]  # fmt: skip
    parts = [rows_of(node.op, node.params, node.inputs, each) for each in alone]
    return sum(parts[1:], parts[0])


def zeros(node: View, tangent: Stack) -> Stack:
    """Tangents of an output that does not move, as many as there are of an input."""
    like = tangent._value if isinstance(tangent, Tensor) else tangent
    return np.zeros_like(like, shape=(len(like), *node.shape), dtype=node.dtype)


def first(tangents: Tangents) -> Stack:
    """The first of the tangents that there are."""
    return next(t for t in tangents if t is not None)


def lifted(tangent: Stack, rank: int) -> Stack:
    """A stack with axes of size 1 behind that of the rows, until `rank` axes follow it."""
    missing = rank + 1 - tangent.ndim
    if missing <= 0:
        return tangent
    return tangent.reshape(len(tangent), *(1,) * missing, *tangent.shape[1:])


def summed(new: Stack, other: Stack) -> Stack:
    """The sum of two stacks: in the memory of the first, which a rule has just made, if it fits."""
    if type(new) is np.ndarray is type(other) and new.shape == other.shape:
        return np.add(new, other, out=new) if new.dtype == other.dtype else new + other
    return new + other


def broadcast_tangent(tangent: Stack, shape: Shape) -> Stack:
    """A stack `[V, *input.shape]` as `[V, *shape]`."""
    if tangent.shape[1:] == shape:
        return tangent
    return np.broadcast_to(lifted(tangent, len(shape)), (len(tangent), *shape))
