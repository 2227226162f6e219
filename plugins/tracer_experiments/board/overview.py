"""All runs of a database as the page lists them, and which have changed since it asked last."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tracer_experiments.charts import Chart
from tracer_experiments.store.schema import RecordError

if TYPE_CHECKING:
    from tracer_experiments.recorder import Reader
    from tracer_experiments.stored_run import StoredRun

__all__ = ["Overview", "described"]

#: a run without a sign of life becomes "killed" without anything being written
LOOK_AGAIN = 5.0


def described(
    run: StoredRun, number: Callable[[str, str], int], charts: dict[str, Any]
) -> dict[str, Any]:
    """A run as the page knows it: what it is, and how far each of its series goes.

    `series` has a row for each: its number, which `number` gives for a name and a kind, its count
    of points, its last step and its last value. Charts of series are put into `charts`.
    """
    series, trouble = [], ""
    try:
        known = run.names()
    except RecordError as error:  # a damaged file: the other runs are told
        known, trouble = {}, str(error)
    for name, info in known.items():
        series.append([number(name, info.kind), info.count, info.last_step, info.last])
        if info.chart is not None:
            charts[name] = _document(info.chart)
    kept = ("id", "name", "group", "status", "error", "config", "begun", "ended")
    told = {name: getattr(run, name) for name in kept}
    # how long a run lasted that did not end is known by when it was seen last
    seen = run.seen if run.status == "killed" else None
    told["error"] = told["error"] or trouble
    return {**told, "seen": seen, "seed": run.environment.get("seed"), "series": series}


@lru_cache(maxsize=4096)
def _document(chart: Chart) -> dict[str, Any]:
    """A chart for JSON: thousands of runs have the same few."""
    return chart.to_dict()


class Overview:
    """What is known of all runs, kept up to date. Called by several threads.

    `now` counts changes: what changed after a `now` that was told before is told again.
    """

    def __init__(self) -> None:
        self.now = 0
        #: [name, kind] of each series of any run
        self.series: list[tuple[str, str]] = []
        self.charts: dict[str, Any] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._runs: dict[int, tuple[int, Any, dict[str, Any]]] = {}
        #: which overview this is, so that a page knows when another one has begun to count
        self.name = secrets.token_hex(8)
        self._version: object = None
        self._looked = 0.0
        self._lock = threading.Lock()

    def refresh(self, reader: Reader) -> int:
        """Look at what was written since, and return `now`."""
        with self._lock:
            version, now = (reader, reader.version), time.monotonic()
            if version == self._version and now - self._looked < LOOK_AGAIN:
                return self.now
            self._take(reader.runs())
            self._version, self._looked = version, now
            return self.now

    def take(self, runs: list[StoredRun]) -> None:
        """Take in runs as they are now, instead of those that were known."""
        with self._lock:
            self._take(runs)

    def _take(self, runs: list[StoredRun]) -> None:
        if self._changed(runs):
            self.now += 1

    def _changed(self, found: list[StoredRun]) -> bool:
        """Take in runs as they are now; whether anything is new."""
        changed = len(found) != len(self._runs)
        known, self._runs = self._runs, {}
        for run in found:
            signs = (run.status, run.seen, run.ended, run.config, run.name, run.group)
            at, before, record = known.get(run.id, (0, None, {}))
            if signs != before or run.status == "running":
                fresh = described(run, self._number, self.charts)
                if fresh != record:
                    changed, at, record = True, self.now + 1, fresh
            self._runs[run.id] = (at, signs, record)
        return changed

    def _number(self, name: str, kind: str) -> int:
        if (name, kind) not in self._numbers:
            self._numbers[name, kind] = len(self.series)
            self.series.append((name, kind))
        return self._numbers[name, kind]

    def since(self, now: int) -> dict[str, Any]:
        """Runs that changed after `now`, the ids of all, and the names and charts of series."""
        with self._lock:
            return {
                "now": self.now,
                "name": self.name,
                "clock": time.time(),
                "ids": list(self._runs),
                "runs": [record for at, _, record in self._runs.values() if at > now],
                "series": self.series,
                "charts": self.charts,
            }
