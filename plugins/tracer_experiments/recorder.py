"""Where runs are kept: `Recorder` writes, `Reader` only reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import tracer
from tracer.errors import suggestion
from tracer.extend import Sink
from tracer_experiments.run import Run, configuration, plain, text
from tracer_experiments.store.reading import Columns, Database, Points, RunRow, bucketed
from tracer_experiments.store.schema import RecordError, database_file, open_writing
from tracer_experiments.store.writing import Writer
from tracer_experiments.stored_run import StoredRun

__all__ = ["Reader", "Recorder"]

#: runs that are named where the one that was asked for is not there
NAMED = 3


class Reader:
    """The runs of a folder, or of a `.db` file, read only and from any thread.

    Raises `RecordError` where there are none, where they were written by a newer trace-net, or
    where the file is something else or damaged.
    """

    def __init__(self, path: str | PathLike[str] = "runs"):
        self.path = database_file(path)
        self._database = Database(path)

    @property
    def version(self) -> int:
        """A number that changes when something was written."""
        return self._database.version()

    def runs(self, name: str | None = None, group: str | None = None) -> list[StoredRun]:
        """All runs, or those of a name or a group, oldest first."""
        return [
            StoredRun(self._database, row)
            for row in self._database.runs()
            if name in (None, row.name) and group in (None, row.group)
        ]

    def open(self, run: int | str) -> StoredRun:
        """A run by its id, or by its name where one run only has it."""
        return StoredRun(self._database, found(self._database, run))

    def columns(self, name: str, runs: Sequence[int]) -> Iterator[tuple[int, Columns]]:
        """A series of numbers in many runs, by their ids, one after the other."""
        return self._database.columns_of_runs(name, runs)

    def points(
        self, name: str, runs: Sequence[int], most: int = 500
    ) -> Iterator[tuple[int, Points]]:
        """The same as it is drawn, in at most so many buckets."""
        for run, columns in self.columns(name, runs):
            yield run, bucketed(columns, most)

    def close(self) -> None:
        self._database.close()


class Recorder:
    """Keeps runs in one SQLite database: `runs.db` in a folder, which is made, or a `.db` file.

    Several processes may write into it and read it at once. `sinks` are names of registered ones,
    or objects, that are given all that is logged besides. Raises `RecordError` where the file
    cannot be written, is no database of runs, or is one of a newer trace-net.
    """

    def __init__(self, path: str | PathLike[str] = "runs", sinks: str | Sequence[str | Sink] = ()):
        self.path = database_file(path).absolute()  # a program may go to another folder
        self._writer = Writer(self.path, [_sink(sink, self.path.parent) for sink in _listed(sinks)])
        self._database = Database(self.path)

    def run(
        self,
        name: str = "run",
        config: Mapping[str, Any] | None = None,
        *,
        group: str = "",
        seed: int | None = None,
        resume: int | str | None = None,
        force: bool = False,
    ) -> Run:
        """Begin a run, or go on with the one of an id or a name, `resume`.

        `config` is what it was set up with, kept as JSON. Two runs may have one name: their ids
        differ. `seed` is kept; unless given, it is that of the last `tracer.seed`. A run that was
        written until a moment ago goes on by `force`: for who knows that its writer was killed.
        """
        if not text("the name of a run", name):
            raise RecordError("the name of a run is a text, got none")
        text("the group of a run", group)
        if resume is not None:
            row = found(self._database, resume)
            return self._resumed(row, config, force)
        seed = tracer.extend.last_seed() if seed is None else seed
        kept = configuration(config)
        besides = {} if seed is None else {"seed": plain(seed)}
        identity, _ = self._writer.begin(name, group, kept, besides)
        row = self._database.run(identity)
        self._writer.tell_begin(_summary(row))
        return Run(self._writer, self._database, row)

    def _resumed(self, row: RunRow, config: Mapping[str, Any] | None, force: bool) -> Run:
        if not force and StoredRun(self._database, row).status == "running":
            raise RecordError(
                f"the run {row.id} {row.name!r} is being written, or was until a moment ago: go on "
                f"with it when it has ended"
            )
        changed = row.config | json.loads(configuration(config))
        self._writer.go_on(row.id, json.dumps(changed))
        row = self._database.run(row.id)
        self._writer.tell_begin(_summary(row))
        return Run(self._writer, self._database, row)

    def runs(self, name: str | None = None, group: str | None = None) -> list[StoredRun]:
        """All runs, or those of a name or a group, oldest first."""
        self._writer.flush()
        return [
            StoredRun(self._database, row)
            for row in self._database.runs()
            if name in (None, row.name) and group in (None, row.group)
        ]

    def open(self, run: int | str) -> StoredRun:
        """A run by its id, or by its name where one run only has it."""
        self._writer.flush()
        return StoredRun(self._database, found(self._database, run))

    def remove(self, run: int | str, *, force: bool = False) -> None:
        """Remove a run and all that was recorded of it; one that is running only by `force`."""
        remove(self.path, run, force=force)

    def close(self) -> None:
        """Finish the runs of this recorder, and let the file go."""
        if self._writer.is_foreign:
            return  # the parent's
        self._database.close()  # first: the writer, which is last, leaves one file behind
        self._writer.close()

    def __reduce__(self) -> Any:
        raise RecordError(
            f"a recorder is of one process: make Recorder({str(self.path)!r}) in the other one"
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remove(path: str | PathLike[str], run: int | str, *, force: bool = False) -> None:
    """Remove a run from the database of a path; `RecordError` for one that is running."""
    database = Database(path)
    try:
        stored = StoredRun(database, found(database, run))
        if stored.status == "running" and not force:
            raise RecordError(
                f"the run {stored.id} {stored.name!r} is running: force=True removes it"
            )
    finally:
        database.close()
    connection = open_writing(path)
    try:
        connection.execute("DELETE FROM runs WHERE id = ?", (stored.id,))
        connection.execute("PRAGMA incremental_vacuum").fetchall()
    finally:
        connection.close()


def found(database: Database, run: int | str) -> RunRow:
    """The row of a run, by its id or name."""
    if isinstance(run, int) and not isinstance(run, bool):
        return database.run(run)
    rows = database.runs()
    named = [row for row in rows if row.name == run]
    if len(named) == 1:
        return named[0]
    if named:
        listed = ", ".join(str(row.id) for row in named)
        raise RecordError(f"{len(named)} runs are called {run!r}: name one by its id, {listed}")
    if isinstance(run, str) and run.isdecimal():
        return database.run(int(run))
    known = list(dict.fromkeys(row.name for row in rows))
    some = ", ".join(map(repr, known[:NAMED])) + (", ..." if len(known) > NAMED else "")
    raise RecordError(
        f"no run is called {run!r} in {str(database.file)!r}.{suggestion(str(run), known)} "
        f"There are {len(rows)} runs{': ' if some else ''}{some}"
    )


def _listed(sinks: str | Sequence[str | Sink]) -> Sequence[str | Sink]:
    return (sinks,) if isinstance(sinks, str | Sink) else sinks


def _sink(sink: str | Sink, folder: Path) -> Sink:
    if isinstance(sink, str):
        return tracer.registry.sinks[sink](folder / sink)
    if not isinstance(sink, Sink):
        raise RecordError(f"a sink is a registered name or a tracer.extend.Sink, got {sink!r}")
    return sink


def _summary(row: RunRow) -> dict[str, Any]:
    """What a sink is told of a run."""
    return {
        "id": row.id,
        "name": row.name,
        "group": row.group,
        "config": row.config,
        "environment": row.environment,
    }
