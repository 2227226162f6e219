"""An operation at one example, with what the checks do to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer.api.tape import Tape
from tracer.arrays.types import Array, Stack
from tracer.record.leaves import parameter
from tracer.record.node import Node, Params
from tracer.record.operation import Operation
from tracer.record.tensor import TensorLike
from tracer.sweep.rules import cotangents_of, entry_value, fit
from tracer.testing.agreement import agree

#: rows of the stacks that rules are given
ROWS = 3


class Case:
    """An operation at one example. `slots` are the inputs that are differentiated."""

    def __init__(self, op: Operation, inputs: Sequence[Any], params: Params, title: str):
        self.op, self.params, self.title = op, params, title
        self.inputs = [np.asarray(x) if isinstance(x, np.generic) else x for x in inputs]
        self.slots = [
            i for i, x in enumerate(self.inputs)
            if isinstance(x, np.ndarray) and x.dtype.kind == "f"
        ]  # fmt: skip
        if not self.slots:
            raise AssertionError(f"{title}: an example needs an array of floats among its inputs")
        self.rng = np.random.default_rng(0)
        self.floats = [self.inputs[i] for i in self.slots]
        self.given = [x.copy() for x in self.floats]
        self.output = np.asarray(op.forward(*self.inputs, **params))
        self.node = self.record(self.inputs)

    def filled(self, floats: Sequence[Array]) -> list[Any]:
        """The inputs, with these in place of the arrays of floats."""
        inputs = list(self.inputs)
        for slot, x in zip(self.slots, floats, strict=True):
            inputs[slot] = x
        return inputs

    def call(self, *floats: Array) -> TensorLike:
        return self.op(*self.filled(floats), **self.params)

    def weighted(self, weights: Array) -> Callable[..., Any]:
        """The sum of the output's elements with these weights, of the arrays of floats."""
        return lambda *floats: np.sum(self.call(*floats) * weights)

    def record(self, inputs: Sequence[Any]) -> Node:
        """A node of the operation. Its inputs are no leaves: it has of them what it saves."""
        with Tape():
            output = self.op(
                *(+parameter(x) if i in self.slots else x for i, x in enumerate(inputs)),
                **self.params,
            )
        assert output.node is not None
        return output.node

    def pull(self, node: Node, g: Stack) -> list[Stack]:
        """Stacks `[V, *input.shape]` per slot from the `vjp`; zeros where it gives None."""
        entries = cotangents_of(node, node, g)
        stacks = []
        for slot in self.slots:
            shape, entry = node.input_shape(slot), entry_value(entries[slot])
            if entry is None:
                entry = np.zeros_like(g, shape=(len(g), *shape))
            if entry.shape[0] != len(g):
                raise AssertionError(
                    f"{self.title}: the vjp gives input {slot} the shape {list(entry.shape)} for "
                    f"{len(g)} rows: stacks have the shape [V, *input.shape]"
                )
            stacks.append(fit(entry, shape))
        return stacks

    def random(self, *lead: int, like: Array | None = None) -> Stack:
        shape = self.output.shape if like is None else like.shape
        return self.rng.standard_normal((*lead, *shape))

    def agree(self, what: str, got: Array, expected: Array, rtol: float, atol: float) -> None:
        agree(f"{self.title}: {what}", got, expected, rtol, atol)
