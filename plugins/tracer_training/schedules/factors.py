"""Schedules that multiply the rate: by steps, by a line, by powers, by functions."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tracer.errors import TracerError
from tracer_training.kinds import Saved, StateDict, Value
from tracer_training.optimizers import Optimizer
from tracer_training.schedules.schedule import Schedule, bounded, state_of, whole

__all__ = [
    "ConstantLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "StepLR",
]

#: functions of the number of steps, one for all groups or one for each
Functions = Callable[[int], float] | Sequence[Callable[[int], float]]


class OfFunctions(Schedule):
    """Base of schedules by functions, whose own state is kept where they are objects."""

    unsaved = frozenset({"optimizer", "lr_lambdas"})

    def __init__(self, optimizer: Optimizer, lr_lambda: Functions, last_epoch: int = -1):
        kind, groups = type(self).__name__, len(getattr(optimizer, "param_groups", ()))
        several = isinstance(lr_lambda, list | tuple)
        functions: list[Value] = list(lr_lambda) if several else [lr_lambda] * groups  # type: ignore[arg-type]
        for function in functions:
            if not callable(function):
                raise TracerError(f"{kind} expects lr_lambda as a function, got {function!r}")
        if len(functions) != groups:
            raise TracerError(
                f"{kind} expects a function for each of {groups} groups, got {len(functions)}"
            )
        self.lr_lambdas: list[Callable[[int], float]] = functions
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> StateDict:
        return {**super().state_dict(), "lr_lambdas": [state_of(f) for f in self.lr_lambdas]}

    def take(self, state: StateDict) -> None:
        for function, held in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if held is not None:
                vars(function).update(held)
        super().take(state)


class LambdaLR(OfFunctions):
    """The initial rate times a function of the number of steps."""

    def rates(self) -> list[float]:
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in pairs]


class MultiplicativeLR(OfFunctions):
    """The rate before times a function of the number of steps."""

    def first(self) -> list[float]:
        return self.current()

    def rates(self) -> list[float]:
        pairs = zip(self.current(), self.lr_lambdas, strict=True)
        return [rate * function(self.last_epoch) for rate, function in pairs]


class StepLR(Schedule):
    """The rate times `gamma` every `step_size` steps."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ):
        self.step_size, self.gamma = whole("StepLR", "step_size", step_size, 1), gamma
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        due = self.last_epoch and self.last_epoch % self.step_size == 0
        return [rate * self.gamma if due else rate for rate in self.current()]

    def anew(self) -> list[float]:
        return self.base_lrs


class MultiStepLR(Schedule):
    """The rate times `gamma` at each of the `milestones`; twice at one that is there twice."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        times = self.milestones[self.last_epoch]
        return [rate * self.gamma**times if times else rate for rate in self.current()]

    def anew(self) -> list[float]:
        times = bisect_right(sorted(self.milestones.elements()), 0)
        return [base * self.gamma**times for base in self.base_lrs]

    def state_dict(self) -> StateDict:
        return {**super().state_dict(), "milestones": sorted(self.milestones.elements())}

    def fitting(self, state_dict: Saved) -> StateDict:
        state = super().fitting(state_dict)
        return {**state, "milestones": Counter(state["milestones"])}  # PyTorch's are counted


class ConstantLR(Schedule):
    """The rate times `factor` for `total_iters` steps, and then as it was."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        bounded("ConstantLR", "factor", factor, 0, 1)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        if self.last_epoch == 0:
            return [rate * self.factor for rate in self.current()]
        if self.last_epoch != self.total_iters:
            return self.current()
        if self.factor == 0:  # nothing is left of the rates before
            return self.base_lrs
        return [rate * (1.0 / self.factor) for rate in self.current()]

    def anew(self) -> list[float]:
        return [base * (self.factor if self.total_iters > 0 else 1) for base in self.base_lrs]


class LinearLR(Schedule):
    """The rate times a factor that goes from `start_factor` to `end_factor` in `total_iters`."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if not 0 < start_factor <= 1:
            raise TracerError(f"LinearLR expects start_factor in (0, 1], got {start_factor!r}")
        bounded("LinearLR", "end_factor", end_factor, 0, 1)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, step: int) -> float:
        rise = self.end_factor - self.start_factor
        return self.start_factor + rise * step / self.total_iters

    def first(self) -> list[float]:
        return self.current() if self.last_epoch else self.rates()

    def rates(self) -> list[float]:
        step = self.last_epoch
        if step == 0:
            return [rate * self.start_factor for rate in self.current()]
        if step > self.total_iters:
            return self.current()
        return [rate * self._factor(step) / self._factor(step - 1) for rate in self.current()]

    def anew(self) -> list[float]:
        return [base * self.start_factor for base in self.base_lrs]


class ExponentialLR(Schedule):
    """The rate times `gamma` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def first(self) -> list[float]:
        return self.current()

    def rates(self) -> list[float]:
        return [rate * self.gamma for rate in self.current()]

    def anew(self) -> list[float]:
        return self.base_lrs


class PolynomialLR(Schedule):
    """The initial rate times `(1 - t / total_iters)^power`, zero from `total_iters` on."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def first(self) -> list[float]:
        return self.current()

    def rates(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_iters:
            return self.current()
        left = 1 - step / self.total_iters
        before = 1 - (step - 1) / self.total_iters
        return [rate * (left / before) ** self.power for rate in self.current()]

    def anew(self) -> list[float]:
        return self.base_lrs
