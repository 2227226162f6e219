"""One HTML file that holds a graph, what draws it, and loads nothing.

Its parts are in assets/: the scripts in the order of `SCRIPTS`, each a function of the page, and
dagre, which places boxes (MIT licence, assets/dagre.LICENSE).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

import networkx as nx

from tracer.extend import DrawOptions, no_collection
from tracer_render import heading, node_link, page_data, page_overlays, stepping, style, svg
from tracer_render.detail import note_unmarked_loop
from tracer_render.given import in_form
from tracer_render.page_controls import controls, help_rows, keys, legend

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

SCRIPTS = (
    "data.js",
    "sizes.js",
    "detour.js",
    "snap.js",
    "order.js",
    "ranks.js",
    "lines.js",
    "layout.js",
    "draw.js",
    "view.js",
    "corner.js",
    "panel.js",
    "tree.js",
    "search.js",
    "overlays.js",
    "time.js",
    "address.js",
    "keys.js",
    "main.js",
)


def write(graph: nx.MultiDiGraph, options: DrawOptions) -> str:
    """The page of a graph and, where `options.other` is given, of its other view in time."""
    with no_collection():
        graph = in_form(graph)
        views = [(graph, options)]
        if options.other is not None:
            other, values = options.other
            views.append((in_form(other), replace(options, values=values)))
        views = [(g, replace(o, values=_values(g, o))) for g, o in views]
        by_time = {g.graph.get("time", "unrolled"): (g, o) for g, o in views}
        made = {time: page_data.view(g, o) for time, (g, o) in by_time.items()}
    signs = {sign for each in made.values() for sign in each.pop("signs")}
    has_rows = [each.pop("has_rows") for each in made.values()]
    if options.depth == "auto" and any(has_rows):
        note_unmarked_loop(graph)
    times, steps = list(made), _steps(by_time, made)
    title, theme = heading.title(graph, options.title) or "trace-net", options.theme
    subtitles = {
        time: heading.subtitle(g) if g else "nothing was recorded"
        for time, (g, _) in by_time.items()
    }
    held = {
        "views": made,
        "subtitles": subtitles,
        "overlays": page_overlays.choices([g for g, _ in views], options),
        "steps": steps,
        "files": graph.graph.get("files") or {},
        "title": title,
        "scale": style.SCALE,
        "modules": style.MODULES,
    }
    assets = resources.files("tracer_render").joinpath("assets")
    scripts = (assets.joinpath(name).read_text("utf-8") for name in ("dagre.min.js", *SCRIPTS))
    return (
        assets.joinpath("page.html")
        .read_text("utf-8")
        .format(
            policy=POLICY,
            schemes={"light": "light", "dark": "dark"}.get(theme, "light dark"),
            theme=theme,
            title=html.escape(title),
            subtitle=html.escape(subtitles[times[0]]),
            error=_error(graph),
            label=html.escape("; ".join(["Graph", *keys(times, steps)])),
            style=assets.joinpath("page.css").read_text("utf-8"),
            colours=svg.stylesheet(theme),
            definitions=svg.DEFINITIONS,
            fonts=html.escape(style.FONT_STACK),
            help=help_rows(),
            ramp=", ".join(style.scale_colour(step / 4) for step in range(5)),
            controls=controls(times, steps),
            legend=legend(signs),
            time=times[0],
            # `<` is escaped so that no text of the user's can end the script element.
            data=node_link.dumps(held).replace("<", "\\u003c"),
            script="\n".join(scripts),
        )
    )


def _values(graph: nx.MultiDiGraph, options: DrawOptions) -> Any:
    if options.values is None and options.overlay is not None:
        return options.overlay.values(graph, {})
    return options.values


def _steps(
    by_time: Mapping[str, tuple[nx.MultiDiGraph, DrawOptions]], made: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The steps through time, of the unrolled graph, and what folded boxes are told at each."""
    if "unrolled" not in by_time:
        return None
    graph, options = by_time["unrolled"]
    folded = {str(node): node for node in by_time["folded"][0]} if "folded" in made else {}
    return stepping.table(graph, options.values or {}, folded)


def _error(graph: nx.MultiDiGraph) -> str:
    error = graph.graph.get("error")
    text = html.escape(style.printable(f"forward failed: {error}"))
    return f'<p id="error">{text}</p>' if error else ""
