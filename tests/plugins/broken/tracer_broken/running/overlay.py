"""the overlay 'broken_overlay'

$ trace-net visualize model.py -o - --format json --overlay broken_overlay
"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):
    name = "broken_overlay"

    def values(self, graph, results):
        return {}["gone"]  # named


@hookimpl
def register_overlays():
    return [Shade()]
