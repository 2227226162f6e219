"""What the command asks of a tracker: records and instruments."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracer import registry
from tracer.errors import UsageError, suggestion
from tracer.extend import Tracker
from tracer_training.kinds import StateDict, Value


@dataclass(frozen=True, slots=True)
class Kept:
    """Where and how a training is kept: the options of the command for that."""

    run: Path | None
    resume: bool
    record: Path | None
    name: str | None
    group: str
    sinks: tuple[str, ...]
    instruments: str | None
    every: int

    @property
    def place(self) -> Path | None:
        """Where it is recorded, if anything records."""
        return self.run if self.record is None else self.record

    @property
    def is_asked(self) -> bool:
        """Whether a record is asked for, and not only taken where there is a tracker."""
        return bool(self.record or self.name or self.group or self.sinks or self.instruments)

    def check(self) -> None:
        """Raise `UsageError` for what nothing is recorded by, or nowhere."""
        for sink in self.sinks:
            if sink not in registry.sinks:
                raise UsageError(
                    f"no sink is called {sink!r}.{suggestion(sink, registry.sinks)}",
                    f"there are {', '.join(registry.sinks)}",
                )
        if self.is_asked and self.place is None:
            raise UsageError("a training is recorded in a folder", "give --run DIR or --record DIR")

    def folder_of_sweep(self) -> Path:
        """The folder of a sweep; `UsageError` for what does not go with one."""
        if self.run is None:
            raise UsageError("a sweep keeps its trainings in a folder", "give --run DIR")
        if self.record is not None or self.name is not None:
            raise UsageError(
                "a sweep records in the folder of --run, under names of its own",
                "leave --record and --name out",
            )
        return self.run

    def arguments(self) -> list[str]:
        """The options of the command that are the same in all trainings of a sweep."""
        found = [part for sink in self.sinks for part in ("--sink", sink)]
        if self.instruments is not None:
            found += ["--instruments", self.instruments, "--every", str(self.every)]
        return found


def tracker(wanted: str) -> Tracker:
    """The first tracker that is registered; `UsageError` where there is none for what is wanted."""
    found = next(iter(registry.trackers.values()), None)
    if found is None:
        raise UsageError(
            f"{wanted} needs a plugin that keeps trainings, and there is none",
            "`trace-net plugins` says whether the bundled `experiments` is blocked or failed",
        )
    return found


def recording(kept: Kept, config: StateDict, seed: int) -> contextlib.AbstractContextManager[Any]:
    """A run that is recorded, as a context; one that gives None where nothing records."""
    if kept.place is None or not (kept.is_asked or registry.trackers):
        return contextlib.nullcontext()
    name = kept.name or ("train" if kept.run is None else kept.run.resolve().name)
    return tracker("--record").run(
        kept.place,
        name,
        config,
        group=kept.group,
        seed=seed,
        resume=kept.resume,
        sinks=kept.sinks,
    )


def instruments_of(kept: Kept) -> Value:
    """The instruments that are asked for, or None."""
    if kept.instruments is None:
        return None
    return tracker("--instruments").instruments(kept.instruments, kept.every)
