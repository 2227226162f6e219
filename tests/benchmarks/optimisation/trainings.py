"""One training: from a setting to its curves; killed at any moment, it goes on where it was."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

import tracer
import tracer_training as training
from tracer.errors import TracerError
from tracer_experiments import Run

from .methods import METHODS
from .plan import Setting
from .records import Curves, Records, log

#: the share of the training data that is held out for tuning
VALIDATION = 0.2
#: samples that are evaluated at once
EVALUATED = 512
#: seconds after which a training is saved at the end of an epoch
SAVED_EVERY = 30.0


def trained(setting: Setting, records: Records) -> Curves:
    """The curves of a training, which are recorded; one that diverges ends at once."""
    tracer.seed(setting.seed)
    problem = getattr(training.problems, setting.problem)(rng=setting.seed)
    parts = held_out(problem) | {"test": problem.test}
    loader = training.DataLoader(parts["train"], problem.batch_size, shuffle=True, rng=setting.seed)
    optimizer = METHODS[setting.method].optimizer(problem.groups(), setting.choice)
    ended = ""
    with records.begin(setting, problem.source) as record:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                training.fit(
                    problem.model,
                    problem.loss,
                    loader,
                    optimizer=optimizer,
                    epochs=setting.epochs,
                    metrics=problem.metrics,
                    checkpoint=NowAndThen(records.checkpoint(setting)),
                    resume=True,
                    callbacks=[Watch(problem, parts, record)],
                    progress=False,
                )
        except TracerError as error:
            if not is_of_divergence(error):
                raise
            ended = str(error)
        records.finish(record, setting, ended)
    curves = records.get(setting)
    assert curves is not None
    return curves


def is_of_divergence(error: TracerError) -> bool:
    """Whether an error says that a training went out of bounds, and not that it is a wrong one."""
    of_curvature = any(words in str(error) for words in ("is not finite", "is singular"))
    return isinstance(error, training.NonFiniteError) or of_curvature


def held_out(problem: training.Problem) -> dict[str, Any]:
    """What is trained on and what is held out: always the same samples, of each class as many."""
    if problem.metrics:
        train, valid = training.stratified_split(problem.train, 1 - VALIDATION, rng=0)
    else:
        train, valid = training.random_split(problem.train, [1 - VALIDATION, VALIDATION], rng=0)
    return {"train": train, "valid": valid}


class Watch:
    """A callback that evaluates on all parts of the data before the training and after epochs.

    It logs what it finds in the `record`; what a training goes on from is logged again.

    `seconds` are those of the processor, of training alone: what else the machine does, and what
    evaluation takes, does not count.
    """

    def __init__(self, problem: training.Problem, parts: Mapping[str, Any], record: Run):
        self.problem, self.parts, self.record = problem, parts, record
        self.values: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        self._begun = 0.0

    def begin_run(self, run: training.Run) -> None:
        if not self.seconds:
            self._evaluate(0.0)

    def begin_epoch(self, run: training.Run) -> None:
        self._begun = time.process_time()

    def end_epoch(self, run: training.Run) -> None:
        self._evaluate(time.process_time() - self._begun)
        if not np.isfinite(self.values["train_loss"][-1]):
            raise TracerError("the loss on the training data is not finite")

    def _evaluate(self, seconds: float) -> None:
        self.seconds.append(seconds + (self.seconds[-1] if self.seconds else 0.0))
        problem = self.problem
        for part, data in self.parts.items():
            found = training.evaluate(
                problem.model, problem.loss, data, metrics=problem.metrics, batch_size=EVALUATED
            )
            for name, value in found.items():
                self.values.setdefault(f"{part}_{name}", []).append(value)
        log(self.record, self.values, self.seconds, len(self.seconds) - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.values = {name: list(values) for name, values in state["values"].items()}
        self.seconds = list(state["seconds"])
        self.record.rewind(0)
        log(self.record, self.values, self.seconds)


class NowAndThen(training.Checkpoint):
    """A checkpoint that is written at the end of an epoch if the last one is some time ago."""

    def __init__(self, path: Any):
        super().__init__(path)
        self._last = time.monotonic()

    def end_epoch(self, run: training.Run) -> None:
        if time.monotonic() - self._last >= SAVED_EVERY:
            self.save(run)
            self._last = time.monotonic()
