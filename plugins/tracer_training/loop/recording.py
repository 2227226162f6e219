"""What of a training is recorded: losses, rates, and what instruments measure."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tracer import Tape, Tensor
from tracer.errors import TracerError
from tracer_training.kinds import Asked, Results, Saved


class Recording:
    """Writes the steps and epochs of a training into a run of a recorder.

    `recorder` has `run(name, config)`, which gives what has `log(step, **values)` and `finish()`,
    or is such a run. `instruments` have `quantities(step)` and `measure(step, results, loss=,
    model=, optimizer=)`, and may have `describe(run)`. Either may be None.
    """

    def __init__(self, recorder: Any, instruments: Any, config: Saved):
        self.instruments, self.run = instruments, recorder
        self._is_ours = recorder is not None and not hasattr(recorder, "log")
        self._config = dict(config)

    def begin(self) -> None:
        """Open a run of a recorder, now that nothing is left to be refused."""
        if self._is_ours:
            self.run = self.run.run("fit", config=self._config)
        if self.run is not None and hasattr(self.instruments, "describe"):
            self.instruments.describe(self.run)

    def graph(self, tape: Tape, step: int) -> None:
        """Keep the graph of a tape, where the run keeps graphs; one that cannot be is told of."""
        if not hasattr(self.run, "graph"):
            return
        try:
            self.run.graph(tape, step)
        except TracerError as error:
            warnings.warn(f"the graph of the model is not recorded: {error}", stacklevel=2)

    @property
    def is_wanted(self) -> bool:
        """Whether anything is recorded or measured."""
        return self.run is not None or self.instruments is not None

    def quantities(self, step: int) -> Asked:
        """What the instruments need of the sweep of a step."""
        return () if self.instruments is None else tuple(self.instruments.quantities(step))

    def measure(self, run: Any, results: Results, loss: Tensor) -> Results:
        """What the instruments measure before a step, of all batches that it is taken with."""
        if self.instruments is None:
            return {}
        return self.instruments.measure(
            run.step, results, loss=loss, model=run.model, optimizer=run.optimizer
        )

    def step(self, step: int, loss: Any, rate: float, values: Saved) -> None:
        """Record a step. A loss on a device is given as it is, for the recorder to wait for."""
        if self.run is not None:
            self.run.log(
                step, loss=float(loss) if isinstance(loss, np.ndarray) else loss, lr=rate, **values
            )

    def epoch(self, step: int, record: Saved) -> None:
        """Record the values of an epoch, named `epoch_loss`, `test_loss`, ..."""
        if self.run is not None:
            named = {
                name if name.startswith(("test_", "epoch")) else f"epoch_{name}": value
                for name, value in record.items()
                if name not in ("step", "lr")
            }
            self.run.log(step, **named)

    def finish(self, error: BaseException | None) -> None:
        """End the run of a recorder; one that is a context is told of an error that ends it."""
        if not self._is_ours:
            return
        if error is not None and hasattr(self.run, "__exit__"):
            self.run.__exit__(type(error), error, error.__traceback__)
        else:
            self.run.finish()
