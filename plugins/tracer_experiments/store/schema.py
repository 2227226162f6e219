"""The database of a recorder: one SQLite file, its tables, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
from os import PathLike
from pathlib import Path
from typing import Any

from tracer.errors import TracerError

__all__ = ["RecordError", "database_file", "open_reading", "open_writing"]

#: marks a file as ours in its header: "trnt"
APPLICATION = 0x74726E74
#: of the tables; a file with a higher one was written by a newer trace-net
VERSION = 1
#: seconds that a writer waits for others
PATIENCE = 30.0

TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    sweep TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL,
    begun REAL NOT NULL,
    seen REAL NOT NULL,
    ended REAL,
    config TEXT NOT NULL,
    environment TEXT NOT NULL
);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    chart TEXT,
    count INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    last REAL,
    UNIQUE (run, name)
);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    count INTEGER NOT NULL,
    steps BLOB NOT NULL,
    times BLOB NOT NULL,
    numbers BLOB NOT NULL,
    UNIQUE (series, number)
);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    time REAL NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX objects_of_series ON objects (series, step);
"""


class RecordError(TracerError):
    """A database of runs that cannot be read or written, or a run that is not there."""


class _Connection(sqlite3.Connection):
    """A connection that is closed when nobody has it any more, by the process that opened it."""

    def __init__(self, *arguments: Any, **options: Any):
        self._process = os.getpid()
        super().__init__(*arguments, **options)

    def __del__(self) -> None:
        if self._process == os.getpid():
            self.close()


def database_file(path: str | PathLike[str]) -> Path:
    """The file of a path: itself if it ends in `.db`, else `runs.db` in that folder."""
    if not isinstance(path, str | PathLike):
        raise RecordError(f"runs are kept in a folder or a .db file, got {path!r}")
    found = Path(path)
    return found if found.suffix == ".db" and not found.is_dir() else found / "runs.db"


def open_writing(path: str | PathLike[str]) -> sqlite3.Connection:
    """A connection that writes, to a file that is made if it is not there.

    Raises `RecordError` where it cannot be written, is no database of runs or a newer one; nothing
    is changed then.
    """
    file = database_file(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"no folder for runs can be made at {str(file.parent)!r}: {error}") from (
            error
        )
    if file.exists() and not os.access(file, os.W_OK):
        raise RecordError(f"the runs in {str(file)!r} cannot be written: the file is read only")
    try:
        connection = _connect(f"{file.absolute().as_uri()}?mode=rwc")
        if not _is_ours(connection, file):
            connection.executescript(
                "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; "
                "PRAGMA journal_mode = WAL"
            )
            with connection:
                connection.execute("BEGIN EXCLUSIVE")
                if not _is_ours(connection, file):  # another process was here first
                    for statement in TABLES.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executescript("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise RecordError(f"runs cannot be written to {str(file)!r}: {error}") from error
    return connection


def open_reading(path: str | PathLike[str]) -> sqlite3.Connection:
    """A connection that only reads; `RecordError` where there is nothing, or nothing of ours."""
    file = database_file(path)
    if not file.is_file():
        raise RecordError(
            f"there are no runs in {str(path)!r}: a Recorder({str(path)!r}) keeps them there"
        )
    try:
        connection = _connect(f"{file.absolute().as_uri()}?mode=ro")
        if not _is_ours(connection, file):
            raise RecordError(f"there are no runs in {str(file)!r} yet")
    except sqlite3.Error as error:
        if not isinstance(error, sqlite3.OperationalError) or os.access(file.parent, os.W_OK):
            raise RecordError(f"{str(file)!r} cannot be read as runs: {error}") from error
        return _open_unshared(file)
    return connection


def _open_unshared(file: Path) -> sqlite3.Connection:
    """A connection to a file whose folder has no place for what readers and writers share."""
    try:
        connection = _connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1")
        _is_ours(connection, file)
    except sqlite3.Error as error:
        raise RecordError(f"{str(file)!r} cannot be read as runs: {error}") from error
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    connection.execute("PRAGMA schema_version").fetchone()  # opens the file
    return connection


def _is_ours(connection: sqlite3.Connection, file: Path) -> bool:
    """Whether there are our tables; False for an empty file, an error for anything else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not application and not tables:
        return False
    if application != APPLICATION:
        raise RecordError(f"{str(file)!r} is a database of something else than runs")
    if version > VERSION:
        raise RecordError(
            f"{str(file)!r} was written by a newer trace-net (version {version} of the tables, "
            f"this one knows {VERSION}): update trace-net, or give another folder"
        )
    return True
