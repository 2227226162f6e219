"""What is kept of single trainings: runs of a database, `runs.db` in the folder of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import tracer_experiments as experiments
from tracer_experiments import Run, StoredRun

from .plan import Setting

#: the series of the processor time; all others are values
SECONDS = "cpu_seconds"


@dataclass
class Curves:
    """What came of a training: its values before the first epoch and after each.

    `values` are by the names `train_loss`, `valid_accuracy`, ...; `seconds` the processor time of
    training up to there, without evaluation. `ended` says why it ended early, if it did: it
    diverged.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ended: str = ""
    source: str = ""
    date: str = ""

    @property
    def score(self) -> tuple[bool, float, float]:
        """What trainings are tuned by: the last validation accuracy, then loss; higher is better.

        One that diverged is below all others; where there is no accuracy, the loss decides.
        """
        if self.ended:
            return False, 0.0, 0.0
        accuracy = self.values.get("valid_accuracy", [0.0])[-1]
        return True, accuracy, -self.values["valid_loss"][-1]


class Records:
    """The records of a study, in a folder. It alone knows how they are kept.

    A training is one run: its name is the setting's, its group the problem, its configuration the
    setting and the data, its steps are epochs. One that diverged is failed, and says so in its
    configuration, since a training that is wrong fails, too.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._recorder = experiments.Recorder(folder)
        self._reader = experiments.Reader(folder)
        self._version = -1
        self._known: dict[str, StoredRun] = {}

    def get(self, setting: Setting) -> Curves | None:
        """What came of a training that is over, or None."""
        run = self._runs().get(setting.name)
        return curves_of(run) if run is not None and is_over(run) else None

    def begin(self, setting: Setting, source: str) -> Run:
        """A training's run, which has nothing yet: also where one was begun and killed."""
        before = self._runs().get(setting.name)
        run = self._recorder.run(
            setting.name,
            configuration(setting, source),
            group=setting.problem,
            seed=setting.seed,
            resume=None if before is None else before.id,
            force=True,  # its process is killed with the study's
        )
        run.rewind(0)
        return run

    def finish(self, run: Run, setting: Setting, ended: str) -> None:
        """A training is over; what was needed to go on with it is not any more."""
        if ended:
            run.note(diverged=True)
        run.finish("failed" if ended else "finished", ended)
        self.checkpoint(setting).unlink(missing_ok=True)

    def put(self, setting: Setting, curves: Curves) -> None:
        """Record a training that was made elsewhere."""
        run = self.begin(setting, curves.source)
        log(run, curves.values, curves.seconds)
        self.finish(run, setting, curves.ended)

    def checkpoint(self, setting: Setting) -> Path:
        """Where a training that is not over keeps what it goes on with."""
        # with_suffix would take what follows the point of a rate for a suffix
        return self.folder / "checkpoints" / (setting.name + ".safetensors")

    def _runs(self) -> dict[str, StoredRun]:
        """The run of each setting by its name, read again where something was written."""
        version = self._reader.version
        if version != self._version:
            runs = sorted(self._reader.runs(), key=is_over)  # of one name, the one that is over
            self._known, self._version = {run.name: run for run in runs}, version
        return self._known


def log(run: Run, values: Mapping[str, list[float]], seconds: list[float], first: int = 0) -> None:
    """Log what there is from the epoch `first` on."""
    for epoch in range(first, len(seconds)):
        at = {name: row[epoch] for name, row in values.items()}
        run.log(epoch, **at, **{SECONDS: seconds[epoch]})


def configuration(setting: Setting, source: str) -> dict[str, object]:
    """What a run is set up with, as `trace-net runs` and the board show it."""
    kept = asdict(setting) | {"data": source}
    choice = {name: value for name, value in kept.pop("choice").items() if value is not None}
    return kept | choice


def is_over(run: StoredRun) -> bool:
    """Whether a training is over: well, or because it diverged."""
    return run.status == "finished" or (run.status == "failed" and "diverged" in run.config)


def curves_of(run: StoredRun) -> Curves:
    """The curves that a run holds."""
    values = {name: run.series(name)[1].tolist() for name in run.names()}
    seconds = values.pop(SECONDS)
    date = datetime.fromtimestamp(run.ended or run.seen, UTC).strftime("%Y-%m-%d")
    return Curves(values, seconds, run.error, str(run.config["data"]), date)
