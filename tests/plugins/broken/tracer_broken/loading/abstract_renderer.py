"""TypeError: Can't instantiate abstract class Picture"""

from tracer.extend import Renderer, hookimpl


class Picture(Renderer):
    name = "broken_abstract_renderer"


@hookimpl
def register_renderers():
    return [Picture()]  # named
