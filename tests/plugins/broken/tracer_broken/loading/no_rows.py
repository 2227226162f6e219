"""has 3 as rows, where an instance of"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):  # named
    name = "broken_no_rows"
    rows = 3

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm]
