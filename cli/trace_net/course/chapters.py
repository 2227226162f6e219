"""The chapters, and the pieces that one is made of: text, code, what code shows, what is hidden.

A chapter is written in the Markdown of the site, of which this much has a meaning here:

- a block of `python` is code, and runs; a block of `text` right after it is what it prints, and an
  image right after both is what it draws;
- `??? title` begins what is hidden until it is asked for, and `!!! kind "Title"` a note; both are
  indented by four spaces;
- `$...$` and `$$...$$` are formulas.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

FILE = re.compile(r"(\d+)-[a-z0-9-]+\.md")
FENCE = re.compile(r"```(\w*)")
IMAGE = re.compile(r"!\[(.*)\]\((\S+)\)(\{.*\})?")
BOX = re.compile(r'(\?\?\?|!!!) \w+(?: "(.*)")?')


@dataclass(frozen=True)
class Text:
    """Markdown."""

    text: str


@dataclass(frozen=True)
class Code:
    """Python that runs, what it prints (`None`: not said) and the image of what it draws."""

    text: str
    printed: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Note:
    """A remark with a title, beside the text."""

    title: str
    text: str


@dataclass(frozen=True)
class Hidden:
    """What is shown when it is asked for: the solution of an exercise."""

    title: str
    pieces: tuple[Piece, ...]


Piece = Text | Code | Note | Hidden


@dataclass(frozen=True)
class Chapter:
    """A chapter: its file without `.md`, as in `1-polynomials`, and its Markdown."""

    name: str
    text: str

    @property
    def number(self) -> int:
        return int(self.name.partition("-")[0])

    @property
    def title(self) -> str:
        """The first heading."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """What it is made of, in order."""
        return parse(self.text)


def chapters() -> list[Chapter]:
    """All chapters, in order."""
    folder = resources.files("trace_net").joinpath("course")
    found = [file for file in folder.iterdir() if FILE.fullmatch(file.name)]
    all_of_them = [Chapter(f.name.removesuffix(".md"), f.read_text("utf-8")) for f in found]
    return sorted(all_of_them, key=lambda chapter: chapter.number)


def parse(markdown: str) -> tuple[Piece, ...]:
    """The pieces of a text, in order; raises `ValueError` for a block that does not end."""
    pieces: list[Piece] = []
    prose: list[str] = []
    lines = markdown.splitlines()
    at = 0

    def end_text() -> None:
        text = "\n".join(prose).strip("\n")
        prose.clear()
        if text:
            pieces.append(Text(text))

    while at < len(lines):
        line = lines[at]
        if fence := FENCE.match(line):
            end = _end_of_block(lines, at)
            if fence[1] == "python":
                end_text()
                code = "\n".join(lines[at + 1 : end - 1])
                printed, image, end = _shown(lines, end)
                pieces.append(Code(code, printed, image))
            else:
                prose += lines[at:end]
            at = end
        elif box := BOX.fullmatch(line):
            end_text()
            end = _end_of_box(lines, at + 1)
            inside = textwrap.dedent("\n".join(lines[at + 1 : end])).strip("\n")
            title = box[2] or "Note"
            hidden = box[1] == "???"
            pieces.append(Hidden(title, parse(inside)) if hidden else Note(title, inside))
            at = end
        else:
            prose.append(line)
            at += 1
    end_text()
    return tuple(pieces)


def _end_of_block(lines: list[str], start: int) -> int:
    """The line after the end of a fenced block."""
    for i in range(start + 1, len(lines)):
        if lines[i] == "```":
            return i + 1
    raise ValueError(f"line {start + 1}: {lines[start]!r} begins a block that does not end")


def _end_of_box(lines: list[str], start: int) -> int:
    """The first line that is not indented."""
    for i in range(start, len(lines)):
        if lines[i] and not lines[i].startswith("    "):
            return i
    return len(lines)


def _shown(lines: list[str], at: int) -> tuple[str | None, str | None, int]:
    """What stands below code as printed and as drawn by it, and the line after that."""
    printed = image = None
    while True:
        following = next((i for i in range(at, len(lines)) if lines[i]), None)
        if following is None:
            return printed, image, at
        if lines[following] == "```text" and printed is None:
            at = _end_of_block(lines, following)
            printed = "\n".join(lines[following + 1 : at - 1])
        elif (found := IMAGE.fullmatch(lines[following])) and image is None:
            image, at = found[2], following + 1
        else:
            return printed, image, at
