"""Schedules of schedules, and one that follows a value."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from tracer.errors import TracerError
from tracer_training.kinds import Saved, StateDict
from tracer_training.optimizers import Optimizer
from tracer_training.schedules.cyclic import for_each
from tracer_training.schedules.schedule import Schedule

__all__ = ["ChainedScheduler", "ReduceLROnPlateau", "SequentialLR"]


class Combined(Schedule):
    """Base of what is made of schedules of one optimiser."""

    _schedulers: list[Schedule]

    def _of(self, schedulers: Sequence[Schedule], optimizer: Optimizer | None) -> None:
        kind = type(self).__name__
        if not schedulers:
            raise TracerError(f"{kind} expects one schedule or more, got none")
        own = schedulers[0].optimizer if optimizer is None else optimizer
        for schedule in schedulers:
            if schedule.optimizer is not own:
                raise TracerError(f"{kind} expects schedules of one optimizer, got several")
        self.optimizer, self._schedulers = own, list(schedulers)

    def state_dict(self) -> StateDict:
        state = super().state_dict()
        state["_schedulers"] = [schedule.state_dict() for schedule in self._schedulers]
        return state

    def load_state_dict(self, state_dict: Saved) -> None:
        state = dict(state_dict)
        inner = state.pop("_schedulers", None)
        if inner is None or len(inner) != len(self._schedulers):
            raise TracerError(
                f"the state is of another schedule than this {type(self).__name__} of "
                f"{len(self._schedulers)}"
            )
        for schedule, held in zip(self._schedulers, inner, strict=True):
            schedule.load_state_dict(held)
        super().load_state_dict({**state, "_schedulers": self._schedulers})


class ChainedScheduler(Combined):
    """All schedules step together, each from the rate that the one before it left."""

    def __init__(self, schedulers: Sequence[Schedule], optimizer: Optimizer | None = None):
        self._of(schedulers, optimizer)
        self._last_lr = self.current()

    def step(self) -> None:
        for schedule in self._schedulers:
            schedule.step()
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
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for schedule in self._schedulers:  # all but the first stand where they have not begun
            schedule.last_epoch -= 1
        self._schedulers[0].step()
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        number = bisect.bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[number]
        if number and self._milestones[number - 1] == self.last_epoch:
            restart(schedule)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()


def restart(schedule: Schedule) -> None:
    """Take a schedule to its beginning."""
    schedule.last_epoch = -1
    if hasattr(schedule, "T_cur"):
        schedule.step(0)  # type: ignore[call-arg]
    else:
        for group, base in zip(schedule.optimizer.param_groups, schedule.base_lrs, strict=True):
            group["lr"] = base
        schedule.step()


class ReduceLROnPlateau(Schedule):
    """The rate times `factor` when a value has not become better for more than `patience` steps.

    Better is smaller, or larger with `mode="max"`, by more than `threshold`, which is relative to
    the best or, with `threshold_mode="abs"`, absolute. After a reduction, `cooldown` steps are not
    counted. Rates do not fall below `min_lr`, and do not change by less than `eps`.
    """

    follows_a_metric = True

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ):
        if not factor < 1:
            raise TracerError(f"ReduceLROnPlateau expects a factor below 1, got {factor!r}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise TracerError(
                f'mode is "min" or "max" and threshold_mode "rel" or "abs", got {mode!r} and '
                f"{threshold_mode!r}"
            )
        self.mode, self.factor, self.patience, self.threshold = mode, factor, patience, threshold
        self.threshold_mode, self.cooldown, self.eps = threshold_mode, cooldown, eps
        self.min_lrs = for_each("ReduceLROnPlateau", "min_lr", min_lr, len(optimizer.param_groups))
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)

    def _begin(self) -> None:
        self.last_epoch = 0
        self._last_lr = self.current()

    def step(self, metrics: float | None = None) -> None:  # type: ignore[override]
        """Go on by one, with the value that is followed."""
        if metrics is None:
            raise TracerError("ReduceLROnPlateau follows a value: step(test_loss)")
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            rates = zip(self.current(), self.min_lrs, strict=True)
            lower = [(rate, max(rate * self.factor, least)) for rate, least in rates]
            self._set([new if old - new > self.eps else old for old, new in lower])
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self.current()

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold
