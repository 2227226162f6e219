"""'broken_replaces_another_name' replaces 'grad', and what replaces another has its name"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):  # named
    name = "broken_replaces_another_name"
    replaces = "grad"

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm]
