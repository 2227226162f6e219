"""start of 'broken_rows'

$ trace-net quantities model.py --quantity broken_of_rows
"""

from tracer.extend import Quantity, Rows, hookimpl


class Kind(Rows):
    name = "broken_rows"

    def start(self, term, rng):
        raise ValueError("no rows today")  # named


class Norm(Quantity):
    name = "broken_of_rows"
    rows = Kind()

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm]
