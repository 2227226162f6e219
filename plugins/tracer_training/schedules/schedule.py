"""The base of schedules: a rate for each group of an optimiser, moved on by `step()`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import FunctionType

import numpy as np

from tracer.errors import TracerError
from tracer_training.kinds import Saved, StateDict, Value
from tracer_training.optimizers import Optimizer
from tracer_training.optimizers.groups import Group

__all__ = ["Schedule"]

#: what states of PyTorch's schedules hold besides
OF_PYTORCH = {
    *("_get_lr_called_within_step", "_is_initial", "_step_count", "anneal_func", "default_min_lr"),
    *("mode_worse", "use_beta1", "verbose"),
}


class Schedule:
    """Base of schedules, with the interface of `torch.optim.lr_scheduler.LRScheduler`.

    `last_epoch` counts the steps, from 0. A subclass defines `rates()`, which gives the rates of
    all groups at `last_epoch`, mostly from those before it, `current()`, so that a rate that is
    changed by hand, or by another schedule, is gone on from. `first()` gives those that it begins
    with, and `anew()` those with which it follows another schedule: both are `rates()` unless
    overridden. With `last_epoch` from 0 on, it resumes: the groups have their `initial_lr` then.
    """

    #: whether `step` is given a value that the schedule follows
    follows_a_metric = False

    #: attributes that are no part of the state, or not as they are
    unsaved = frozenset({"optimizer"})

    optimizer: Optimizer
    last_epoch: int

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self.optimizer = of_optimizer(self, optimizer)
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
        self.begin()

    # -- rates ---------------------------------------------------------------------------------

    def current(self) -> list[float]:
        """The rates of the groups as they are."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def made_for(self) -> list[Group]:
        """The groups; `TracerError` if there are others than the schedule was made for."""
        groups, known = self.optimizer.param_groups, len(self.base_lrs)
        if len(groups) != known:
            raise TracerError(
                f"{type(self).__name__} was made for {known} groups of parameters, and the "
                f"optimizer has {len(groups)}: add groups first, then make the schedule"
            )
        return groups

    def initial(self) -> list[float]:
        """The rates of the groups when the schedule was made."""
        self.made_for()
        return self.base_lrs

    def rates(self) -> Sequence[float]:
        """The rates of the groups at `last_epoch`."""
        raise NotImplementedError(f"{type(self).__name__} has no rates: define rates(self)")

    def first(self) -> Sequence[float]:
        """The rates that it begins with."""
        return self.rates()

    def anew(self) -> Sequence[float]:
        """The rates at step 0, where another schedule was followed before."""
        return self.rates()

    def get_last_lr(self) -> list[float]:
        """The rates that were set last."""
        return list(self._last_lr)

    # -- steps ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Set the rates at the beginning."""
        self._step_count = 1
        self.last_epoch += 1
        self._set(self.first())

    def step(self) -> None:
        """Go on by one."""
        self._step_count += 1
        self.last_epoch += 1
        self._set(self.rates())

    def restart(self) -> None:
        """Begin again, where another schedule was followed before."""
        self.last_epoch = 0
        self._set(self.anew())

    def undo(self) -> None:
        """Take back that it has begun; the rates stay."""
        self.last_epoch -= 1

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self.current()

    # -- what is saved -------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """All but the optimiser and functions: numbers, texts, lists and dicts, as JSON has."""
        return {
            key: copy.deepcopy(value)
            for key, value in vars(self).items()
            if key not in self.unsaved
        }

    def load_state_dict(self, state_dict: Saved) -> None:
        """Take over the state of a schedule of the same kind, this library's or PyTorch's.

        The optimiser's own state has the rates: load that, too. Raises `TracerError` for the state
        of another schedule, and changes nothing then.
        """
        self.take(self.fitting(state_dict))

    def fitting(self, state_dict: Saved) -> StateDict:
        """A state as this schedule keeps it; `TracerError` if it is of another."""
        kind, own = type(self).__name__, self.state_dict()
        if not isinstance(state_dict, Mapping):
            raise TracerError(f"the state of {kind} is a mapping, got {state_dict!r}")
        state = {key: copy.deepcopy(state_dict[key]) for key in own if key in state_dict}
        lacking = own.keys() - state.keys() - {"_last_lr", "_step_count"}
        if lacking:
            raise TracerError(
                f"the state is of another schedule than {kind}: it lacks {sorted(lacking)[0]!r}"
            )
        unknown = state_dict.keys() - own.keys() - OF_PYTORCH
        if unknown:
            raise TracerError(
                f"the state is of another schedule than {kind}: it has {sorted(unknown)[0]!r}"
            )
        groups = len(self.optimizer.param_groups)
        for key in ("base_lrs", "_last_lr"):
            if key in state and len(state[key]) != groups:
                raise TracerError(
                    f"the state is of {len(state[key])} groups of parameters, and the optimizer "
                    f"of this {kind} has {groups}"
                )
        return state

    def take(self, state: StateDict) -> None:
        """Take over what `fitting` gave."""
        vars(self).update(state)


def of_optimizer(schedule: object, optimizer: object) -> Optimizer:
    """The optimiser that a schedule is given; `TracerError` if it is none."""
    if not isinstance(optimizer, Optimizer):
        raise TracerError(
            f"{type(schedule).__name__} expects an optimizer, as training.SGD(...), got "
            f"{optimizer!r}"
        )
    return optimizer


def for_each(kind: str, name: str, value: Value, groups: int) -> list[float]:
    """An option for each group; one number is for all."""
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise TracerError(f"{kind} expects {name} for each of {groups} groups, got {len(values)}")
    for each in values:
        if isinstance(each, bool) or not isinstance(each, Real | np.number):
            raise TracerError(f"{kind} expects {name} as a number, got {each!r}")
    return values


def bounded(kind: str, name: str, value: float, low: float, high: float) -> None:
    """Raise `TracerError` for an option outside of its bounds."""
    if not isinstance(value, Real | np.number) or not low <= value <= high:  # type: ignore[operator]
        raise TracerError(f"{kind} expects {name} from {low} to {high}, got {value!r}")


def whole(kind: str, name: str, value: object, least: int) -> int:
    """An option that counts; `TracerError` if it is no whole number from `least` on."""
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not number or value < least:  # type: ignore[operator]
        raise TracerError(f"{kind} expects {name} as a whole number from {least}, got {value!r}")
    return int(value)  # type: ignore[call-overload]


def state_of(function: Callable[..., float] | None) -> StateDict | None:
    """What a function keeps that is an object of some class; None of plain functions."""
    if function is None or isinstance(function, FunctionType) or not hasattr(function, "__dict__"):
        return None
    return copy.deepcopy(vars(function))
