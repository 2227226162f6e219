"""One HTML file that holds finished SVGs and a small script, and loads nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from typing import Any

import networkx as nx

from tracer.extend import DrawOptions
from tracer_render import engines, node_link, stepping, svg
from tracer_render.picture import Picture, describe

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

#: Lists in the details of a node are cut to this many entries.
LONGEST_LIST = 100


def write(graph: nx.MultiDiGraph, options: DrawOptions) -> str:
    """The page of a graph and, where `options.other` is given, of its other view in time."""
    views = [(graph, options)]
    if options.other is not None:
        other, values = options.other
        views.append((other, replace(options, values=values)))
    views = [(g, replace(o, values=_values(g, o))) for g, o in views]
    numbers = [value for _, o in views for value in (o.values or {}).values()]
    pictures = {g.graph.get("time", "unrolled"): describe(g, o, numbers) for g, o in views}
    steps = next(
        (
            stepping.table(g, o.values or {}, pictures.get("folded"))
            for g, o in views
            if g.graph.get("time") != "folded"
        ),
        None,
    )
    images = [
        svg.write(picture, engines.place(picture, options.timeout), options.theme)
        for picture in pictures.values()
    ]
    first, *others = [image[image.index("<svg") :] for image in images]
    held = {"views": {time: _details(p) for time, p in pictures.items()}, "steps": steps}
    assets = resources.files("tracer_render").joinpath("assets")
    theme = options.theme
    return _PAGE.format(
        policy=POLICY,
        schemes={"light": "light", "dark": "dark"}.get(theme, "light dark"),
        theme=theme,
        title=html.escape(next(iter(pictures.values())).title or "trace-net"),
        keys="; ".join(["Graph", *_keys(list(pictures), steps)]),
        style=assets.joinpath("viewer.css").read_text("utf-8"),
        controls=_controls(list(pictures), steps),
        image=first,
        others="".join(
            f'<template data-time="{time}">{image}</template>\n'
            for time, image in zip(list(pictures)[1:], others, strict=True)
        ),
        time=next(iter(pictures)),
        # `<` is escaped so that no text of the user's can end the script element.
        details=node_link.dumps(held).replace("<", "\\u003c"),
        script=assets.joinpath("viewer.js").read_text("utf-8"),
    )


def _values(graph: nx.MultiDiGraph, options: DrawOptions) -> Any:
    if options.values is None and options.overlay is not None:
        return options.overlay.values(graph, {})
    return options.values


def _details(picture: Picture) -> dict[str, dict[str, object]]:
    """Box -> what a click on it shows: all attributes of its node that hold something."""
    return {
        box.id: {
            "title": box.title,
            "attributes": {"id": box.node, **dict(_short(picture.attributes[box.node].items()))},
        }
        for box in picture.boxes
    }


def _short(attributes: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for key, value in attributes:
        if isinstance(value, list) and len(value) > LONGEST_LIST:
            value = [*value[:LONGEST_LIST], f"… {len(value):,} in all"]
        yield key, value


def _keys(times: list[str], steps: dict[str, Any] | None) -> Iterable[str]:
    """What the keys do, for readers who do not see the buttons."""
    yield "arrow keys pan, plus and minus zoom, 0 shows all"
    if len(times) > 1:
        yield "f folds and unrolls time"
    if steps is not None:
        yield "comma and full stop step through time, a shows all steps"


def _controls(times: list[str], steps: dict[str, Any] | None) -> str:
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


_PAGE = """<!doctype html>
<html lang="en" class="{theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="{schemes}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<input id="search" type="search" placeholder="Search ( / )" aria-label="Search the nodes"
 autocomplete="off" spellcheck="false">
<output id="found" aria-live="polite"></output>
{controls}
<span class="space"></span>
<button id="out" title="Zoom out ( - )" aria-label="Zoom out">&minus;</button>
<button id="fit" title="Show all ( 0 )">Fit</button>
<button id="in" title="Zoom in ( + )" aria-label="Zoom in">+</button>
</header>
<main id="view" data-time="{time}" tabindex="0" aria-label="{keys}">
{image}</main>
{others}<aside id="panel" hidden aria-label="Details">
<button id="close" aria-label="Close details">&times;</button>
<h2 id="name"></h2>
<table><tbody id="attributes"></tbody></table>
</aside>
<script type="application/json" id="details">{details}</script>
<script>{script}</script>
</body>
</html>
"""
