"""its hook register_overlays raised ValueError: no palette"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):
    name = "broken_constructor_in_a_hook"

    def __init__(self):
        raise ValueError("no palette")  # named

    def values(self, graph, results):
        return {}


@hookimpl
def register_overlays():
    return [Shade()]
