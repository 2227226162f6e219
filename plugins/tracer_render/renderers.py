"""The formats, each a short way from a graph to bytes. What does the work is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracer.extend import DrawOptions, Renderer, no_collection

if TYPE_CHECKING:
    import networkx as nx


#: Of a PNG, dots per inch, and pixels that a side has at most.
DOTS, MOST_PIXELS = 144, 8000


class SVG(Renderer):
    """Vector picture for screens and papers. Drawn with or without Graphviz."""

    name = "svg"
    media_type = "image/svg+xml"

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        from tracer_render import engines, picture, svg

        drawn = picture.describe(graph, options)
        return svg.write(drawn, engines.place(drawn, options.timeout), options.theme).encode()


class PNG(Renderer):
    """Raster picture. Needs Graphviz."""

    name = "png"
    media_type = "image/png"

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        return _by_graphviz(graph, options, "png")


class PDF(Renderer):
    """Page of the picture's own size. Needs Graphviz."""

    name = "pdf"
    media_type = "application/pdf"

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        return _by_graphviz(graph, options, "pdf")


class DOT(Renderer):
    """Graphviz source. Needs nothing."""

    name = "dot"
    media_type = "text/vnd.graphviz"

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        from tracer_render import dot, picture, style

        return dot.write(picture.describe(graph, options), style.fixed(options.theme)).encode()


class Mermaid(Renderer):
    """Mermaid flowchart, for Markdown pages that draw it themselves."""

    name = "mermaid"
    media_type = "text/vnd.mermaid"

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        from tracer_render import mermaid, picture, style

        return mermaid.write(picture.describe(graph, options), style.fixed(options.theme)).encode()


class JSON(Renderer):
    """The graph itself, as networkx's node-link data with a `schema_version`."""

    name = "json"
    media_type = "application/json"

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        from tracer_render import collapse, given, node_link

        depth = None if options.depth == "auto" else options.depth
        drawn = collapse.collapse(given.in_form(graph), depth)
        return node_link.write(drawn, options).encode()


class HTML(Renderer):
    """One offline file with finished SVGs: pan, zoom, search, steps in time, details on a click."""

    name = "html"
    media_type = "text/html"
    switches = True

    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        from tracer_render import page

        with no_collection():
            return page.write(graph, options).encode()


def _by_graphviz(graph: nx.MultiDiGraph, options: DrawOptions, format: str) -> bytes:
    """What Graphviz draws of the picture as it is placed for SVG."""
    from tracer_render import dot, engines, picture, pinned, style

    drawn, theme = picture.describe(graph, options), style.fixed(options.theme)
    if not drawn.boxes:
        return engines.run_graphviz(dot.write(drawn, theme), format, options.timeout)
    engines.need(format)
    placement = engines.place(drawn, options.timeout)
    dots = pinned.resolution(placement, DOTS, MOST_PIXELS)
    source = pinned.write(drawn, placement, theme)
    arguments = [*pinned.ARGUMENTS, *([f"-Gdpi={dots}"] if format == "png" else [])]
    return engines.run_graphviz(source, format, options.timeout, *arguments)
