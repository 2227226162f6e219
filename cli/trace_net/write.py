"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

from trace_net import streams
from trace_net.errors import UsageError

STDOUT = "-"


def writable(path: str) -> str:
    """The place to write to later, in whatever folder the model leaves the process.

    Raises `UsageError` if a file cannot be written at `path`; called before long work.
    """
    if path == STDOUT:
        return path
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise UsageError(
            f"cannot write {path}: it is a folder", hint="name a file, as in -o graph.svg"
        )
    if place.exists() and not os.access(place, os.W_OK):
        raise UsageError(
            f"cannot write {path}: the file is read-only", hint="choose another file with -o"
        )
    if _is_stream(place):
        return str(place)
    beside = _beside(place)
    try:
        os.close(_create(beside))
        os.unlink(beside)
    except OSError as error:
        raise _unwritable(path, error) from error
    return str(place)


def write(path: str, data: bytes) -> None:
    """Write `data` to `path`, or to stdout where it is `-`, never half of it."""
    if path == STDOUT:
        streams.write_data(data)
        return
    place = Path(os.path.realpath(path))
    try:
        if _is_stream(place):
            place.write_bytes(data)
        else:
            _replace(place, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _replace(place: Path, data: bytes) -> None:
    beside = _beside(place)
    try:
        with open(_create(beside), "wb") as file:
            file.write(data)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)


def _create(path: Path) -> int:
    """A file descriptor of a new file, with the permissions that the umask gives any new file."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _beside(place: Path) -> Path:
    return place.with_name(f".trace-net-{os.urandom(6).hex()}.tmp")


def _is_stream(place: Path) -> bool:
    """A device or a pipe, which cannot be replaced by renaming."""
    return place.exists() and not place.is_file()


def _unwritable(path: str, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write {path}: {error.strerror}",
        hint="choose another file with -o, in a folder that exists and is writable",
    )
