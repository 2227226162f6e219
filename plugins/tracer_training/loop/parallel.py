"""What a training asks of the processes that take its steps together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from tracer import Tensor
from tracer.extend import Array
from tracer_training.checkpoints.checkpoint import Stateful
from tracer_training.kinds import (
    Asked,
    Inputs,
    LossFunction,
    Model,
    Results,
    Saved,
    StateDict,
    Targets,
)
from tracer_training.loop.metrics import Metric
from tracer_training.optimizers import Optimizer

Item = TypeVar("Item")
Made = TypeVar("Made")


class Recorded(Protocol):
    """What came of a batch: the results of its sweep, and its loss, an array without axes."""

    results: Results
    loss: Array

    def measured(self, metrics: Mapping[str, Metric] | None) -> Sequence[tuple[Saved, int]]:
        """Metrics (None: the usual ones), each with the samples that they are means over."""


#: inputs, target, quantities -> results of a sweep, the loss, the outputs
Record = Callable[[Inputs, Targets, Asked], tuple[Results, Tensor, Array]]


class Parallel(Protocol):
    """Processes that train together: what `fit` takes as `parallel`.

    All of them call `fit` alike; in each, model and optimiser go through the same values. What
    is written, the first one alone writes.
    """

    is_first: bool
    #: how many processes there are, and into how many parts a batch is cut, if that was said
    size: int
    parts: int | None

    def begin(
        self, model: Model, loss: LossFunction, begun: Sequence[Stateful], at: Sequence[int]
    ) -> None:
        """Take over the state of the first process: of what has `begun`, and random generators.

        Raises `TracerError` where others stand elsewhere than `at` this epoch, batch and step.
        """

    def together(self) -> AbstractContextManager[None]:
        """In it, what one process alone raises ends all; what all raise, the first one tells."""

    def record(
        self, model: Model, record: Record, inputs: Inputs, target: Targets, quantities: Asked
    ) -> Recorded:
        """What comes of a batch, of which each process records and sweeps a part."""

    def mapped(
        self, model: Model, function: Callable[[Item], Made], items: Iterable[Item]
    ) -> list[Made]:
        """`function` of all items, in their order; each is called by one of the processes."""

    def stepping(self, optimizer: Optimizer) -> AbstractContextManager[None]:
        """In it an optimiser steps, with what its step divides among the processes."""

    def first(self, decide: Callable[[], Made]) -> Made:
        """What the first process makes, in all of them; so is what it raises."""

    def state_dict(self) -> StateDict: ...

    def load_state_dict(self, state: Saved) -> None: ...
