"""What stands around the picture in the page: its legend, its controls and its keys, in HTML."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import networkx as nx

from tracer_render import svg
from tracer_render.picture import KINDS, LINES, MARKS


def legend(graphs: Sequence[nx.MultiDiGraph], marks: Collection[str]) -> str:
    """All signs that may be seen as groups open and close, as items of a list."""
    nodes = [data for graph in graphs for _, data in graph.nodes(data=True)]
    kinds = {data.get("kind") or "operation" for data in nodes} | {"module", "elided"}
    flows = {data.get("kind") for graph in graphs for *_, data in graph.edges(data=True)}
    rows = [("box", kind, text) for kind, text in KINDS.items() if kind in kinds]
    rows.append(("mark", "repeated", "one value, drawn at each use"))
    rows.append(("mark", "shared", "one module in several calls, each colour another"))
    rows += [("mark", mark, text) for mark, text in MARKS.items() if mark in marks]
    rows += [("line", kind, text) for kind, text in LINES.items() if kind in flows]
    if any(data.get("delay") for graph in graphs for *_, data in graph.edges(data=True)):
        rows.append(("line", "delayed", "from another step"))
    return "".join(
        f'<li><svg class="tracer" viewBox="-2 -2 28 16" aria-hidden="true">'
        f"{svg.swatch(sort, name, 0, 0)}</svg>{html.escape(text)}</li>"
        for sort, name, text in rows
    )


#: What keys do: key, what is told to those who see, whether only loops have it.
KEYS = (
    ("Enter", "opens and closes the module that the keyboard is at; of others, shows details"),
    ("Space", "shows details"),
    ("arrows", "go from what is chosen along its lines, or move the picture"),
    ("+ \N{MINUS SIGN} 0", "zoom in, zoom out, show all"),
    ("e c", "open all, close all"),
    ("/", "searches by a regular expression; Enter and Shift-Enter go through what is found"),
    ("n p", "the next and the one before of what is found"),
    ("m", "shows the tree of modules"),
    ("o", "goes to the menu of overlays"),
    ("s", "saves the view as SVG"),
    ("f", "folds and unrolls time"),
    ("comma, full stop, a", "step back and forth through time, show all steps"),
    ("Esc", "leaves search and details"),
)


def keys(times: list[str], steps: dict[str, Any] | None) -> Iterable[str]:
    """What the keys do, for readers who do not see the buttons."""
    for names, what in KEYS:
        if (names == "f" and len(times) < 2) or (names.startswith("comma") and steps is None):
            continue
        yield f"{names} {what}"


def controls(times: list[str], steps: dict[str, Any] | None) -> str:
    """The switch between the views in time, and what steps through it; nothing without loops."""
    parts = []
    if len(times) > 1:
        buttons = "".join(
            f'<button id="{time}" aria-pressed="{str(time == times[0]).lower()}" '
            f'title="{time.capitalize()} in time ( f )">{time.capitalize()}</button>'
            for time in ("unrolled", "folded")
        )
        parts.append(f'<span class="group" role="group" aria-label="View in time">{buttons}</span>')
    if steps is not None:
        last = len(steps["times"]) - 1
        parts.append(
            '<span class="group" role="group" aria-label="Steps in time">'
            '<button id="before" title="Step before ( , )" aria-label="Step before">&lsaquo;'
            f'</button><input id="step" type="range" min="0" max="{last}" value="0" '
            'aria-label="Time step"><button id="after" title="Step after ( . )" '
            'aria-label="Step after">&rsaquo;</button><button id="all" '
            'title="All steps ( a )">All steps</button></span>'
            '<output id="when" aria-live="polite"></output>'
        )
    return "\n".join(parts)


def help_rows() -> str:
    """The keys, as rows of a table."""
    return "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(w)}</td></tr>" for k, w in KEYS)
