"""The experiment: tune each optimiser, train the best with all seeds, and put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .methods import Method
from .plan import Plan, Setting
from .records import Curves, Records
from .workers import Workers


@dataclass
class Outcome:
    """What came of a method on a problem: its best setting, and the curves of all seeds.

    `tuned` has the curves of the whole grid.
    """

    method: Method
    best: Setting
    tuned: list[tuple[Setting, Curves]]
    curves: list[Curves]

    @property
    def diverged(self) -> int:
        """How many trainings of the grid diverged."""
        return sum(bool(curves.ended) for _, curves in self.tuned)

    def quartiles(self, name: str) -> np.ndarray:
        """Lower quartile, median and upper quartile of a value over seeds, `[3, epochs + 1]`.

        A seed that diverged counts as the worst from there on.
        """
        worst = 0.0 if name.endswith("accuracy") else np.inf
        longest = max(len(curves.seconds) for curves in self.curves)
        rows = [
            curves.values[name] + [worst] * (longest - len(curves.values[name]))
            for curves in self.curves
        ]
        # of an even number of seeds, the median and quartiles are between two of them
        with np.errstate(invalid="ignore"):
            return np.quantile(np.array(rows), [0.25, 0.5, 0.75], axis=0)

    def seconds(self) -> np.ndarray:
        """The median over seeds of the processor time up to each epoch, `[epochs + 1]`."""
        longest = max((curves.seconds for curves in self.curves), key=len)
        whole = [each.seconds for each in self.curves if len(each.seconds) == len(longest)]
        return np.median(np.array(whole), axis=0)

    def has(self, name: str) -> bool:
        return name in self.curves[0].values


def run(plan: Plan, records: Records, jobs: int) -> None:
    """Do what is not recorded yet, telling stderr of each training."""
    with Workers(jobs, records.folder) as workers:
        for method in plan.methods:
            _train(plan.tuning(method), records, workers)
            best, _ = best_of(plan.tuning(method), records)
            _train(list(plan.repeated(best)), records, workers)


def _train(settings: Sequence[Setting], records: Records, workers: Workers) -> None:
    left = [setting for setting in settings if records.get(setting) is None]
    for number, (setting, curves) in enumerate(workers.train(left), 1):
        seconds = curves.seconds[-1]
        told = f"diverged, {curves.ended[:60]}" if curves.ended else _last(curves.values)
        print(f"{number}/{len(left)} {setting.name}: {told} {seconds:.1f} s", file=sys.stderr)


def _last(values: dict[str, list[float]]) -> str:
    return " ".join(f"{name} {row[-1]:.4g}" for name, row in values.items() if "train" not in name)


def best_of(settings: Sequence[Setting], records: Records) -> tuple[Setting, Curves]:
    """The setting with the best score; of equal ones the first."""
    found: list[tuple[Setting, Any]] = [(each, records.get(each)) for each in settings]
    return max(found, key=lambda pair: pair[1].score)


def outcomes(plan: Plan, records: Records) -> list[Outcome]:
    """What is recorded of a plan: of each method that is complete."""
    found = []
    for method in plan.methods:
        settings = plan.tuning(method)
        tuned = [(each, curves) for each in settings if (curves := records.get(each)) is not None]
        if len(tuned) < len(settings):
            continue
        best, _ = best_of(settings, records)
        curves = [each for s in plan.repeated(best) if (each := records.get(s)) is not None]
        if len(curves) == plan.seeds:
            found.append(Outcome(method, best, tuned, curves))
    return found
