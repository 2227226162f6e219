"""as renderer, which is no tracer.Renderer"""

from tracer.extend import hookimpl


class Picture:  # named
    name = "broken_no_renderer"


@hookimpl
def register_renderers():
    return [Picture()]
