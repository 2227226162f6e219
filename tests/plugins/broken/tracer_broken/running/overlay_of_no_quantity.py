"""Did you mean 'kfac'?

$ trace-net visualize model.py -o - --format json --overlay broken_overlay_of_no_quantity
"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):  # named
    name = "broken_overlay_of_no_quantity"
    quantities = ("kfacc",)

    def values(self, graph, results):
        return {}


@hookimpl
def register_overlays():
    return [Shade()]
