"""Runs as tables that a spreadsheet opens: a file for each run, a line for each step."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from tracer.extend import Sink
from tracer_experiments.sinks.naming import file_name
from tracer_experiments.values import Logged

#: steps that wait for more values, as for those that are known a step later
WAITING = 4
#: the columns that every table begins with
FIXED = ("step", "seconds")


class CSV(Sink):
    """`ID-NAME.csv` for each run: `step`, `seconds` since its beginning, and a column a series.

    Histograms, images and graphs are left out. A column that comes later is added to the lines that
    are there. The last `WAITING` steps are written when others follow, or at the end. A run that
    goes on continues its file from the step that it goes on with.
    """

    name = "csv"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._tables: dict[int, Table] = {}

    def begin(self, run: Mapping[str, object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        identity = run["id"]
        assert isinstance(identity, int)
        self._tables[identity] = Table(self.folder / f"{file_name(run)}.csv")

    def write(self, run: int, points: Sequence[tuple[int, float, str, Logged]]) -> None:
        table = self._tables[run]
        for step, seconds, name, value in points:
            if isinstance(value, float):
                table.add(step, seconds, name, value)
        table.flush()

    def finish(self, run: int, status: str) -> None:
        self._tables.pop(run).close()

    def close(self) -> None:
        for run in list(self._tables):
            self.finish(run, "finished")


class Table:
    """A CSV file that grows by lines, and now and then by a column."""

    def __init__(self, path: Path):
        self.path = path
        self.columns = list(FIXED)
        self._waiting: dict[int, dict[str, float]] = {}
        self._file: TextIO | None = None
        self._is_old = path.exists()

    def add(self, step: int, seconds: float, name: str, value: float) -> None:
        """Put a value into the line of its step."""
        if self._file is None:
            self._open(step)
        if name not in self.columns:
            self.columns.append(name)
            self._rewrite(self._written())
        self._waiting.setdefault(step, {"seconds": seconds})[name] = float(value)

    def flush(self) -> None:
        """Write all lines but the last few steps."""
        self._write(sorted(self._waiting)[:-WAITING])

    def close(self) -> None:
        self._write(sorted(self._waiting))
        if self._file is not None:
            self._file.close()

    def _open(self, step: int) -> None:
        """Begin the file, or go on with one from a step that may be in it already."""
        lines = self._written() if self._is_old else []
        self.columns += [name for line in lines[:1] for name in line if name not in FIXED]
        self._rewrite([line for line in lines if int(line["step"]) < step])

    def _write(self, steps: Sequence[int]) -> None:
        if self._file is None or not steps:
            return
        lines = csv.writer(self._file)
        for step in steps:
            values = self._waiting.pop(step)
            lines.writerow([step, *(_text(values.get(name)) for name in self.columns[1:])])
        self._file.flush()

    def _written(self) -> list[dict[str, str]]:
        """The lines of the file, without a last one that was cut off."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [line for line in csv.DictReader(file) if None not in line.values()]

    def _rewrite(self, lines: Sequence[Mapping[str, str]]) -> None:
        """The file with these lines and the columns of now, and open at its end."""
        if self._file is not None:
            self._file.close()
        beside = self.path.with_suffix(".csv.tmp")
        with beside.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(self.columns)
            rows.writerows([line.get(name, "") for name in self.columns] for line in lines)
        os.replace(beside, self.path)
        self._file = self.path.open("a", newline="", encoding="utf-8")


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)
