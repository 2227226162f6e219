"""the class Shade as overlay, where an instance is expected: give Shade()"""

from tracer.extend import Overlay, hookimpl


class Shade(Overlay):  # named
    name = "broken_class_of_an_overlay"

    def values(self, graph, results):
        return {}


@hookimpl
def register_overlays():
    return [Shade]
