"""The pages of the documentation and the code blocks in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, the line where the text begins, where it ends."""

    language: str
    text: str
    line: int
    end: int


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1, found.end())
        for found in FENCE.finditer(text)
    ]


def name(page: Path) -> str:
    """How a page is called in test ids."""
    return str(page.relative_to(ROOT))
