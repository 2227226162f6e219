"""'w', which is no node's id

$ trace-net visualize model.py -o - --format json --overlay broken_overlay_of_other_nodes
"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):
    name = "broken_overlay_of_other_nodes"

    def values(self, graph, results):  # named
        return {"w": 1.0}


@hookimpl
def register_overlays():
    return [Shade()]
