"""the renderer 'brk'

$ trace-net visualize model.py --format brk
"""

from tracer.extend import Renderer, hookimpl


class Picture(Renderer):
    name = "brk"

    def render(self, graph, options):
        raise IndexError("no ink")  # named


@hookimpl
def register_renderers():
    return [Picture()]
