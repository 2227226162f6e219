"""A networkx graph that notebooks show."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from tracer import registry
from tracer.extensions import DrawOptions, RendererUnavailable
from tracer.guarded import render


class Graph(nx.MultiDiGraph):
    """What `tape.graph` gives: a `networkx.MultiDiGraph` of which a notebook shows the picture.

    Copies and subgraphs are shown, too. `tape.draw()` takes options, and saves pictures.
    """

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, str]:
        """SVG with the detail that fits on a page, and text for consoles."""
        shown = {"text/plain": str(self)}
        if self and "svg" in registry.renderers and all("kind" in self.nodes[n] for n in self):
            try:
                svg = render("svg", self, DrawOptions(depth="auto"))
            except RendererUnavailable:
                return shown
            shown["image/svg+xml"] = svg.decode()
        return shown
