"""extract of 'broken_misuse'

$ trace-net quantities model.py --quantity broken_misuse
"""

from tracer import registry
from tracer.extend import Quantity, hookimpl


class Norm(Quantity):
    name = "broken_misuse"

    def extract(self, cotangent, context):
        return registry.quantities["none"]  # named


@hookimpl
def register_quantities():
    return [Norm]
