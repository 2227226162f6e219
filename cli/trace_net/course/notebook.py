"""A chapter as a Jupyter notebook, in the format 4.5 (nbformat.readthedocs.io)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from trace_net.course.chapters import Chapter, Code, Hidden, Note, Piece, Text

#: what JSON makes of a cell
Cell = dict[str, object]

#: where a student writes, below an exercise
ROOM = "# your solution\n"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(?=## )", re.MULTILINE)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook(chapter: Chapter) -> bytes:
    """The file: no cell has been run, and a solution is a closed fold."""
    cells = [
        {"id": f"c{chapter.number}-{i}", **cell} for i, cell in enumerate(_cells(chapter.pieces))
    ]
    document = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _cells(pieces: tuple[Piece, ...]) -> Iterator[Cell]:
    for piece in pieces:
        match piece:
            case Code(text):
                yield _code(text)
            case Text(text):
                for section in HEADING.split(text):
                    if section.strip():
                        yield _markdown(_text(section.strip("\n")))
            case Note():
                yield _markdown(_note(piece))
            case Hidden():
                yield _code(ROOM)
                yield _markdown(_fold(piece))


def _code(text: str) -> Cell:
    cell: Cell = {"cell_type": "code", "execution_count": None, "metadata": {}}
    return cell | {"outputs": [], "source": _lines(text)}


def _markdown(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(text)}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _fold(hidden: Hidden) -> str:
    inside = "\n\n".join(map(_inside, hidden.pieces))
    return f"<details>\n<summary>{hidden.title}</summary>\n\n{inside}\n\n</details>"


def _inside(piece: Piece) -> str:
    """A piece of a fold, as Markdown: code is there to be copied."""
    match piece:
        case Code(text, printed):
            shown = "" if printed is None else f"\n\n```text\n{printed}\n```"
            return f"```python\n{text}\n```{shown}"
        case Text(text):
            return _text(text)
        case Note():
            return _note(piece)
        case Hidden():
            return _fold(piece)


def _note(note: Note) -> str:
    quoted = _text(note.text).replace("\n", "\n> ")
    return f"> **{note.title}**\n>\n> {quoted}"


def _text(markdown: str) -> str:
    """Without links that lead nowhere from a notebook: chapters are notebooks, pages are named."""
    return LINK.sub(_link, markdown)


def _link(found: re.Match[str]) -> str:
    label, target = found[1], found[2]
    if "://" in target or target.startswith("#"):
        return found[0]
    page, _, _ = target.partition("#")
    if "/" not in page:
        return f"[{label}]({page.removesuffix('.md')}.ipynb)"
    return f"{label} (in the documentation)"
