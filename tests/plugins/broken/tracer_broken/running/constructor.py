"""the constructor of 'broken_constructor'

$ trace-net quantities model.py --quantity broken_constructor
"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):  # named
    name = "broken_constructor"

    def __init__(self, size):
        self.size = size

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm]
