"""What came of a sweep: each training, and each trial over its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tracer_experiments import printing

#: what most trainings are compared by, the first that is there
USUAL = ("test_loss", "loss")


@dataclass
class Done:
    """A training that is over: its record, or why there is none."""

    seed: int
    name: str
    folder: Path
    values: Mapping[str, float] | None = None
    error: str = ""


@dataclass
class Trial:
    """One combination of settings, and its trainings by seed."""

    number: int
    settings: dict[str, str]
    done: list[Done] = field(default_factory=list)

    def values(self, objective: str) -> list[float]:
        """The objective of each training that ended well."""
        return [float(each.values[objective]) for each in self.done if each.values is not None]

    def quartiles(self, objective: str) -> tuple[float, float, float] | None:
        """First quartile, median and third of the objective over seeds."""
        values = self.values(objective)
        if not values:
            return None
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return low, middle, high

    def median(self, objective: str) -> float | None:
        """The median of the objective, None where no training ended well."""
        found = self.quartiles(objective)
        return None if found is None else found[1]


def is_less_better(objective: str) -> bool:
    """Whether the least value of an objective is the best: of all but accuracies."""
    return "accuracy" not in objective


def ranked(trials: Sequence[Trial], objective: str) -> list[Trial]:
    """The trials, best first; those without a value last, in their order."""

    def rank(trial: Trial) -> tuple[bool, float]:
        median = trial.median(objective)
        if median is None or math.isnan(median):
            return True, 0.0
        return False, median if is_less_better(objective) else -median

    return sorted(trials, key=rank)


def print_table(trials: Sequence[Trial], objective: str, seeds: int) -> None:
    """A line for each trial, best first: median and quartiles over seeds."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    columns = [*names, f">{objective}"]
    if seeds > 1:
        columns += ["quartiles", ">seeds"]
    columns += [">s an epoch", ""]
    rows = []
    for trial in ranked(trials, objective):
        row = [printing.printable(trial.settings.get(name, "")) for name in names]
        found = trial.quartiles(objective)
        row.append(printing.cell(found and found[1]))
        if seeds > 1:
            row.append("" if found is None else f"{found[0]:.4g} to {found[2]:.4g}")
            row.append(f"{len(trial.values(objective))}/{seeds}")
        seconds = [each.values["seconds"] for each in trial.done
                   if each.values and "seconds" in each.values]  # fmt: skip
        row.append(printing.cell(statistics.median(seconds)) if seconds else "")
        failed = sum(each.values is None for each in trial.done)
        row.append(f"{failed} failed" if failed else "")
        rows.append(row)
    printing.print_table(columns, rows)


def document(trials: Sequence[Trial], objective: str, folder: Path) -> dict[str, object]:
    """The same for JSON, with every training."""
    found = []
    for trial in ranked(trials, objective):
        low, middle, high = trial.quartiles(objective) or (None, None, None)
        found.append(
            {
                "number": trial.number,
                "settings": trial.settings,
                "median": middle,
                "quartiles": [low, high],
                "runs": [
                    {
                        "seed": each.seed,
                        "name": each.name,
                        "folder": str(each.folder),
                        "status": "failed" if each.values is None else "finished",
                        "error": each.error,
                        "values": each.values,
                    }
                    for each in trial.done
                ],
            }
        )
    return {"sweep": str(folder), "objective": objective, "trials": found}
