"""One thing of each kind that plugins register, under names that nothing else has."""

import tracer


class Kind(tracer.Rows):
    name = "test_rows"


class Shade(tracer.Overlay):
    name = "test_shade"

    def values(self, graph, results):
        return {}


class Paint(tracer.Renderer):
    name = "test_paint"

    def render(self, graph, options):
        return b""


class Library(tracer.Backend):
    name = "test_library"


class Amount(tracer.Quantity):
    name = "test_amount"


def act():
    """A command."""
