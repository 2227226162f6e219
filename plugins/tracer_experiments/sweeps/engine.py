"""A sweep goes on: trials are chosen, trained in processes of their own, and compared."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracer import registry
from tracer.errors import UsageError
from tracer.extend import Sampler, Sweep, Training
from tracer_experiments import printing
from tracer_experiments.recorder import Recorder
from tracer_experiments.sinks.naming import plain
from tracer_experiments.sweeps import processes, results, spaces
from tracer_experiments.sweeps.results import Done, Trial
from tracer_experiments.sweeps.state import State, state_of
from tracer_experiments.sweeps.telling import Teller

#: seconds between two looks at what runs
INTERVAL = 0.05


def made(sweep: Sweep, training: Training) -> int:
    """Make all trainings of a sweep, print how they compare, and give the exit code.

    It is 1 where a training failed. Raises `UsageError` before the first one for what cannot be.
    """
    space = spaces.space_of(sweep.grid)
    minimise = results.is_less_better(sweep.objective)
    if sweep.sampler not in registry.samplers:
        raise UsageError(
            f"no sampler is called {sweep.sampler!r}", f"there are {', '.join(registry.samplers)}"
        )
    sampler = registry.samplers[sweep.sampler](space, sweep.seed, sweep.trials, minimise)
    for settings in spaces.combinations(space):
        training.check(settings)
    folder = sweep.folder
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is a file, and no folder", "give another --run")
    folder.mkdir(parents=True, exist_ok=True)
    with processes.locked(folder) as lock:
        state = state_of(sweep, training)
        Recorder(folder).close()  # makes the database, before several processes would
        engine = Engine(sweep, training, sampler, state, lock)
        engine.go()
    return engine.report()


@dataclass
class Job:
    """A training that runs."""

    trial: Trial
    done: Done
    process: subprocess.Popen[bytes]


class Engine:
    """Trials in the order in which they are chosen, `sweep.jobs` trainings at once."""

    def __init__(
        self, sweep: Sweep, training: Training, sampler: Sampler, state: State, lock: int | None
    ):
        self.sweep, self.training, self.sampler = sweep, training, sampler
        self.state, self.lock = state, lock
        self.objective = sweep.objective
        self.trials: list[Trial] = []
        self.running: list[Job] = []
        self.count = 0
        self.skipped = 0
        self.teller = Teller()

    def go(self) -> None:
        """Train all that is not yet trained."""
        trainings = "trainings" if self._total != 1 else "training"
        self.teller.note(f"{self._total or 'some'} {trainings}, {self.sweep.jobs} at once")
        try:
            for trial, done in self._wanted():
                values = self.training.outcome(done.folder)
                if values is not None:
                    self.skipped += 1
                    self._over(trial, done, values, is_told=False)
                    continue
                self.running.append(self._started(trial, done))
                while len(self.running) >= self.sweep.jobs:
                    self._wait()
            while self.running:
                self._wait()
        except BaseException as error:
            self.teller.clear()
            processes.stop([job.process for job in self.running])
            if isinstance(error, KeyboardInterrupt):
                printing.note("the same command with --resume goes on where this sweep stopped")
            raise
        if self.skipped:
            printing.note(f"{self.skipped} of {self.count} trainings were made before")

    @property
    def _total(self) -> int | None:
        return None if self.sampler.trials is None else self.sampler.trials * self.sweep.seeds

    def _wanted(self) -> Iterator[tuple[Trial, Done]]:
        """All trainings, one after the other; a trial is chosen when it is its turn."""
        while (settings := self._settings(len(self.trials))) is not None:
            trial = Trial(len(self.trials), settings)
            self.trials.append(trial)
            for seed in range(self.sweep.seed, self.sweep.seed + self.sweep.seeds):
                name = self._name(settings, seed)
                folder = self.sweep.folder / f"{trial.number:03d}-{plain(name)}"
                yield trial, Done(seed, name, folder)

    def _settings(self, number: int) -> dict[str, str] | None:
        """The settings of a trial: those that were chosen before an interruption, or new ones."""
        if number < len(self.state.trials):
            return self.state.trials[number]
        settings = self.sampler.ask(number)
        if settings is not None:
            self.state.add(settings)
        return settings

    def _name(self, settings: dict[str, str], seed: int) -> str:
        """What a training is called: its settings, and its seed where there are several."""
        parts = [f"{name}={value}" for name, value in settings.items()]
        if self.sweep.seeds > 1 or not parts:
            parts.append(f"seed={seed}")
        return " ".join(parts)

    def _started(self, trial: Trial, done: Done) -> Job:
        arguments = [
            *self.training.arguments(trial.settings, done.seed, done.folder),
            *("--record", str(self.sweep.folder), "--name", done.name),
            *("--group", self.sweep.group or self.sweep.folder.resolve().name),
        ]
        goes_on = " again" if done.folder.exists() else ""
        self.teller.note(f"{done.name}: begins{goes_on}")
        started = processes.started(arguments, done.folder, self.sweep.jobs, self.lock)
        return Job(trial, done, started)

    def _wait(self) -> None:
        """Wait until a training is over."""
        while True:
            for job in self.running:
                code = job.process.poll()
                if code is not None:
                    self.running.remove(job)
                    assert job.process.stdin is not None
                    job.process.stdin.close()
                    self._ended(job, code)
                    return
            self.teller.stands(self._how_it_stands)
            time.sleep(INTERVAL)

    def _ended(self, job: Job, code: int) -> None:
        """A process is over: well, if it left a result."""
        values = self.training.outcome(job.done.folder) if code == 0 else None
        if values is None:
            job.done.error = processes.error_in(job.done.folder, code)
        self._over(job.trial, job.done, values)

    def _over(
        self, trial: Trial, done: Done, values: Mapping[str, float] | None, is_told: bool = True
    ) -> None:
        """Count a training, tell of it, and tell the sampler of a trial that is complete."""
        done.values = values
        trial.done.append(done)
        trial.done.sort(key=lambda each: each.seed)
        self.count += 1
        if values is not None:
            self._check_objective(values)
        if is_told:
            self.teller.note(f"[{self.count}/{self._total or '?'}] {self._line(done)}")
        if len(trial.done) == self.sweep.seeds:
            median = trial.median(self.objective) if self.objective else None
            self.sampler.tell(trial.number, trial.settings, median)

    def _how_it_stands(self) -> str:
        """How many trainings are over, and which run, each with what it said last."""
        running = []
        for job in self.running:
            said = processes.said_last(job.done.folder).partition("  ")[0]  # "epoch 3/10"
            running.append(f"{job.done.name} ({said})" if said else job.done.name)
        return f"{self.count} of {self._total or '?'} over, {', '.join(running)}"

    def _line(self, done: Done) -> str:
        """What came of a training, on one line."""
        if done.values is None:
            return f"{done.name}: failed: {done.error} ({_short(done.folder / processes.LOG)})"
        value = printing.cell(float(done.values[self.objective]))
        seconds = printing.duration(done.values.get("seconds", 0.0))
        return f"{done.name}: {self.objective} {value}, {seconds} an epoch"

    def _check_objective(self, values: Mapping[str, float]) -> None:
        """Choose what trainings are compared by, or raise `UsageError` where there is no such."""
        if not self.objective:
            self.objective = next((name for name in results.USUAL if name in values), "")
        if self.objective not in values:
            raise UsageError(
                f"--objective names {self.objective!r}, which a training does not have",
                f"there are {', '.join(values)}",
            )

    def report(self) -> int:
        """Print how the trials compare, and give the exit code."""
        objective = self.objective or results.USUAL[0]
        if self.sweep.json:
            printing.print_json(
                "train", results.document(self.trials, objective, self.sweep.folder)
            )
        else:
            results.print_table(self.trials, objective, self.sweep.seeds)
        failed = [each for trial in self.trials for each in trial.done if each.values is None]
        if failed:
            printing.note(f"{len(failed)} of {self.count} failed")
        printing.note(f"recorded: `trace-net runs list {_short(self.sweep.folder)}`")
        return 1 if failed else 0


def _short(path: Path) -> str:
    """A path from here, if it is below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
