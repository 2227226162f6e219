"""One training: where it stands, and the loop that takes it on."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer_training.kinds import Batch, Data, Inputs, Record, Results, Saved, StateDict, Targets
from tracer_training.loop.callbacks import Audience
from tracer_training.loop.evaluation import divided, evaluate, samples_of
from tracer_training.loop.failures import non_finite
from tracer_training.loop.history import History
from tracer_training.loop.metrics import Means, Metric
from tracer_training.loop.recording import Recording
from tracer_training.loop.reporting import Reporter
from tracer_training.loop.saving import Checkpoint, SameSchedule, Weights
from tracer_training.loop.steps import Stepper

__all__ = ["Run"]

#: steps between two looks at a loss that is on a device, which is waited for then
LOOKED_AT = 50


class Run:
    """A training as its callbacks and the hooks of plugins see it.

    `model`, `optimizer`, `schedule`, `train` and `test` are those of `fit`. `epoch` and `step`
    count what is done, `batch` the batches of this epoch. `history` has the records of the epochs;
    `loss` (an array without axes) and `results` are those of the last step. `failed` says that an
    error, or an interruption, ends it, `is_resumed` that it was to go on from a checkpoint.
    """

    def __init__(
        self,
        stepper: Stepper,
        train: Data,
        test: Data,
        *,
        schedule: Any,
        schedule_every: str,
        epochs: int,
        metrics: Mapping[str, Metric] | None,
        audience: Audience,
        recording: Recording,
        checkpoint: Checkpoint | None,
        reporter: Reporter,
    ):
        self.stepper = stepper
        self.model, self.optimizer = stepper.model, stepper.optimizer
        self.train, self.test, self.schedule = train, test, schedule
        self.schedule_every, self.epochs, self.metrics = schedule_every, epochs, metrics
        self.audience, self.recording = audience, recording
        self.checkpoint, self.reporter = checkpoint, reporter
        self.epoch = self.step = self.batch = 0
        self.history = History()
        self.results: Results = {}
        self.loss: Any = math.nan
        self.stopped = self.failed = self.is_resumed = False
        self._means = Means()
        #: of the batches of a step
        self._losses = Means()
        self._seconds = 0.0
        #: the rate of the last step, of the first group
        self._rate = math.nan
        self._error: BaseException | None = None

    @property
    def weights(self) -> Any:
        """What has the state of the model: itself, or the optimiser's parameters of a function."""
        return self.model if hasattr(self.model, "state_dict") else Weights(self.optimizer)

    def stop(self) -> None:
        """End the training after this step."""
        self.stopped = True

    def go(self) -> History:
        """Train until the epochs are over, or something stops it."""
        has_more = self.epoch < self.epochs and not self.stopped
        self.recording.begin(self.step if self.is_resumed and has_more else None)
        self.stepper.viewer = lambda tape: self.recording.graph(tape, self.step)
        try:
            self.audience.tell("begin_run", self)
            while self.epoch < self.epochs and not self.stopped:
                self._train_epoch()
        except BaseException as error:
            self.failed, self._error = True, error
            if isinstance(error, KeyboardInterrupt):
                self.reporter.note(self._interrupted())
            raise
        finally:
            try:
                self.audience.tell("end_run", self)
            finally:
                self.recording.finish(self._error)
        return self.history

    def _interrupted(self) -> str:
        """Where an interruption leaves it, and how to go on."""
        at = f"interrupted in epoch {self.epoch + 1}, after {self.batch} batches"
        if self.checkpoint is None or not self.checkpoint.path.exists():
            return f"{at}: nothing was saved"
        return f"{at}: what {str(self.checkpoint.path)!r} holds is gone on from by resume=True"

    # -- an epoch ------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        if hasattr(self.model, "train"):
            self.model.train()
        if not self.batch:
            self.audience.tell("begin_epoch", self)
        begun = time.perf_counter() - self._seconds
        batch: Batch = None
        for batch in self._left():
            self._train_batch(*divided(batch))
            self._seconds = time.perf_counter() - begun
            waits = self.stepper.waiting is not None
            if self.checkpoint is not None and not waits and self.checkpoint.due_after(self.step):
                self.checkpoint.save(self)
            if self.stopped:
                break
        if self.stepper.waiting is not None:
            self._step(*divided(batch), self.stepper.rest())
        if not self.batch:
            raise TracerError(
                "the training data have no batches: give more samples, a smaller batch_size, or "
                "drop_last=False"
            )
        self._end_epoch(time.perf_counter() - begun)

    def _left(self) -> Iterable[Batch]:
        """The batches of this epoch that were not trained on before the checkpoint.

        A loader that has a state knows them itself; of other batches, as in a list, those that were
        are passed over.
        """
        if hasattr(self.train, "load_state_dict"):
            return self.train
        return itertools.islice(self.train, self.batch, None)

    def _end_epoch(self, seconds: float) -> None:
        record: Record = {"epoch": self.epoch + 1, "step": self.step}
        record |= self._means.values()
        if self.test is not None:
            found = evaluate(
                self.model,
                self.stepper.loss,
                self.test,
                metrics=self.metrics,
                parallel=self.stepper.parallel,
            )
            record |= {f"test_{name}": value for name, value in found.items()}
        record["lr"] = self._rate
        record["seconds"] = seconds
        self.history.append(record)
        self.epoch, self.batch, self._seconds, self._means = self.epoch + 1, 0, 0.0, Means()
        if self.schedule is not None and self.schedule_every == "epoch":
            _advance(self.schedule, record)
        self.recording.epoch(self.step, record)
        self.reporter.epoch(record, self.epochs)
        self.audience.tell("end_epoch", self)
        if self.stopped and self.epoch < self.epochs:
            self.reporter.note(f"stopped after epoch {self.epoch} of {self.epochs}")
        if self.checkpoint is not None:
            self.checkpoint.end_epoch(self)

    # -- a batch -------------------------------------------------------------------------------

    def _train_batch(self, inputs: Inputs, target: Targets) -> None:
        if self.stepper.waiting is None:
            self.stepper.watched = self.recording.quantities(self.step)
            self._losses = Means()
        recorded = self.stepper.record(inputs, target, self.stepper.asked())
        self.loss = recorded.loss
        self._look(inputs, target)
        samples = samples_of(inputs, target)
        self._means.add({"loss": self.loss}, samples)
        for values, some in recorded.measured(self.metrics):
            self._means.count(values, some)
        if self.stepper.accumulate > 1:
            self._losses.add({"loss": self.loss}, samples)
        self.batch += 1
        self._step(inputs, target, self.stepper.ready(recorded.results, samples))

    def _step(self, inputs: Inputs, target: Targets, results: Results | None) -> None:
        """Take a step with these results, if there are any, and tell of it."""
        if results is None:
            return
        if self.stepper.accumulate > 1 and self.recording.is_wanted:
            self.loss = np.asarray(self._losses.values()["loss"])
        measured = self.recording.measure(self, results, Tensor(self.loss))
        self.stepper.take(inputs, target, results)
        self.results = results
        self._rate = float(self.optimizer.param_groups[0].get("lr", math.nan))
        self.recording.step(self.step, self.loss, self._rate, measured)
        self.step += 1
        if self.schedule is not None and self.schedule_every == "step":
            self.schedule.step()
        self.audience.tell("end_step", self)
        if self.reporter.due():
            total = len(self.train) if hasattr(self.train, "__len__") else None
            self.reporter.step(self.epoch + 1, self.epochs, self.batch, total, float(self.loss))

    def _look(self, inputs: Inputs, target: Targets) -> None:
        """Raise `NonFiniteError` for a loss that is not finite, before it reaches a parameter.

        One on a device is looked at now and then, since that waits.
        """
        if type(self.loss) is not np.ndarray and self.step % LOOKED_AT:
            return
        value = float(self.loss)
        if math.isfinite(value):
            return
        raise non_finite(
            self.model,
            self.stepper.loss,
            (inputs, target),
            self._named_parameters(),
            (self.epoch, self.batch, self.step),
            value,
        )

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        named = getattr(self.model, "named_parameters", None)
        if named is not None:
            yield from named()
            return
        for group in self.optimizer.param_groups:
            for i, parameter in enumerate(group["params"]):
                yield parameter.name or f"parameter {i}", parameter

    # -- what a checkpoint keeps ---------------------------------------------------------------

    def parts(self) -> StateDict:
        """What has a state, by name."""
        return {
            "model": self.weights,
            "optimizer": self.optimizer,
            "schedule": None if self.schedule is None else SameSchedule(self.schedule),
            "loader": self.train if hasattr(self.train, "state_dict") else None,
            "scale": self.stepper.scale,
            "parallel": self.stepper.parallel,
            "run": self,
        }

    def state_dict(self) -> StateDict:
        return {
            "epoch": self.epoch,
            "step": self.step,
            "batch": self.batch,
            "seconds": self._seconds,
            "means": self._means.state_dict(),
            "history": list(self.history),
            "callbacks": self.audience.state_dict(),
            "stopped": self.stopped,
            "rate": self._rate,
            "instruments": self.recording.state_of_instruments(self),
        }

    def load_state_dict(self, state: Saved) -> None:
        self.audience.load_state_dict(state["callbacks"])
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self._seconds = state["seconds"]
        self._means.load_state_dict(state["means"])
        self.history = History(state["history"])
        self.stopped, self._rate = state["stopped"], state["rate"]
        self.recording.load_instruments(state.get("instruments"), self)


def _advance(schedule: Any, record: Saved) -> None:
    """Step a schedule once an epoch; one that follows a loss is given it."""
    if getattr(schedule, "follows_a_metric", False):
        schedule.step(record.get("test_loss", record["loss"]))
    else:
        schedule.step()
