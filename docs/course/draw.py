"""Draws the pictures of the course: runs a chapter and keeps what each block with an image shows.

    python docs/course/draw.py [N ...]

What a block shows is the figure that it hands to `plt.show()`, or the value of its last line.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from trace_net.course.chapters import Chapter, Code, Hidden, Piece, chapters

HERE = Path(__file__).resolve().parent
#: ids of paths in an SVG are made of this, so that the same picture is the same file
STABLE = {"svg.hashsalt": "course", "svg.fonttype": "none", "figure.figsize": (6.4, 3.6)}


def codes(pieces: tuple[Piece, ...]) -> Iterator[Code]:
    """All code in order, that of solutions too."""
    for piece in pieces:
        if isinstance(piece, Code):
            yield piece
        elif isinstance(piece, Hidden):
            yield from codes(piece.pieces)


def draw(chapter: Chapter) -> None:
    """Run the chapter and write its pictures; what it writes itself is forgotten."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        _draw(chapter)


def _draw(chapter: Chapter) -> None:
    namespace: dict[str, Any] = {"__name__": "chapter"}
    shown: list[Any] = []
    plt.show = lambda: shown.append(plt.gcf())
    for code in codes(chapter.pieces):
        shown.clear()
        value = run(code.text, namespace)
        if code.image is not None:
            picture = shown[-1] if shown else value
            path = (HERE / code.image).resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            save(picture, path)
            print(path.relative_to(HERE.parent))
        plt.close("all")


def run(text: str, namespace: dict[str, Any]) -> Any:
    """Execute code; the value of its last line where that is an expression."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "chapter", "exec"), namespace)
    if last is not None:
        return eval(compile(ast.Expression(last.value), "chapter", "eval"), namespace)
    return None


def save(picture: Any, path: Path) -> None:
    """Write a figure of matplotlib, or a drawing of trace-net."""
    if isinstance(picture, plt.Figure):
        picture.savefig(path, bbox_inches="tight", metadata={"Date": None}, facecolor="white")
    else:
        picture.save(str(path))


if __name__ == "__main__":
    matplotlib.use("agg")
    matplotlib.rcParams.update(STABLE)
    chosen = set(map(int, sys.argv[1:]))
    for chapter in chapters():
        if not chosen or chapter.number in chosen:
            draw(chapter)
