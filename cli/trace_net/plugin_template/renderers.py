"""Renderers: a graph as the bytes of a file; the name is the format, and its suffix."""

from tracer.extend import Renderer


class SoftClipRenderer(Renderer):
    """Text: a line for each node, with those that its value goes to."""

    name = "softclip"
    media_type = "text/plain"

    def render(self, graph, options):
        label = graph.nodes(data="label")
        uses = {n: ", ".join(str(label[m]) for m in graph[n]) for n in graph}
        lines = [f"{label[n]} -> {uses[n]}" for n in graph]
        return "\n".join([options.title, *lines]).encode()
