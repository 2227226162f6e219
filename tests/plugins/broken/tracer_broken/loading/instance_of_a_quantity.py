"""where the class is expected: give Norm itself"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):  # named
    name = "broken_instance_of_a_quantity"

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm()]
