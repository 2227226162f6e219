"""What stands around the picture in the page: its legend, its controls and its keys, in HTML."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable
from typing import Any

from tracer_render import svg
from tracer_render.picture import KINDS, LINES, MARKS, USES

#: Of groups that are no calls; what pictures call steps that are not drawn are among them.
WORDS = {**KINDS, "elided": "steps, equal modules or a row, in one box"}
#: Marks that the numbers of an overlay may set besides.
OF_OVERLAYS = ("nan", "inf", "zero")


def legend(signs: Collection[tuple[str, str]]) -> str:
    """The signs that there are anywhere in the graph, open or not, as items of a list.

    Those that only an overlay sets are hidden: the page shows them where its numbers do.
    """
    rows = [("box", kind, text) for kind, text in WORDS.items() if ("box", kind) in signs]
    of_boxes = {**USES, **MARKS}
    rows += [
        ("mark", mark, text) for mark, text in of_boxes.items()
        if ("mark", mark) in signs or mark in OF_OVERLAYS
    ]  # fmt: skip
    rows += [("line", kind, text) for kind, text in LINES.items() if ("line", kind) in signs]
    return "".join(_item(*row, hidden=row[:2] not in signs) for row in rows)


def _item(sort: str, name: str, text: str, hidden: bool) -> str:
    of_overlay = f' data-mark="{name}" hidden' if hidden else ""
    return (
        f'<li{of_overlay}><svg class="tracer" viewBox="-2 -2 28 16" aria-hidden="true">'
        f"{svg.swatch(sort, name, 0, 0)}</svg>{html.escape(text)}</li>"
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
