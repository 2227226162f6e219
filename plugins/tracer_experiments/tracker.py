"""How `trace-net train` reaches recorder, instruments and sweeps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tracer.errors import TracerError, UsageError
from tracer.extend import Sweep, Tracker, Training
from tracer_experiments.instruments import Instruments
from tracer_experiments.instruments.presets import PRESETS
from tracer_experiments.recorder import Recorder
from tracer_experiments.run import Run
from tracer_experiments.sweeps import engine


class Experiments(Tracker):
    """Runs in a database, Cockpit's instruments, and sweeps in processes."""

    name = "experiments"

    @contextlib.contextmanager
    def run(
        self,
        path: Path,
        name: str,
        config: Mapping[str, object],
        *,
        group: str = "",
        seed: int | None = None,
        resume: bool = False,
        sinks: tuple[str, ...] = (),
    ) -> Iterator[Run]:
        """A run of a recorder, which is closed after it."""
        with Recorder(path, sinks) as recorder:
            before = recorder.runs(name=name, group=group) if resume else []
            last = before[-1].id if before else None
            run = recorder.run(name, config, group=group, seed=seed, resume=last, force=True)
            with run:
                yield run

    def instruments(self, which: str, every: int) -> Instruments:
        """Instruments by a preset, or by names with commas between."""
        names = [name.strip() for name in which.split(",") if name.strip()]
        try:
            return Instruments(which if which in PRESETS else names, every=every)
        except TracerError as error:
            raise UsageError(str(error), f"presets are {', '.join(PRESETS)}") from error

    def sweep(self, sweep: Sweep, training: Training) -> int:
        return engine.made(sweep, training)
