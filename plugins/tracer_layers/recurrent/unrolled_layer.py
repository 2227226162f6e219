"""`Recurrent`: any cell, unrolled in time."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracer
from tracer.errors import ShapeError
from tracer.extend import Array, Convertible, TensorLike, Tree, backend, flatten
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw
from tracer_layers.recurrent.cells import RecurrentCell
from tracer_layers.recurrent.sequences import checked_lengths, filled, within_lengths
from tracer_layers.recurrent.states import described, is_array, of_samples

__all__ = ["Recurrent"]


class Recurrent(Module):
    """Runs a cell over sequences: `cell(x_t, state) -> (y_t, state)`, once for every step.

    `cell` is any module (or function); its state is an array or nested tuples, lists and dicts of
    arrays, each with the samples first. `RNNCell`, `LSTMCell` and `GRUCell` work as they are: what
    they put out is their hidden state. `reverse` runs from the last step to the first.

    ```python
    layer = Recurrent(LSTMCell(8, 16))
    outputs, (h, c) = layer(x)      # x [T, N, 8], outputs [T, N, 16]
    ```
    """

    def __init__(self, cell: Any, batch_first: bool = False, reverse: bool = False):
        self.cell = cell
        self.batch_first = batch_first
        self.reverse = reverse

    @property
    def sequence_first(self) -> bool:  # type: ignore[override]  # of the instance, here
        return not self.batch_first

    def forward(
        self, input: TensorLike, state: Tree = None, *, lengths: Convertible | None = None
    ) -> tuple[TensorLike, Tree]:
        """`(outputs, state)` of sequences `[T, N, ...]` (or `[N, T, ...]` with `batch_first`).

        `outputs` are the cell's, stacked like the input; `state` the one after the last step.
        `state` starts as given; None is the cell's own to interpret. `lengths [N]` are the steps of
        each sequence where they differ: those after a sequence's end are zero in the output, leave
        its state alone, and count in no gradient.

        Raises `ShapeError` for lengths that do not fit, and for a cell that returns no pair or
        changes the structure or shapes of its state.
        """
        if input.ndim < 2 or 0 in input.shape[:2]:
            raise ShapeError(
                f"Recurrent expects sequences of at least one step and sample, "
                f"{'[N, T, ...]' if self.batch_first else '[T, N, ...]'}, got {described(input)}"
            )
        x = np.swapaxes(input, 0, 1) if self.batch_first else input
        mask, shortest = None, len(x)
        if lengths is not None:
            lengths = checked_lengths(lengths, x.shape[0], x.shape[1])
            mask, shortest = within_lengths(lengths, len(x)), int(lengths.min())
            mask = backend.of(raw(x)).from_host(mask)
            x = filled(x, lengths, 0)
        state = _of_samples(state, x)
        outputs: list[Any] = [None] * len(x)
        for t in tracer.steps(len(x), reverse=self.reverse):
            there = None if t < shortest else mask[t]
            with tracer.present(there):
                y, after = self._step(x[t], state)
            _check_structure(state, after)
            if there is not None:
                y = _where(there, y, 0)
                after = _kept(there, after, state)
            outputs[t], state = y, after
        stacked = np.stack(outputs)
        return (np.swapaxes(stacked, 0, 1) if self.batch_first else stacked), state

    def _step(self, x: TensorLike, state: Tree) -> tuple[TensorLike, Tree]:
        result = self.cell(x, state)
        if isinstance(self.cell, RecurrentCell):
            return (result[0] if isinstance(result, tuple) else result), result
        if not isinstance(result, tuple) or len(result) != 2 or not is_array(result[0]):
            raise ShapeError(
                f"Recurrent expects a cell that returns a pair (y, state), y an array, got "
                f"{described(result)} from {type(self.cell).__name__}"
            )
        return result

    def extra_repr(self) -> str:
        options = {"batch_first": self.batch_first, "reverse": self.reverse}
        return ", ".join(f"{name}=True" for name, on in options.items() if on)


def _kept(there: Array, after: Tree, before: Tree) -> Tree:
    """The state after a step of the sequences that have it, that before of the others."""
    if before is None:
        raise ShapeError(
            "Recurrent expects state= with lengths= and reverse=True, got None: a sequence that "
            "ends before the first step that is run keeps the state that it starts with"
        )
    new, structure = flatten(after)
    old, _ = flatten(before)
    return structure.build([_where(there, n, o) for n, o in zip(new, old, strict=True)])


def _where(there: Array, value: TensorLike, other: TensorLike) -> TensorLike:
    return np.where(there.reshape(-1, *(1,) * (value.ndim - 1)), value, other)


def _of_samples(state: Tree, x: TensorLike) -> Tree:
    """A first state whose every array has the samples first, or one row for all of them."""
    if state is None:
        return None
    leaves, structure = flatten(state)
    count = x.shape[1]
    for leaf in leaves:
        if not is_array(leaf) or leaf.ndim < 1 or leaf.shape[0] not in (1, count):
            raise ShapeError(
                f"Recurrent expects a state with the {count} samples first, or one row for all of "
                f"them, got {described(leaf)}"
            )
    return structure.build([of_samples(leaf, count, x) for leaf in leaves])


def _check_structure(before: Tree, after: Tree) -> None:
    """Refuse a step that changes the structure of the state, or a shape in it."""
    if before is not None and not _alike(before, after):
        raise ShapeError(
            f"Recurrent expects a cell that returns a state like the one it is given, "
            f"{described(before)}, got {described(after)}"
        )


def _alike(one: Tree, other: Tree) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return is_array(one) and is_array(other) and one.shape == other.shape
