"""`trace-net course`: the chapters of the course as notebooks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from trace_net import report, streams
from trace_net.errors import UsageError

#: what the chapters import besides trace-net, and Jupyter's part that runs them
NEEDED = ("matplotlib", "sklearn", "ipykernel")


def course(
    folder: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where to write them. Default: ./course")
    ] = "course",
    list_only: Annotated[
        bool, typer.Option("--list", help="Print the chapters, and write nothing.")
    ] = False,
    number: Annotated[
        int | None, typer.Option("--chapter", metavar="N", help="Only this chapter.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write files that are there anew, as they came.")
    ] = False,
) -> None:
    """Write the course: a notebook for each chapter.

    What is there already is kept, with what you wrote into it, unless --force is given.
    """
    from trace_net.course.chapters import chapters
    from trace_net.course.notebook import notebook

    found = chapters()
    chosen = [chapter for chapter in found if number in (None, chapter.number)]
    if not chosen:
        raise UsageError(
            f"--chapter takes 1 to {len(found)}, got {number}",
            hint="`trace-net course --list` lists the chapters",
        )
    if list_only:
        rows = [(chapter.number, chapter.title) for chapter in chosen]
        streams.console().print(report.table((">chapter", "title"), rows))
        return
    place = _made(folder)
    for chapter in chosen:
        _put(place / f"{chapter.name}.ipynb", notebook(chapter), force)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        streams.note(
            f"the chapters need {', '.join(missing)}: pip install 'trace-net[course]' has them"
        )


def _made(folder: str) -> Path:
    """The folder, made if it is not there; `UsageError` where it cannot be."""
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror}", hint="choose another DIR"
        ) from error
    return place


def _put(file: Path, data: bytes, force: bool) -> None:
    """Write a file and print its path, unless another one is there that is to be kept."""
    from trace_net import write

    if file.exists() and not force and file.read_bytes() != data:
        streams.note(f"{file} is kept as you left it; --force writes it anew")
        return
    write.write(str(file), data)
    print(file)
