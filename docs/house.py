"""The house: which folder imports from which, and the picture of it.

`python docs/house.py` writes `docs/images/house.svg` from the imports as they are. `ROOMS` is the
order in which the folders of the core stand, from the ground up: imports point down.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "tracer"
PICTURE = ROOT / "docs" / "images" / "house.svg"

#: folders and files of the core, from the ground up, and what each is for
ROOMS = {
    "errors": "errors, and suggestions in them",
    "hooks": "hooks as the core calls them",
    "blame": "what is known of each plugin, and errors that name it",
    "entries": "who has which name or function, and whom that replaced",
    "settings": "settings of plugins, from pyproject.toml and variables",
    "extensions": "what renderers, overlays and commands are",
    "watching": "what instruments and sinks are",
    "trainings": "what trackers, samplers of sweeps, and teams of processes are",
    "folds": "what folds over parts of a data set are",
    "imports": "what importers and their operators are",
    "registry": "what plugins provide, by name",
    "guarded": "what plugins provide, called so that failures name them",
    "arrays": "array libraries, kernels, threads, memory",
    "record": "nodes, tensors, operations, and the tape that holds them",
    "cotangents": "the algebra of what reaches a parameter",
    "sweep": "the backward sweep, and the rules that it calls",
    "operations": "NumPy's functions with their rules",
    "curvature": "rows, terms, quantities: what `backward` computes",
    "graph": "the record as a graph, folded and unrolled in time",
    "api": "tapes, functions of functions, devices",
    "scipy": "SciPy's functions that hand no tensors over",
    "implicit": "derivatives of what solves an equation",
    "plugins": "the hooks, and how plugins are loaded",
    "functional": "functions of functions, for users",
    "extend": "what plugins build on",
    "__init__": "the names of `import tracer`",
    "testing": "checks for plugins of others",
}


class Arrow(NamedTuple):
    """An import: of a file, as its dotted name, by another one, in a line."""

    file: str
    other: str
    line: int


def files(package: Path) -> dict[str, Path]:
    """Dotted name in the package -> file; `record` is `record/__init__.py`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def arrows(package: Path) -> Iterator[Arrow]:
    """The imports within a package, those in functions and under `TYPE_CHECKING` too."""
    known = files(package)
    for file, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _imported(node, package.name, file, path.name == "__init__.py"):
                target = name.partition(".")[2] or "__init__"
                while target not in known and "." in target:
                    target = target.rpartition(".")[0]
                if target not in known:
                    target = "__init__"
                if target != file:
                    yield Arrow(file, target, node.lineno)


def _imported(node: ast.AST, package: str, file: str, is_package: bool) -> list[str]:
    """The full dotted names that a statement imports from the package."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            parts = [package, *(file.split(".") if file != "__init__" else [])]
            parts = parts[: len(parts) - node.level + is_package]
            source = ".".join([*parts, *filter(None, [node.module])])
        names = [f"{source}.{alias.name}" for alias in node.names]
    else:
        names = []
    return [name for name in names if name.partition(".")[0] == package]


def room(file: str) -> str:
    """The folder that a file is in, or the file itself at the top."""
    return file.partition(".")[0]


# -- the picture ---------------------------------------------------------------------------------

LEFT, WIDTH, LANE, TOP = 16, 640, 22, 16
LINE, PADDING, GAP = 17, 10, 8
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2933 }
.name { font-weight: 600 } .what, .file { fill: #52606d } .file { font-size: 12px }
rect { fill: #f5f7fa; stroke: #9aa5b1 } path { fill: none; stroke: #7b61c4; stroke-width: 1.5 }
circle { fill: #7b61c4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e7eb } .what, .file { fill: #9aa5b1 } rect { fill: #1f2933; stroke: #616e7c }
  path { stroke: #b39ef3 } circle { fill: #b39ef3 }
}
"""


def picture() -> str:
    """An SVG: the rooms, each with its files and a line down to those that it imports from."""
    held: dict[str, list[str]] = {name: [] for name in ROOMS}
    for file in files(CORE):
        if "." in file:
            held[room(file)].append(file.partition(".")[2])
    uses: dict[str, set[str]] = {name: set() for name in ROOMS}
    for arrow in arrows(CORE):
        if room(arrow.file) != room(arrow.other):
            uses[room(arrow.file)].add(room(arrow.other))
    boxes, y = {}, TOP
    shapes = []
    for name in reversed(ROOMS):
        lines = _wrapped(held[name])
        height = PADDING * 2 + LINE * (1 + len(lines)) - 4
        boxes[name] = (y, height)
        shapes.append(f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{height}" rx="6"/>')
        shapes.append(_text("name", LEFT + 12, y + PADDING + 11, name))
        shapes.append(_text("what", LEFT + 118, y + PADDING + 11, ROOMS[name].replace("`", "")))
        for i, line in enumerate(lines):
            shapes.append(_text("file", LEFT + 118, y + PADDING + 11 + LINE * (i + 1), line))
        y += height + GAP
    right = LEFT + WIDTH
    lanes = [name for name in reversed(ROOMS) if uses[name]]
    for number, name in enumerate(lanes):
        x = right + 24 + LANE * (len(lanes) - 1 - number)
        begin = boxes[name][0] + boxes[name][1] / 2
        ends = sorted(boxes[other][0] + boxes[other][1] / 2 for other in uses[name])
        shapes.append(f'<path d="M{right} {begin:g}H{x}V{ends[-1]:g}"/>')
        for end in ends:
            shapes.append(f'<path d="M{x} {end:g}H{right}"/><circle cx="{x}" cy="{end:g}" r="3"/>')
    width = right + 24 + LANE * len(lanes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        f'viewBox="0 0 {width} {y}" role="img" aria-label="The folders of the core and what each '
        f'imports from">\n<style>{STYLE}</style>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _wrapped(names: list[str], width: int = 82) -> list[str]:
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) + 2 <= width:
            lines[-1] += f", {name}"
        else:
            lines.append(name)
    return lines


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(PICTURE)
