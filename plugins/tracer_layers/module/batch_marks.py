"""The batches that the outermost module of a call is given, and on which axis their samples are."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import tracer
from tracer import Tensor
from tracer.extend import (
    Array,
    Node,
    Params,
    SampledArray,
    TensorLike,
    axis_of,
    backend,
    current_tape,
    owner,
    paused_tape,
)


class Model(Protocol):
    """What is called with batches: a module, by what it says of their samples; see `Module`."""

    @property
    def batch_axis(self) -> int: ...

    def _may_be_sequence_first(self) -> bool: ...

    def holds_samples(self, value: TensorLike) -> bool: ...


_choosing: ContextVar[Choice | None] = ContextVar("tracer_layers_choosing", default=None)

#: what the call that is going on has to find out, or None
choosing = _choosing.get


def marked(
    model: Model, inputs: tuple[Any, ...], options: Params
) -> tuple[tuple[Any, ...], dict[str, Any], Choice | None]:
    """Raw arrays as batches, where they have as many samples as the first of them.

    That is one of booleans, too; of the others, `Module.holds_samples` tells.
    """
    given = [*inputs, *options.values()] if options else inputs
    axes = _axes(model, given, model.batch_axis)
    choice = None
    if model._may_be_sequence_first() and (current_tape() or paused_tape()) is not None:
        choice = Choice(type(model).__name__)
        made = list(map(choice.mark, given, axes, _axes(model, given, 1)))
        _choosing.set(choice)
    else:
        made = list(map(_marked, given, axes))
    if not options:
        return tuple(made), options, choice
    count = len(inputs)
    return tuple(made[:count]), dict(zip(options, made[count:], strict=True)), choice


def _marked(value: Any, axis: int | None) -> Any:
    return value if axis is None else tracer.batch(value, axis)


def _axes(model: Model, given: Sequence[Any], axis: int) -> list[int | None]:
    """The axis of each array that is a batch, if samples are on this one; None for the others.

    That of an array that knows its samples, as `np.argmax(logits, 1)` does, is its own.
    """
    found: list[int | None] = []
    count = None
    for i, value in enumerate(given):
        found.append(None)
        known = axis_of(value.leaf) if type(value) is SampledArray and value.leaf else None
        if known is not None:  # it stays where it is, in its order
            found[-1] = known if isinstance(known, int) else None
            continue
        array = value._value if isinstance(value, Tensor) and value.node is None else value
        if isinstance(array, Tensor) or not backend.is_array(array) or array.ndim <= axis:
            continue
        if count not in (None, array.shape[axis]):
            _note_unmarked(array)
            continue
        if model.holds_samples(array) or (i == 0 and array.dtype.kind == "b"):
            count, found[-1] = array.shape[axis], axis
    return found


def _note_unmarked(array: Array) -> None:
    """Tell the tape of an array of another length than the batch, should a loss be of it alone."""
    tape = current_tape()
    if tape is not None and array.dtype.kind == "f" and array.shape[0] > 1:
        whole = owner(tape)
        whole.unmarked_inputs = (*whole.unmarked_inputs, array)


class Choice:
    """On which of two axes a model's inputs have their samples.

    Layers that take sequences first, and so have the samples on axis 1, tell it by what they are
    called with, the first that is made of the inputs in a way that can be followed.
    """

    def __init__(self, model: str):
        self.model = model
        self._leaves: list[tuple[Node, tuple[int | None, int | None]]] = []
        self._asked = self._known = False

    def mark(self, value: Any, first: int | None, second: int | None) -> Any:
        """An array as a batch with its samples on the first axis, until another one is chosen."""
        if first is None and second is None:
            return value
        tensor = tracer.batch(value, first if first is not None else second or 0)
        assert tensor.node is not None
        self._leaves.append((tensor.node, (first, second)))
        tensor.node.params["axis"] = first
        return tensor

    def declare(self, axis: int, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Note that a layer has the samples on this axis of what it is called with."""
        values = [getattr(value, "padded", value) for value in (*inputs, *options.values())]
        x = next((v for v in values if isinstance(v, Tensor) and v.ndim > 2), None)
        if self._known or x is None or x.node is None:
            return
        for number in (0, 1):
            self._choose(number)
            found = axis_of(x.node)
            if found == axis:
                self._known = True
                return
            self._asked |= found is not None  # else it is made of parameters alone
        self._choose(0)

    def _choose(self, number: int) -> None:
        for leaf, axes in self._leaves:
            leaf.params["axis"] = axes[number]

    def done(self) -> None:
        """The call has ended: what nobody could tell is not known."""
        _choosing.set(None)
        if self._asked and not self._known:
            for leaf, _ in self._leaves:
                leaf.params["unclear"] = self.model
