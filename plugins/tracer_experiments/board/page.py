"""The page: one HTML document that loads nothing but data, and with data inside not even that.

Its parts are in assets/: scripts in the order of `SCRIPTS`, each a block that adds to `page`.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from tracer_experiments.board.wire import dumps

__all__ = ["SCRIPTS", "document", "policy"]

SCRIPTS = (
    "base.js",
    "numbers.js",
    "scales.js",
    "colours.js",
    "source.js",
    "state.js",
    "filter.js",
    "curves.js",
    "bands.js",
    "plot.js",
    "pointer.js",
    "line_card.js",
    "heat.js",
    "heat_card.js",
    "image_card.js",
    "cards.js",
    "cockpit.js",
    "side.js",
    "table.js",
    "compare.js",
    "model.js",
    "tools.js",
    "keys.js",
    "main.js",
)
ASSETS = resources.files("tracer_experiments.board").joinpath("assets")


@cache
def _asset(name: str) -> str:
    return ASSETS.joinpath(name).read_text("utf-8")


@cache
def _script() -> str:
    return "\n".join(map(_asset, SCRIPTS))


def policy() -> str:
    """The content security policy: this very script and style, and data from where the page is."""
    script, style = _digest(_script()), _digest(_asset("page.css"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; "
        f"img-src 'self' data: blob:; connect-src 'self'; frame-src 'self' blob:; "
        f"base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def document(title: str, data: Mapping[str, Any] | None = None) -> str:
    """The page; with `data`, all that it shows is inside, as `export` makes it."""
    holes = {
        "policy": html.escape(policy()),
        "title": html.escape(title),
        "style": _asset("page.css"),
        "data": dumps({"title": title, "held": data}),
        "script": _script(),
    }
    text = _asset("page.html")
    parts = text.split("{{")
    made = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        made += [holes[name.strip()], rest]
    return "".join(made)
