"""The base of schedules: a rate for each group of an optimiser, moved on by `step()`."""

from __future__ import annotations

from collections.abc import Sequence

from tracer.errors import TracerError
from tracer_training.kinds import Saved, StateDict
from tracer_training.optimizers import Optimizer

__all__ = ["Schedule"]


class Schedule:
    """Base of schedules, with the interface of `torch.optim.lr_scheduler.LRScheduler`.

    `last_epoch` counts the steps, from 0. A subclass defines `rates()`, which gives the rates of
    all groups at `last_epoch`, mostly from those before it, `current()`. With `last_epoch` from 0
    on, it resumes: the groups have their `initial_lr` then.
    """

    #: whether `step` is given a value that the schedule follows
    follows_a_metric = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TracerError(
                f"{type(self).__name__} expects an optimizer, as training.SGD(...), got "
                f"{optimizer!r}"
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise TracerError(
                    f"{type(self).__name__}(last_epoch={last_epoch}) resumes, and group {i} has no "
                    f"'initial_lr': load the optimizer's state, or leave last_epoch out"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    def _begin(self) -> None:
        """Take the first step, which sets the rates at the beginning."""
        self.step()

    def current(self) -> list[float]:
        """The rates of the groups as they are."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def rates(self) -> Sequence[float]:
        """The rates of the groups at `last_epoch`."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on by one."""
        self.last_epoch += 1
        self._set(self.rates())

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self.current()

    def get_last_lr(self) -> list[float]:
        """The rates that were set last."""
        return self._last_lr

    def state_dict(self) -> StateDict:
        """All but the optimiser, and functions, which have no state."""
        return {
            key: value
            for key, value in vars(self).items()
            if key != "optimizer" and not callable(value)
        }

    def load_state_dict(self, state_dict: Saved) -> None:
        """Take over the state of a schedule of the same kind and options."""
        known = vars(self).keys()
        lacking = known - state_dict.keys() - {"optimizer"}
        lacking = {key for key in lacking if not callable(vars(self)[key])}
        if lacking - {"_last_lr"}:
            raise TracerError(
                f"the state is of another schedule than {type(self).__name__}: it lacks "
                f"{sorted(lacking)[0]!r}"
            )
        vars(self).update({key: value for key, value in state_dict.items() if key in known})


def bounded(kind: str, name: str, value: float, low: float, high: float) -> None:
    """Raise `TracerError` for an option outside of its bounds."""
    if not low <= value <= high:
        raise TracerError(f"{kind} expects {name} from {low} to {high}, got {value!r}")
