"""What a database of runs holds, read without changing it."""

from __future__ import annotations

import contextlib
import itertools
import json
import operator
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from tracer_experiments.charts import Chart
from tracer_experiments.store.blocks import histogram_of, numbers_of, steps_of, times_of
from tracer_experiments.store.schema import RecordError, database_file, open_reading
from tracer_experiments.values import Histogram

__all__ = ["Points", "SeriesInfo"]

#: connections of a parent process: kept, since closing them here would release its locks
_abandoned: list[sqlite3.Connection] = []
#: what is read of a run, in the order of `RunRow`
COLUMNS = "id, name, sweep, status, error, begun, seen, ended, config, environment"


class RunRow(NamedTuple):
    """A run as it is kept; times are seconds since 1970."""

    id: int
    name: str
    group: str
    status: str
    error: str
    begun: float
    seen: float
    ended: float | None
    config: dict[str, Any]
    environment: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """A series: "number", "histogram", "image" or "graph", and how far it goes.

    `last` is the last number, None if that is not finite or there is none.
    """

    kind: str
    count: int
    last_step: int
    last: float | None
    chart: Chart | None


class Points(NamedTuple):
    """A series as it is drawn: of each of at most so many buckets the first step and its time, the
    least, mean and greatest of its finite values (NaN where there is none), and how many are not
    finite.
    """

    steps: np.ndarray
    times: np.ndarray
    low: np.ndarray
    mean: np.ndarray
    high: np.ndarray
    missing: np.ndarray


class Columns(NamedTuple):
    """The points of a series in ascending order of steps: int64, seconds, and values float64."""

    steps: np.ndarray
    times: np.ndarray
    numbers: np.ndarray


class Database:
    """Queries of one database, from any thread. Errors of SQLite are `RecordError`s."""

    def __init__(self, path: str | PathLike[str]):
        self.file = database_file(path).absolute()
        self._open(path)

    def _open(self, path: str | PathLike[str]) -> None:
        self._connection = open_reading(path)
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _here(self) -> None:
        """In a forked process, open the file again: a connection is of one process."""
        if self._process != os.getpid():
            _abandoned.append(self._connection)
            self._open(self.file)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def version(self) -> int:
        """A number that changes when another connection has written."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def runs(self) -> list[RunRow]:
        """All runs that can be read, oldest first."""
        query = f"SELECT {COLUMNS} FROM runs"
        try:
            rows = self._rows(f"{query} ORDER BY id")
        except RecordError:
            rows = self._readable(query)
        return [_run(row) for row in rows]

    def run(self, identity: int) -> RunRow:
        rows = self._rows(f"SELECT {COLUMNS} FROM runs WHERE id = ?", identity)
        if not rows:
            raise RecordError(f"there is no run {identity} in {str(self.file)!r}")
        return _run(rows[0])

    def series(self, run: int) -> dict[str, tuple[int, SeriesInfo]]:
        """Name -> id and what is known of a series, in the order in which they were begun."""
        rows = self._rows(
            "SELECT name, id, kind, count, last_step, last, chart FROM series WHERE run = ? "
            "ORDER BY id",
            run,
        )
        return {
            name: (identity, SeriesInfo(kind, count, last_step, last, _chart(chart)))
            for name, identity, kind, count, last_step, last, chart in rows
        }

    def columns(self, series: int) -> Columns:
        """The numbers of a series. Of a step that was logged again, the last one counts."""
        blocks = self._rows(
            "SELECT count, steps, times, numbers FROM blocks WHERE series = ? ORDER BY number",
            series,
        )
        with damage_named(self.file):
            return _joined(blocks)

    def columns_of_runs(self, name: str, runs: Sequence[int]) -> Iterator[tuple[int, Columns]]:
        """The numbers of one series in many runs, one after the other."""
        for first in range(0, len(runs), 50):
            some = runs[first : first + 50]
            try:
                yield from self._columns_of(name, some)
            except RecordError:  # of one, which does not hide the others
                for run in some:
                    with contextlib.suppress(RecordError):
                        yield from self._columns_of(name, [run])

    def _columns_of(self, name: str, runs: Sequence[int]) -> list[tuple[int, Columns]]:
        rows = self._rows(
            "SELECT series.run, blocks.count, steps, times, numbers FROM series "
            "JOIN blocks ON blocks.series = series.id "
            f"WHERE name = ? AND run IN ({', '.join('?' * len(runs))}) ORDER BY run, number",
            name,
            *runs,
        )
        with damage_named(self.file):
            return [
                (run, _joined([row[1:] for row in of_run]))
                for run, of_run in itertools.groupby(rows, operator.itemgetter(0))
            ]

    def objects(
        self, series: int, step: int | None = None, *, last: bool = False
    ) -> list[tuple[int, float, bytes]]:
        """Step, seconds and bytes, in ascending order of steps; of one step, or the last one."""
        where = "series = ?" if step is None else "series = ? AND step = ?"
        order = "step DESC, id DESC LIMIT 1" if last else "step, id"
        rows = self._rows(
            f"SELECT step, time, data FROM objects WHERE {where} ORDER BY {order}",
            *((series,) if step is None else (series, step)),
        )
        return list({row[0]: row for row in rows}.values())

    def histograms(self, series: int) -> list[tuple[int, float, Histogram]]:
        with damage_named(self.file):
            return [(step, at, histogram_of(data)) for step, at, data in self.objects(series)]

    def _rows(self, query: str, *values: Any) -> list[Any]:
        self._here()
        with self._lock, damage_named(self.file):
            return self._connection.execute(query, values).fetchall()

    def _readable(self, query: str) -> list[Any]:
        """The rows of a table that is damaged, one at a time."""
        found, at = [], 0
        with self._lock, contextlib.suppress(sqlite3.Error):
            (last,) = self._connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'runs'"
            ).fetchone()
            for at in range(1, last + 1):
                with contextlib.suppress(sqlite3.DatabaseError):
                    found += self._connection.execute(f"{query} WHERE id = ?", (at,)).fetchall()
        if not found:
            raise RecordError(f"{str(self.file)!r} is damaged: no run can be read from it")
        return found


@contextlib.contextmanager
def damage_named(file: Any) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, zlib.error, ValueError, LookupError, TypeError) as error:
        raise RecordError(
            f"{str(file)!r} cannot be read in this place: {error}; other runs and series may be"
        ) from error


def _run(row: Sequence[Any]) -> RunRow:
    identity, name, group, status, error, begun, seen, ended, config, environment = row
    return RunRow(
        identity,
        _text(name),
        _text(group),
        _text(status),
        _text(error),
        _seconds(begun),
        _seconds(seen),
        None if ended is None else _seconds(ended),
        _document(config),
        _document(environment),
    )


def _text(kept: Any) -> str:
    """A text, also of a column that is damaged."""
    return kept.decode(errors="replace") if isinstance(kept, bytes) else str(kept)


def _seconds(kept: Any) -> float:
    return kept if isinstance(kept, float) else 0.0


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@lru_cache(maxsize=4096)
def _chart(text: str | None) -> Chart | None:
    return None if text is None else Chart.from_dict(_document(text))


def _joined(blocks: Sequence[Sequence[Any]]) -> Columns:
    if not blocks:
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0))
    values = [numbers_of(block[3]) for block in blocks]
    if any(block[0] != each.size for block, each in zip(blocks, values, strict=True)):
        raise ValueError("a block has another number of values than it says")
    steps = np.concatenate([steps_of(count, at) for count, at, _, _ in blocks])
    times = np.concatenate([times_of(block[2]) for block in blocks])
    numbers = np.concatenate(values)
    if np.all(steps[1:] > steps[:-1]):
        return Columns(steps, times, numbers)
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    kept = order[np.append(ordered[1:] != ordered[:-1], True)]
    return Columns(steps[kept], times[kept], numbers[kept])


def bucketed(columns: Columns, most: int) -> Points:
    """At most `most` buckets of equally many points."""
    steps, times, numbers = columns
    count = numbers.size
    starts = np.unique(np.linspace(0, count, most, endpoint=False).astype(np.int64))
    if count <= most:
        starts = np.arange(count)
    if not count:
        empty = np.empty(0)
        return Points(steps, times, empty, empty, empty, np.empty(0, np.int64))
    finite = np.isfinite(numbers)
    sizes = np.add.reduceat(finite.astype(np.int64), starts)
    known = np.where(finite, numbers, np.nan)
    low, high = np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)
    # relative to a value of the bucket, since the sum of large numbers may overflow
    scale = np.maximum(np.abs(low), np.abs(high))
    scale = np.where(scale > 0, scale, 1.0)
    share = np.repeat(scale, np.diff(np.append(starts, count)))
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.add.reduceat(np.where(finite, numbers / share, 0.0), starts)
        mean = np.where(sizes > 0, total / sizes * scale, np.nan)
    missing = np.diff(np.append(starts, count)) - sizes
    return Points(steps[starts], times[starts], low, np.clip(mean, low, high), high, missing)
