"""The pages of the documentation and the code blocks in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

#: a block, which may be indented: then it is of a solution, or of a note
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
#: the whole of a page that is a chapter of the course
CHAPTER = re.compile(r'^--8<-- "(.+\.md)"$', re.MULTILINE)
COURSE = ROOT / "cli" / "trace_net" / "course"


def markdown(page: Path) -> str:
    """The text of a page, with that of the chapter which it includes."""
    return CHAPTER.sub(lambda found: (COURSE / found[1]).read_text(), page.read_text())


class Block(NamedTuple):
    """A fenced block: its language, its text, the line where the text begins, where it ends."""

    language: str
    text: str
    line: int
    end: int


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [
        Block(
            found[2],
            re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE),
            text.count("\n", 0, found.start(3)) + 1,
            found.end(),
        )
        for found in FENCE.finditer(text)
    ]


def name(page: Path) -> str:
    """How a page is called in test ids."""
    return str(page.relative_to(ROOT))
