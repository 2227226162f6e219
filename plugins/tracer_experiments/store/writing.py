"""What is logged goes to the database, twice a second, by a thread of its own."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sqlite3
import sys
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from tracer.extend import Sink
from tracer_experiments.store.blocks import packed_histogram
from tracer_experiments.store.environment import environment
from tracer_experiments.store.schema import RecordError, database_file, open_writing
from tracer_experiments.store.series import GrowingSeries, cut_numbers, cut_objects
from tracer_experiments.values import Histogram, Late, Logged

#: seconds between two looks at what was logged, and between two signs of life
INTERVAL, SIGN_OF_LIFE = 0.5, 5.0
#: calls of `log` whose values wait at most while a database cannot be written
MOST_WAITING = 200_000


class Entry(NamedTuple):
    """What one call of `log` gave, `seconds` after the run began."""

    run: int
    step: int
    seconds: float
    values: Mapping[str, Logged]


class Packed(NamedTuple):
    """An image or a graph, as it is kept."""

    kind: str
    data: bytes


#: a series: its run and its name
Key = tuple[int, str]
#: a step, seconds and a value
Point = tuple[int, float, Logged]

#: all writers, for a process that is forked
_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
#: writers with runs that are not finished
LIVE: set[Writer] = set()
#: of a parent process: kept, since closing them here would release the parent's locks
_abandoned: list[Writer] = []


class Writer:
    """Writes the runs of one process into one database, and to sinks.

    What is logged waits in a queue until the thread, or `flush`, writes it in one transaction. What
    cannot be written waits and is tried again, and `trouble` says why, once; what is more than
    `MOST_WAITING` calls of `log` gave is lost.
    """

    def __init__(self, path: str | PathLike[str], sinks: Sequence[Sink] = ()):
        self.file = database_file(path).absolute()
        self.sinks = list(sinks)
        #: words to be said in the thread that logs
        self.trouble = ""
        self.is_foreign = False
        self._connection = open_writing(path)
        self._identity = _identity(self.file)
        _writers.add(self)
        self._said = ""
        self._lost = 0
        self._queue: deque[Entry] = deque()
        self._kept: list[Entry] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._series: dict[Key, GrowingSeries] = {}
        self._charts: dict[Key, str] = {}
        self._active: set[int] = set()
        self._seen = 0.0

    def is_active(self, run: int) -> bool:
        """Whether a run is begun, and not over."""
        return run in self._active

    # -- runs ----------------------------------------------------------------------------------

    def begin(
        self, name: str, group: str, config: str, besides: Mapping[str, Any]
    ) -> tuple[int, float]:
        """A new run: its id, and when it began, in seconds since 1970."""
        begun = time.time()
        where = json.dumps(environment() | dict(besides))
        with self._lock, self._writing():
            cursor = self._connection.execute(
                "INSERT INTO runs (name, sweep, status, error, begun, seen, config, environment) "
                "VALUES (?, ?, 'running', '', ?, ?, ?, ?)",
                (name, group, begun, begun, config, where),
            )
        run = int(cursor.lastrowid or 0)
        self._go(run)
        return run, begun

    def go_on(self, run: int, config: str) -> None:
        """A run that was there goes on."""
        with self._lock, self._writing():
            self._connection.execute(
                "UPDATE runs SET status = 'running', error = '', ended = NULL, seen = ?, "
                "config = ? WHERE id = ?",
                (time.time(), config, run),
            )
        self._go(run)

    def configure(self, run: int, config: str) -> None:
        with self._lock, self._writing():
            self._connection.execute("UPDATE runs SET config = ? WHERE id = ?", (config, run))

    def rewind(self, run: int, step: int) -> None:
        """Remove what a run has logged of a step and later ones."""
        self.flush()
        with self._lock, self._writing():
            for key in [key for key in self._series if key[0] == run]:
                del self._series[key]
            rows = self._connection.execute(
                "SELECT id FROM series WHERE run = ? AND kind = 'number'", (run,)
            ).fetchall()
            for (series,) in rows:
                cut_numbers(self._connection, series, step)
            cut_objects(self._connection, run, step)

    def describe(self, run: int, name: str, chart: str) -> None:
        """How a series is drawn; written with its first point."""
        self._charts[run, name] = chart
        if (run, name) in self._series:
            with self._lock, self._writing():
                self._connection.execute(
                    "UPDATE series SET chart = ? WHERE run = ? AND name = ?", (chart, run, name)
                )

    def finish(self, run: int, status: str, error: str = "") -> None:
        """Write what waits, and that the run is over."""
        self.flush()
        with self._lock:
            self._end(run, status, error)
            lost = self._lost + sum(entry.run == run for entry in self._kept)
            if lost:
                self.trouble = (
                    f"{self._said}: the values of {lost} calls of log were not written and are lost"
                )
                self._kept = [entry for entry in self._kept if entry.run != run]
            self._tell("finish", run, status)
            for key in [key for key in self._series if key[0] == run]:
                del self._series[key]
            self._active.discard(run)
            if not self._active:
                self._stop.set()
                LIVE.discard(self)

    def _end(self, run: int, status: str, error: str) -> None:
        now = time.time()
        try:
            with self._writing():
                self._connection.execute(
                    "UPDATE runs SET status = ?, error = ?, ended = ?, seen = ? WHERE id = ?",
                    (status, error, now, now, run),
                )
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (RecordError, sqlite3.Error) as failed:
            self.trouble = str(failed)

    def _go(self, run: int) -> None:
        self._active.add(run)
        LIVE.add(self)
        if len(self._active) == 1:
            self._stop = threading.Event()
            threading.Thread(
                target=self._tick, args=(self._stop,), name="recorder", daemon=True
            ).start()

    def _check_process(self) -> None:
        if self.is_foreign:
            raise RecordError(
                f"the runs in {str(self.file)!r} are recorded by the parent process: make a "
                f"Recorder in this one"
            )

    # -- what is logged ------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        self._queue.append(entry)

    def flush(self) -> None:
        """Write all that was logged before this call."""
        self._check_process()
        with self._lock:
            self._write()

    def close(self) -> None:
        """Finish what is not, and let the file go."""
        for run in sorted(self._active):
            self.finish(run, "finished")
        with self._lock:
            self._tell("close")
            self._connection.close()

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(INTERVAL):
            self.flush()

    @contextlib.contextmanager
    def _writing(self) -> Any:
        """One transaction: all of it is written, or nothing."""
        self._check_process()
        if _identity(self.file) != self._identity:
            raise RecordError(
                f"runs cannot be written to {str(self.file)!r}: the file was removed, or another "
                f"one has come to its place"
            )
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise RecordError(
                    f"runs cannot be written to {str(self.file)!r}: {error}"
                ) from error
            raise

    def _write(self) -> None:
        """Write what waits; keep it where that fails."""
        waiting = self._kept
        while self._queue:
            waiting.append(self._queue.popleft())
        self._kept = []
        now = time.time()
        if not waiting and now - self._seen < SIGN_OF_LIFE:
            return
        by_series = _by_series(waiting)
        try:
            with self._writing():
                self._connection.executemany(
                    "UPDATE runs SET seen = ? WHERE id = ?", [(now, run) for run in self._active]
                )
                there = {run for (run,) in self._connection.execute("SELECT id FROM runs")}
                for key, points in by_series.items():
                    if key[0] in there:
                        self._write_readable(key, points)
                    else:
                        self.trouble = f"the run {key[0]} was removed: it is recorded no more"
        except RecordError as error:
            self._kept = waiting[:MOST_WAITING]
            self._lost += len(waiting) - len(self._kept)
            self._series.clear()  # what they hold was not written
            if self._said != str(error):
                self._said = str(error)
                self.trouble = f"{error}; what is logged waits, and is tried again"
            return
        if self._lost:
            self.trouble = f"there was no room for what {self._lost} calls of log gave: it is lost"
        self._seen, self._said, self._lost = now, "", 0
        self._tell_points(waiting)

    def _write_readable(self, key: Key, points: list[Point]) -> None:
        """Write the points of a series; what cannot be kept does not take others with it."""
        try:
            self._write_series(key, points)
        except sqlite3.Error:
            raise
        except Exception as error:
            self._series.pop(key, None)
            self.trouble = f"{key[1]!r} is not recorded: {type(error).__name__}: {error}"

    def _write_series(self, key: Key, points: list[Point]) -> None:
        series = self._series.get(key)
        if series is None:
            kind = _kind(points[0][2])
            series = GrowingSeries.opened(self._connection, *key, kind, self._charts.get(key))
            self._series[key] = series
        points = [(step, at, _number(value)) for step, at, value in points]
        fitting = [point for point in points if _kind(point[2]) == series.kind]
        refused = [point for point in points if _kind(point[2]) != series.kind]
        if series.kind == "number":
            series.add_numbers(self._connection, fitting)
        else:
            series.add_objects(self._connection, [(s, t, _bytes(v)) for s, t, v in fitting])
        if refused:
            self.trouble = (
                f"{key[1]!r} is a series of kind {series.kind}, and at step {refused[0][0]} it is "
                f"another: that is not recorded; give it another name"
            )

    # -- sinks ---------------------------------------------------------------------------------

    def tell_begin(self, run: Mapping[str, Any]) -> None:
        with self._lock:
            self._tell("begin", run)

    def _tell_points(self, entries: Iterable[Entry]) -> None:
        if not self.sinks:
            return
        points = defaultdict(list)
        for entry in entries:
            for name, value in entry.values.items():
                step = value.step if isinstance(value, Late) else entry.step
                points[entry.run].append((step, entry.seconds, name, value))
        for run, listed in points.items():
            self._tell("write", run, listed)

    def _tell(self, method: str, *arguments: Any) -> None:
        """Call the sinks; one that raises is left out from then on."""
        for sink in list(self.sinks):
            try:
                getattr(sink, method)(*arguments)
            except Exception as error:
                self.sinks.remove(sink)
                self.trouble = (
                    f"the sink {sink.name!r} raised {type(error).__name__}: {error}; it is left "
                    f"out from here on"
                )


def _by_series(entries: Iterable[Entry]) -> dict[Key, list[Point]]:
    found: dict[Key, list[Point]] = defaultdict(list)
    for run, step, seconds, values in entries:
        for name, value in values.items():
            if type(value) is Late:
                found[run, name].append((value.step, seconds, value))
            else:
                found[run, name].append((step, seconds, value))
    return found


def _number(value: Logged) -> Logged:
    """The value, of a device, which is waited for here, as a number."""
    return value if isinstance(value, float | Histogram | Packed) else float(value)


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another one of its name; None where there is none."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _kind(value: Logged) -> str:
    if isinstance(value, Packed):
        return value.kind
    return "histogram" if isinstance(value, Histogram) else "number"


def _bytes(value: Logged) -> bytes:
    return value.data if isinstance(value, Packed) else packed_histogram(value)


def _finish_all() -> None:
    """At the end of the program: an error that ended it is that of its runs.

    In a session, as of a notebook, it is only the last one of all cells, and ended nothing.
    """
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    for writer in list(LIVE):
        for run in sorted(writer._active):
            if error is None:
                writer.finish(run, "finished")
            else:
                interrupted = isinstance(error, KeyboardInterrupt)
                status = "interrupted" if interrupted else "failed"
                writer.finish(run, status, f"{type(error).__name__}: {error}")


def _leave_to_the_parent() -> None:
    """In a forked process: runs are the parent's, whose thread is not here."""
    for writer in list(_writers):
        writer.is_foreign = True
        _abandoned.append(writer)
    LIVE.clear()


atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)
