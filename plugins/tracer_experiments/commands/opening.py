"""Which database a command reads, and which runs in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tracer.errors import UsageError
from tracer_experiments.recorder import Reader
from tracer_experiments.store.schema import RecordError, database_file
from tracer_experiments.stored_run import StoredRun

#: where runs are unless a command is told
DEFAULT = "runs"


def opened(path: str) -> Reader:
    """The runs of a path; `UsageError` where they cannot be read."""
    try:
        return Reader(path)
    except RecordError as error:
        if database_file(path).is_file():
            hint = "it was left as it is; name another folder or .db file"
        else:
            hint = (
                "name the folder, as in `trace-net runs list DIR`, of `trace-net train --run DIR`"
            )
        raise UsageError(str(error), hint) from error


def divided(arguments: Sequence[str], path: str | None, least: int) -> tuple[list[str], str]:
    """What a command is given, and the path of the runs.

    Without `--path`, that is the last of more than `least` arguments, if there are runs in it, else
    the first: `trace-net runs list` and `trace-net board` have it there.
    """
    given = list(arguments)
    for place in (-1, 0):
        if path is None and len(given) > least and is_database(given[place]):
            path = given.pop(place)
    return given, DEFAULT if path is None else path


def is_database(text: str) -> bool:
    """Whether an argument is a path of runs."""
    return bool(text) and (text.endswith(".db") or (Path(text) / "runs.db").is_file())


def check_no_folder(names: Sequence[str]) -> None:
    """Raise `UsageError` where a name that nothing has is that of a folder."""
    for name in names:
        if Path(name).is_dir():
            raise UsageError(
                f"{name!r} is a folder in which no runs are, and no series is called so",
                "name the folder of runs last, as in `trace-net runs plot loss DIR`",
            )


def run_of(reader: Reader, name: str) -> StoredRun:
    """A run by its id or name; `UsageError` with the ids where several have it."""
    try:
        return reader.open(int(name) if name.isdecimal() else name)
    except RecordError as error:
        named = reader.runs(name=name)
        if name.isdecimal() and len(named) == 1:
            return named[0]
        if Path(name).is_dir():
            raise UsageError(
                f"{name!r} is a folder, and no run is called so",
                "name runs by id or name, and the folder of runs last, or with --path",
            ) from error
        raise UsageError(str(error), "`trace-net runs list` lists ids and names") from error


def runs_of(reader: Reader, names: Sequence[str]) -> list[StoredRun]:
    """Several runs, each once; all of them where none is named."""
    if not names:
        return reader.runs()
    return list({run.id: run for run in (run_of(reader, name) for name in names)}.values())
