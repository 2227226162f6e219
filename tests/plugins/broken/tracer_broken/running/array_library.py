"""the array library 'broken_array_library'

$ trace-net doctor
"""

from tracer.extend import Backend, hookimpl


class Library(Backend):
    name = device = "broken_array_library"

    def describe(self):
        raise OSError("no driver")  # named


@hookimpl
def register_backends():
    return [Library()]
