"""extract of 'broken_extract'

$ trace-net quantities model.py --quantity broken_extract
"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):
    name = "broken_extract"

    def extract(self, cotangent, context):
        return {}["gone"]  # named


@hookimpl
def register_quantities():
    return [Norm]
