"""One HTML file that holds a finished SVG and a small script, and loads nothing."""

from __future__ import annotations

import html
from importlib import resources

from tracer_render import node_link
from tracer_render.picture import Picture

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write(picture: Picture, image: str, theme: str) -> str:
    """The page. `image` is the picture as SVG, `theme` is `auto`, `light` or `dark`."""
    assets = resources.files("tracer_render").joinpath("assets")
    # `<` is escaped so that no text of the user's can end the script element.
    details = node_link.dumps(_details(picture)).replace("<", "\\u003c")
    schemes = {"light": "light", "dark": "dark"}.get(theme, "light dark")
    return _PAGE.format(
        policy=POLICY,
        schemes=schemes,
        theme=theme,
        title=html.escape(picture.title or "trace-net"),
        style=assets.joinpath("viewer.css").read_text("utf-8"),
        image=image[image.index("<svg") :],
        details=details,
        script=assets.joinpath("viewer.js").read_text("utf-8"),
    )


def _details(picture: Picture) -> dict[str, dict[str, object]]:
    """Box -> what a click on it shows: all attributes of its node that hold something."""
    return {
        box.id: {
            "title": box.title,
            "attributes": {"id": box.node, **picture.attributes[box.node]},
        }
        for box in picture.boxes
    }


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
<span class="space"></span>
<button id="out" title="Zoom out ( - )" aria-label="Zoom out">&minus;</button>
<button id="fit" title="Show all ( 0 )">Fit</button>
<button id="in" title="Zoom in ( + )" aria-label="Zoom in">+</button>
</header>
<main id="view" tabindex="0" aria-label="Graph; arrow keys pan, plus and minus zoom, 0 shows all">
{image}</main>
<aside id="panel" hidden aria-label="Details">
<button id="close" aria-label="Close details">&times;</button>
<h2 id="name"></h2>
<table><tbody id="attributes"></tbody></table>
</aside>
<script type="application/json" id="details">{details}</script>
<script>{script}</script>
</body>
</html>
"""
