"""A schedule that follows a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from tracer.errors import TracerError
from tracer_training.optimizers import Optimizer
from tracer_training.schedules.schedule import Schedule, for_each, of_optimizer

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Schedule):
    """The rate times `factor` when a value has not become better for more than `patience` steps.

    Better is smaller, or larger with `mode="max"`, by more than `threshold`, which is relative to
    the best or, with `threshold_mode="abs"`, absolute. After a reduction, `cooldown` steps are not
    counted. Rates do not fall below `min_lr`, and do not change by less than `eps`.
    """

    follows_a_metric = True

    best: float
    threshold: float
    factor: float
    eps: float
    patience: int
    cooldown: int
    min_lrs: list[float]
    num_bad_epochs: int
    cooldown_counter: int
    mode: str
    threshold_mode: str

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
        self.optimizer = of_optimizer(self, optimizer)
        if not isinstance(factor, Real) or not factor < 1:
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
