"""What plugins provide for trainings: trackers, samplers of sweeps, and teams of processes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tracer.blame import place
from tracer.errors import PluginError


@dataclass(frozen=True, slots=True)
class Choices:
    """What a setting of a sweep is one of, as typed."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """What a setting of a sweep lies in, both ends included.

    With `log` its logarithm is even; `whole` numbers have no fraction.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


#: the settings of a sweep by name
Space = Mapping[str, Choices | Range]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Trainings that differ in some settings: what `trace-net train --grid` is asked for.

    Each `grid` is `"name=value,value"`, or `"name=low..high"` with `:log` after it or not. Each of
    the settings that the sampler named `sampler` gives is trained with `seeds` seeds from `seed`
    on, `jobs` at once, below `folder`. `objective` names a value of the epochs' records, by which
    they are compared; none is that of the test data's loss, if there is one. With `resume` a sweep
    that was interrupted goes on. `json` prints a document in place of a table.
    """

    folder: Path
    grid: tuple[str, ...] = ()
    sampler: str = "grid"
    trials: int | None = None
    seed: int = 0
    seeds: int = 1
    jobs: int = 1
    objective: str = ""
    group: str = ""
    resume: bool = False
    json: bool = False


class Training(Protocol):
    """The command that trains, as a sweep calls it, with settings by name as typed."""

    def check(self, settings: Mapping[str, str]) -> None:
        """Raise `UsageError` for settings that it does not take."""

    def arguments(self, settings: Mapping[str, str], seed: int, folder: Path) -> list[str]:
        """The arguments of `trace-net` for a training that goes on if it was begun."""

    def outcome(self, folder: Path) -> Mapping[str, float] | None:
        """The record of the last epoch of a training that is over; None of any other."""


class Tracker:
    """What keeps trainings: `trace-net train` asks the first one by name that is registered.

    `replaces` is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()

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
    ) -> AbstractContextManager[Any]:
        """A run that is recorded at a path: as a context it gives what has `log(step, **values)`.

        With `resume` the last one of this name and group goes on, if there is one.
        """
        raise NotImplementedError("a tracker defines run")

    def instruments(self, which: str, every: int) -> Any:
        """What `fit` takes as `instruments`, by a preset or names with commas between."""
        raise NotImplementedError("a tracker that has instruments defines instruments")

    def sweep(self, sweep: Sweep, training: Training) -> int:
        """Make the trainings of a sweep, print how they compare, and give the exit code."""
        raise NotImplementedError("a tracker that has sweeps defines sweep")


class Sampler:
    """Chooses the settings of a sweep's trainings, one after the other.

    It is made with the settings' `space`, a `seed`, how many `trials` are wanted (None: as many as
    there are), and whether less of the objective is better (`minimise`). What it gives depends on
    these and on what it was told alone, so that a sweep that was interrupted goes on. `replaces`
    is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()

    def __init__(self, space: Space, seed: int, trials: int | None, minimise: bool):
        self.space, self.seed, self.trials, self.minimise = space, seed, trials, minimise

    def ask(self, number: int) -> dict[str, str] | None:
        """The settings of a trial, as typed; None where there are no more."""
        raise NotImplementedError("a sampler defines ask")

    def tell(self, number: int, settings: Mapping[str, str], value: float | None) -> None:
        """What came of a trial: the median over its seeds; None where none has ended well."""


class Team:
    """Processes that train together: `trace-net train --parallel` asks the first one by name that
    is registered.

    `replaces` is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()

    def join(self) -> Any:
        """What `fit` takes as `parallel`: this process's place among those that were started.

        Raises `UsageError` where they were not started as a team.
        """
        raise NotImplementedError("a team defines join")


def check_tracker(tracker: Tracker) -> None:
    """Raise `PluginError` for a tracker that keeps nothing."""
    if type(tracker).run is Tracker.run:
        raise PluginError(
            f"the tracker {tracker.name!r} does not define run(path, name, config) "
            f"({place(type(tracker))})"
        )


def check_sampler(kind: type[Sampler]) -> None:
    """Raise `PluginError` for a sampler that chooses nothing."""
    if kind.ask is Sampler.ask:
        raise PluginError(f"the sampler {kind.name!r} does not define ask(number) ({place(kind)})")


def check_team(team: Team) -> None:
    """Raise `PluginError` for a team that nobody joins."""
    if type(team).join is Team.join:
        raise PluginError(f"the team {team.name!r} does not define join() ({place(type(team))})")
