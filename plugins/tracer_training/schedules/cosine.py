"""Schedules along a cosine, with and without restarts."""

from __future__ import annotations

import math

from tracer.errors import TracerError
from tracer_training.optimizers import Optimizer
from tracer_training.schedules.schedule import Schedule, for_each, of_optimizer, whole

__all__ = ["SWALR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(Schedule):
    """From the initial rate to `eta_min` in `T_max` steps, by half a cosine (Loshchilov and Hutter
    2017); beyond, it goes up and down again.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ):
        self.T_max, self.eta_min = whole("CosineAnnealingLR", "T_max", T_max, 1), eta_min
        super().__init__(optimizer, last_epoch)

    def first(self) -> list[float]:
        return self.current()

    def anew(self) -> list[float]:
        return self.base_lrs

    def rates(self) -> list[float]:
        step, half, least = self.last_epoch, self.T_max, self.eta_min
        if (step - 1 - half) % (2 * half) == 0:
            climb = (1 - math.cos(math.pi / half)) / 2
            return [
                rate + (base - least) * climb
                for base, rate in zip(self.base_lrs, self.current(), strict=True)
            ]
        ratio = (1 + math.cos(math.pi * step / half)) / (1 + math.cos(math.pi * (step - 1) / half))
        return [ratio * (rate - least) + least for rate in self.current()]


class CosineAnnealingWarmRestarts(Schedule):
    """Half a cosine from the initial rate to `eta_min`, again and again (Loshchilov and Hutter
    2017); the first takes `T_0` steps, each next one `T_mult` times as many.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ):
        kind = "CosineAnnealingWarmRestarts"
        self.T_0 = self.T_i = whole(kind, "T_0", T_0, 1)
        self.T_mult, self.eta_min = whole(kind, "T_mult", T_mult, 1), eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        part = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]

    def begin(self) -> None:
        self._step_count = 1
        self.step()

    def step(self, epoch: float | None = None) -> None:
        """Go on by one, or to an epoch, which may be a fraction."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            if epoch < 0:
                raise TracerError(f"an epoch is not negative, got {epoch!r}")
            self.last_epoch = math.floor(epoch)
            self.T_cur, self.T_i = self._place(epoch)
        self._set(self.rates())

    def _place(self, epoch: float) -> tuple[float, int]:
        """How far an epoch is in its period, and how long that is."""
        if epoch < self.T_0:
            return epoch, self.T_0
        if self.T_mult == 1:
            return epoch % self.T_0, self.T_0
        number = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
        begin = self.T_0 * (self.T_mult**number - 1) / (self.T_mult - 1)
        return epoch - begin, self.T_0 * self.T_mult**number


class SWALR(Schedule):
    """To `swa_lr` in `anneal_epochs` steps, by half a cosine or a line, for averaging weights
    (Izmailov et al. 2018).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ):
        if anneal_strategy not in ("cos", "linear"):
            raise TracerError(f'anneal_strategy is "cos" or "linear", got {anneal_strategy!r}')
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = whole("SWALR", "anneal_epochs", anneal_epochs, 0)
        groups = of_optimizer(self, optimizer).param_groups
        for group, rate in zip(
            groups, for_each("SWALR", "swa_lr", swa_lr, len(groups)), strict=True
        ):
            group["swa_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        """How much of the way is gone after so many steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def rates(self) -> list[float]:
        step = self._step_count - 1  # not last_epoch: it may have begun after other schedules
        if self.anneal_epochs == 0:
            step = max(1, step)
        before = self._part(step - 1)
        part = self._part(step)
        return [
            group["swa_lr"] * part + self._first(group["lr"], group["swa_lr"], before) * (1 - part)
            for group in self.optimizer.param_groups
        ]

    def _first(self, rate: float, aim: float, part: float) -> float:
        """The rate that was begun with, from that after a part of the way."""
        return aim if part == 1 else (rate - part * aim) / (1 - part)
