"""When a training is saved, and how it goes on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tracer.errors import TracerError
from tracer.extend import backend, rebind
from tracer_training.checkpoints import load_checkpoint, save_checkpoint
from tracer_training.kinds import Saved, StateDict, Value
from tracer_training.optimizers import Optimizer

__all__ = ["Checkpoint"]


#: what a schedule's state has of where it stands; the rest are its options
PROGRESS = {
    *("T_cur", "T_i", "_last_lr", "_step_count", "best", "cooldown_counter", "last_epoch"),
    *("num_bad_epochs", "lr_lambdas", "_scale_fn_custom"),
}


class Weights:
    """The parameters that an optimiser steps: the state of a model that is a function."""

    def __init__(self, optimizer: Optimizer):
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def state_dict(self) -> StateDict:
        return {str(i): p.data.copy(order="K") for i, p in enumerate(self.parameters)}

    def load_state_dict(self, state: Saved) -> None:
        """Take over weights; `TracerError` for those of other parameters, and nothing changes."""
        own = [p.shape for p in self.parameters]
        shapes = [getattr(state.get(str(i)), "shape", None) for i in range(len(state))]
        if shapes != own:
            raise TracerError(
                f"the weights are of parameters of shapes {shapes}, and the optimizer has {own}: "
                f"give what it was begun with, in the same order"
            )
        for i, p in enumerate(self.parameters):
            array = backend.moved(backend.as_array(state[str(i)]), backend.of(p.data))
            rebind(p, array.astype(p.dtype))


class SameSchedule:
    """A schedule in a checkpoint, which goes on with the options that it was begun with."""

    def __init__(self, schedule: Value):
        self.schedule = schedule

    def state_dict(self) -> StateDict:
        return self.schedule.state_dict()

    def load_state_dict(self, state: Saved) -> None:
        """Take over a state; `TracerError` for one of other options."""
        check_options(self.schedule, state)
        self.schedule.load_state_dict(state)


def check_options(schedule: Value, saved: Saved) -> None:
    """Raise `TracerError` where a saved state of a schedule has other options than this one.

    Of classes that are not from here it is not known what is an option and what moves on.
    """
    for inner, state in zip(
        getattr(schedule, "_schedulers", ()), saved.get("_schedulers", ()), strict=False
    ):
        check_options(inner, state)
    if not type(schedule).__module__.startswith("tracer_training."):
        return
    own = schedule.state_dict()
    for key in (own.keys() & saved.keys()) - PROGRESS - {"_schedulers"}:
        if own[key] != saved[key]:
            raise TracerError(
                f"{type(schedule).__name__} was begun with {key}={saved[key]!r}, and now has "
                f"{own[key]!r}: a schedule goes on as it was begun, so give what it had, or begin "
                f"anew"
            )


class Checkpoint:
    """Where and when `fit` saves: a file, after every epoch, or also after every `every_steps`.

    `best` names a value of the epochs' records, as `"test_accuracy"`: the epoch where it is best
    (highest for accuracies, else lowest) is kept besides, in `<name>-best`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        every_steps: int | None = None,
        every_epochs: int = 1,
        best: str | None = None,
    ):
        self.path = Path(path)
        if every_steps is not None and every_steps < 1:
            raise TracerError(f"every_steps is a number of steps from 1, got {every_steps!r}")
        if every_epochs < 1:
            raise TracerError(f"every_epochs is a number of epochs from 1, got {every_epochs!r}")
        self.every_steps, self.every_epochs, self.best = every_steps, every_epochs, best
        self._saved_at = 0

    @property
    def best_path(self) -> Path:
        return self.path.with_name(f"{self.path.stem}-best{self.path.suffix}")

    def due_after(self, step: int) -> bool:
        """Whether this many steps are to be saved, and are not yet."""
        return (
            self.every_steps is not None and step % self.every_steps == 0 and step != self._saved_at
        )

    def save(self, run: Any) -> None:
        """Write all of a run."""
        self._saved_at = run.step
        save_checkpoint(self.path, **run.parts())

    def end_epoch(self, run: Any) -> None:
        """Save after an epoch, where it is due or the last one; and where it is the best.

        The best comes first: a run that is killed between goes on before this epoch then, and finds
        it again.
        """
        try:
            if self.best is not None and self._is_best(run):
                save_checkpoint(self.best_path, **run.parts())
        finally:
            if run.epoch % self.every_epochs == 0 or run.epoch == run.epochs or run.stopped:
                self.save(run)

    def _is_best(self, run: Any) -> bool:
        values = run.history[self.best]
        sign = -1 if str(self.best).endswith("accuracy") else 1
        before = values[:-1][np.isfinite(values[:-1])]
        return bool(np.isfinite(values[-1]) and (sign * values[-1] < sign * before).all())

    def load(self, run: Any) -> bool:
        """Take a run to where the file left it; False where there is no file."""
        if not self.path.exists():
            return False
        load_checkpoint(self.path, **run.parts())
        self._saved_at = run.step
        return True
