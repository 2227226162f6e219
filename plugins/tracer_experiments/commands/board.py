"""`trace-net board`: a page of recorded runs, live or as one file."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from tracer.errors import TracerError
from tracer_experiments import printing
from tracer_experiments.board import Board, report
from tracer_experiments.board.server import title_of
from tracer_experiments.recorder import Reader
from tracer_experiments.store.schema import RecordError, database_file
from tracer_experiments.stored_run import StoredRun

__all__ = ["board"]


def board(
    path: Annotated[str, typer.Argument(help="A folder with runs, or a .db file.")] = "runs",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the page is; 0 takes any that is free.")
    ] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    export: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the page with its data to a file; - is stdout."),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="Of the export: a run, by its name or id; again for more."),
    ] = None,
) -> None:
    """Look at recorded runs in a browser: curves as they come, tables, instruments, the model.

    Prints the address of the page, which is for this machine only, and serves it until it is
    interrupted. The runs are only read.
    """
    if export is not None:
        _export(path, export, run or [])
        return
    if run:
        raise typer.BadParameter(
            "runs are chosen for --export; the page shows all", param_hint="--run"
        )
    file = database_file(path)
    if file.exists():
        Reader(path).close()  # an error, where it cannot be read, before a page says so
    elif not file.parent.is_dir():
        raise RecordError(
            f"there is no folder {str(file.parent)!r}: give that of a Recorder, or its .db file"
        )
    try:
        server = Board(path, port)
    except OSError as error:
        raise TracerError(f"port {port} cannot be used: {error.strerror}") from error
    print(server.address, flush=True)
    if not file.exists():
        printing.note(f"waiting for {file}, which a Recorder makes")
    if not no_open:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        printing.note("stopped")
    finally:
        server.server_close()


def _export(path: str, file: str, chosen: list[str]) -> None:
    reader = Reader(path)
    runs = _chosen(reader, chosen)
    title = title_of(reader.path)
    if file == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(report(reader, runs, title, printing.note).encode())
        return
    place = Path(file)
    beside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as out:  # which fails before the work, if at all
            out.write(report(reader, runs, title, printing.note))
        beside.replace(place)
    except OSError as error:
        raise TracerError(f"cannot write {file}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    printing.note(f"wrote {len(runs)} runs into {file}, {place.stat().st_size / 1e6:.1f} MB")


def _chosen(reader: Reader, chosen: list[str]) -> list[StoredRun]:
    """The runs of some names or ids, each once, oldest first; all where none is given."""
    if not chosen:
        return reader.runs()
    all_runs = reader.runs()
    found: dict[int, StoredRun] = {}
    for each in chosen:
        named = [run for run in all_runs if run.name == each] or [reader.open(each)]
        found.update({run.id: run for run in named})
    return [found[identity] for identity in sorted(found)]
