"""What is kept of single trainings: one JSON file each, written beside and renamed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .plan import Setting


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
    """The records of a study, in a folder. It alone knows how they are kept."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, setting: Setting) -> Curves | None:
        """What was recorded, or None."""
        file = self._file(setting, ".json")
        return Curves(**json.loads(file.read_text())["curves"]) if file.exists() else None

    def put(self, setting: Setting, curves: Curves) -> None:
        """Record a training that is over; what was needed to go on with it is not any more."""
        file = self._file(setting, ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(file.name + ".part")
        beside.write_text(json.dumps({"setting": asdict(setting), "curves": asdict(curves)}))
        os.replace(beside, file)
        self.checkpoint(setting).unlink(missing_ok=True)

    def checkpoint(self, setting: Setting) -> Path:
        """Where a training that is not over keeps what it goes on with."""
        return self._file(setting, ".safetensors")

    def _file(self, setting: Setting, suffix: str) -> Path:
        # with_suffix would take what follows the point of a rate for a suffix
        return self.folder / (setting.name + suffix)
