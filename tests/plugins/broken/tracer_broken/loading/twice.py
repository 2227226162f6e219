"""it registers the quantity 'broken_twice' twice"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):  # named
    name = "broken_twice"

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm, Norm]
