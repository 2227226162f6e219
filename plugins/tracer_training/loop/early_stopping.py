"""Stop when a value has not become better for some epochs."""

from __future__ import annotations

import math

from tracer.errors import TracerError
from tracer_training.kinds import Saved, StateDict, Value

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Says when a value has not become better, by more than `min_delta`, for `patience` times.

    ```python
    training.fit(..., callbacks=[training.EarlyStopping("test_loss", patience=3)])
    ```

    As a callback of `fit` it looks at the records of epochs, under the name `monitor`, and stops
    the training; with `restore_best`, the model has the weights of the best epoch in the end (a
    checkpoint has those of the last: `Checkpoint(path, best=monitor)` keeps both). Each training
    begins anew. In a loop of your own, `stop = early.step(value)`. `mode` is "min" or "max"; by
    default "max" for names that end in accuracy. What is no number is not better.
    """

    def __init__(
        self,
        monitor: str = "test_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = False,
    ):
        if mode not in (None, "min", "max"):
            raise TracerError(f'mode is "min" or "max", got {mode!r}')
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 0:
            raise TracerError(f"patience is a whole number from 0, got {patience!r}")
        if not min_delta >= 0:
            raise TracerError(f"min_delta is a number from 0, got {min_delta!r}")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = (
            1 if (mode or ("max" if monitor.endswith("accuracy") else "min")) == "min" else -1
        )
        self.restore_best = restore_best
        self._begin()

    def _begin(self) -> None:
        """Nothing was counted yet."""
        self.best: float | None = None
        self.bad = 0
        self._weights: StateDict | None = None

    def step(self, value: float) -> bool:
        """Count a value; whether to stop now."""
        value = float(value)
        better = math.isfinite(value) and (
            self.best is None or self.sign * value < self.sign * self.best - self.min_delta
        )
        if better:
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        return self.bad >= max(self.patience, 1)

    def begin_run(self, run: Value) -> None:
        """Forget what another training was; one that is resumed goes on."""
        if not (run.epoch or run.batch):
            self._begin()

    def end_epoch(self, run: Value) -> None:
        """What `fit` tells a callback."""
        record = run.history[-1]
        if self.monitor not in record:
            raise TracerError(
                f"EarlyStopping follows {self.monitor!r}, and the records have "
                f"{', '.join(record)}: give test data, or another name"
            )
        if self.step(record[self.monitor]):
            run.stop()
        if self.restore_best and self.bad == 0:
            self._weights = run.weights.state_dict()

    def end_run(self, run: Value) -> None:
        """Give the model the best weights, if that is wanted and no error ended the training."""
        if self._weights is not None and not run.failed:
            run.weights.load_state_dict(self._weights)

    def state_dict(self) -> StateDict:
        return {"best": self.best, "bad": self.bad, "weights": self._weights}

    def load_state_dict(self, state: Saved) -> None:
        self.best, self.bad, self._weights = state["best"], state["bad"], state["weights"]
