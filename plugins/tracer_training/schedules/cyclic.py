"""Schedules that go up and down, and move momentum the other way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tracer.errors import TracerError
from tracer_training.kinds import StateDict, Value
from tracer_training.optimizers import Optimizer
from tracer_training.optimizers.groups import Group
from tracer_training.schedules.schedule import (
    Schedule,
    for_each,
    of_optimizer,
    state_of,
    whole,
)

__all__ = ["CyclicLR", "OneCycleLR"]


#: a phase of one cycle: where it ends, and the options of a group that it goes between
PHASE = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")


def set_momentum(group: Group, momentum: float) -> None:
    """The momentum of a group, or its first beta."""
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, *group["betas"][1:])


def ends_of_momentum(
    kind: str, optimizer: Optimizer, low: Value, high: Value, resumes: bool
) -> tuple[list[float], list[float]]:
    """What the momenta of the groups move between; it begins at the highest."""
    if not any(key in optimizer.defaults for key in ("momentum", "betas")):
        raise TracerError(
            f"{kind} moves momentum, and {type(optimizer).__name__} has none: cycle_momentum=False"
        )
    groups = optimizer.param_groups
    lows = for_each(kind, "base_momentum", low, len(groups))
    highs = for_each(kind, "max_momentum", high, len(groups))
    if not resumes:
        for group, least, most in zip(groups, lows, highs, strict=True):
            set_momentum(group, most)
            group.update(base_momentum=least, max_momentum=most)
    return lows, highs


class CyclicLR(Schedule):
    """From `base_lr` to `max_lr` in `step_size_up` steps and back in `step_size_down` (Smith 2017).

    `mode` "triangular2" halves the height each cycle, "exp_range" multiplies it by `gamma` each
    step; `scale_fn(x)` does as it says, x being the cycle or (`scale_mode`) the iteration. With
    `cycle_momentum`, momentum or the first beta goes the other way.
    """

    unsaved = frozenset({"optimizer", "scale_fn"})

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ):
        groups = of_optimizer(self, optimizer).param_groups
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise TracerError(
                f'mode is "triangular", "triangular2" or "exp_range", or scale_fn is given, got '
                f"{mode!r}"
            )
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        if scale_mode not in ("cycle", "iterations"):
            raise TracerError(f'scale_mode is "cycle" or "iterations", got {scale_mode!r}')
        bases = for_each("CyclicLR", "base_lr", base_lr, len(groups))
        self.max_lrs = for_each("CyclicLR", "max_lr", max_lr, len(groups))
        up = whole("CyclicLR", "step_size_up", step_size_up, 1)
        down = up if step_size_down is None else step_size_down
        self.total_size = float(up + whole("CyclicLR", "step_size_down", down, 1))
        self.step_ratio = up / self.total_size
        self.mode, self.gamma, self.scale_fn = mode, gamma, scale_fn
        self.scale_mode, self.cycle_momentum = scale_mode, cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = ends_of_momentum(
                "CyclicLR", optimizer, base_momentum, max_momentum, last_epoch != -1
            )
        if last_epoch == -1:
            for group, rate in zip(groups, bases, strict=True):
                group["lr"] = rate
        super().__init__(optimizer, last_epoch)
        self.base_lrs = bases

    def state_dict(self) -> StateDict:
        return {**super().state_dict(), "_scale_fn_custom": state_of(self.scale_fn)}

    def take(self, state: StateDict) -> None:
        held = state.pop("_scale_fn_custom")
        if held is not None:
            vars(self.scale_fn).update(held)
        super().take(state)

    def _height(self, x: float) -> float:
        """The part of the height that is left at a cycle or an iteration."""
        if self.scale_fn is not None:
            return self.scale_fn(x)
        if self.mode == "triangular2":
            return 1 / (2.0 ** (x - 1))
        return self.gamma**x if self.mode == "exp_range" else 1.0

    def rates(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        part = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height = part * self._height(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ends = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, ends, strict=True):
                set_momentum(group, high - (high - low) * height)
        return [
            low + (high - low) * height
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]


class OneCycleLR(Schedule):
    """Up from `max_lr / div_factor` to `max_lr`, and far down, once (Smith and Topin 2019).

    Of `total_steps` (or `epochs` times `steps_per_epoch`), a part of `pct_start` goes up; the end
    is the first rate divided by `final_div_factor`. With `three_phase`, it comes down as it went up
    before that. Momentum or the first beta goes the other way with `cycle_momentum`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ):
        self.total_steps = _steps(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise TracerError(f"OneCycleLR expects pct_start from 0 to 1, got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise TracerError(f'anneal_strategy is "cos" or "linear", got {anneal_strategy!r}')
        self._anneal_func_type, self.cycle_momentum = anneal_strategy, cycle_momentum
        up, last = pct_start * self.total_steps - 1, self.total_steps - 1
        phases = [
            (up, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
            (last, "max_lr", "min_lr", "base_momentum", "max_momentum"),
        ]
        if three_phase:
            phases[1:] = [
                (2 * up, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        self._schedule_phases: list[StateDict] = [
            dict(zip(PHASE, phase, strict=True)) for phase in phases
        ]
        groups = of_optimizer(self, optimizer).param_groups
        highest = for_each("OneCycleLR", "max_lr", max_lr, len(groups))
        if cycle_momentum:
            ends_of_momentum("OneCycleLR", optimizer, base_momentum, max_momentum, last_epoch != -1)
        if last_epoch == -1:
            for group, rate in zip(groups, highest, strict=True):
                first = rate / div_factor
                group.update(initial_lr=first, max_lr=rate, min_lr=first / final_div_factor)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def rates(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_steps:
            raise TracerError(
                f"OneCycleLR was made for {self.total_steps} steps, and this would be step "
                f"{step}: give the steps that there are as total_steps"
            )
        begin, found = 0.0, []
        for phase in self._schedule_phases:
            end, *names = [phase[key] for key in PHASE]
            if step <= end or phase is self._schedule_phases[-1]:
                break
            begin = end
        part = (step - begin) / (end - begin) if end != begin else 1.0
        for group in self.optimizer.param_groups:
            first, last, high, low = [group.get(name, 0.0) for name in names]
            found.append(self._between(first, last, part))
            if self.cycle_momentum:
                set_momentum(group, self._between(high, low, part))
        return found


def _steps(total: int | None, epochs: int | None, each: int | None) -> int:
    if total is not None:
        return whole("OneCycleLR", "total_steps", total, 1)
    if epochs is None or each is None:
        raise TracerError("OneCycleLR expects total_steps, or epochs and steps_per_epoch")
    return whole("OneCycleLR", "epochs", epochs, 1) * whole(
        "OneCycleLR", "steps_per_epoch", each, 1
    )
