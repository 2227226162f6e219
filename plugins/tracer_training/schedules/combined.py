"""Schedules of schedules."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from tracer.errors import TracerError
from tracer_training.kinds import Saved, StateDict
from tracer_training.optimizers import Optimizer
from tracer_training.schedules.schedule import Schedule, of_optimizer

__all__ = ["ChainedScheduler", "SequentialLR"]


class Combined(Schedule):
    """Base of what is made of schedules of one optimiser."""

    unsaved = frozenset({"optimizer", "_schedulers"})

    _schedulers: list[Schedule]

    def _of(self, schedulers: Sequence[Schedule], optimizer: Optimizer | None) -> None:
        kind = type(self).__name__
        if not schedulers:
            raise TracerError(f"{kind} expects one schedule or more, got none")
        for schedule in schedulers:
            if not isinstance(schedule, Schedule):
                raise TracerError(f"{kind} expects schedules, as StepLR(...), got {schedule!r}")
            if schedule.follows_a_metric:
                raise TracerError(
                    f"{kind} steps its schedules without a value, and {type(schedule).__name__} "
                    f"follows one: step that by itself"
                )
        own = schedulers[0].optimizer if optimizer is None else of_optimizer(self, optimizer)
        if any(schedule.optimizer is not own for schedule in schedulers):
            raise TracerError(f"{kind} expects schedules of one optimizer, got several")
        self.optimizer, self._schedulers = own, list(schedulers)

    def _reset(self) -> None:
        """The initial rates, from which no schedule has begun."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.undo()

    def begin(self) -> None:
        self.step()

    def undo(self) -> None:
        for schedule in self._schedulers:
            schedule.undo()

    def state_dict(self) -> StateDict:
        inner = [schedule.state_dict() for schedule in self._schedulers]
        return {**super().state_dict(), "_schedulers": inner}

    def fitting(self, state_dict: Saved) -> StateDict:
        state, own = super().fitting(state_dict), len(self._schedulers)
        inner = state["_schedulers"]
        if len(inner) != own:
            raise TracerError(
                f"the state is of another schedule than this {type(self).__name__}: it is of "
                f"{len(inner)} schedules, and this of {own}"
            )
        pairs = zip(self._schedulers, inner, strict=True)
        return {**state, "_schedulers": [schedule.fitting(held) for schedule, held in pairs]}

    def take(self, state: StateDict) -> None:
        for schedule, held in zip(self._schedulers, state.pop("_schedulers"), strict=True):
            schedule.take(held)
        super().take(state)


class ChainedScheduler(Combined):
    """All schedules step together, each from the rate that the one before it left."""

    def __init__(self, schedulers: Sequence[Schedule], optimizer: Optimizer | None = None):
        self._of(schedulers, optimizer)
        self._last_lr = self.current()

    def step(self) -> None:
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = self.current()

    def restart(self) -> None:
        self._reset()
        for schedule in self._schedulers:
            schedule.last_epoch = -1
            schedule.begin()
        self._last_lr = self.current()


class SequentialLR(Combined):
    """One schedule after the other, the next one from each of the `milestones` on."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[Schedule],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        self._of(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise TracerError(
                f"SequentialLR expects a milestone between every two of {len(schedulers)} "
                f"schedules, got {len(milestones)}"
            )
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        self._start()

    def _start(self) -> None:
        """Take the first step of the schedule that is followed at step 0, and of no other."""
        self._reset()
        first = self._schedulers[bisect.bisect_right(self._milestones, 0)]
        first.begin()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        number = bisect.bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[number]
        if number and self._milestones[number - 1] == self.last_epoch:
            schedule.restart()
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()

    def restart(self) -> None:
        self.last_epoch = 0
        self._start()
