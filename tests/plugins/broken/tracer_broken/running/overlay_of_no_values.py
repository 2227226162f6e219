"""returned int 3, where node ids with numbers are expected

$ trace-net visualize model.py -o - --format json --overlay broken_overlay_of_no_values
"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):
    name = "broken_overlay_of_no_values"

    def values(self, graph, results):  # named
        return 3


@hookimpl
def register_overlays():
    return [Shade()]
