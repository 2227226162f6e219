"""has quantities = 'grad': give a tuple of names"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):  # named
    name = "broken_quantities_of_an_overlay"
    quantities = "grad"

    def values(self, graph, results):
        return {}


@hookimpl
def register_overlays():
    return [Shade()]
