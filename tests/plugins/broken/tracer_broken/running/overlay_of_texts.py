"""where a number is expected

$ trace-net visualize model.py -o - --format json --overlay broken_overlay_of_texts
"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):
    name = "broken_overlay_of_texts"

    def values(self, graph, results):  # named
        return dict.fromkeys(graph, "red")


@hookimpl
def register_overlays():
    return [Shade()]
