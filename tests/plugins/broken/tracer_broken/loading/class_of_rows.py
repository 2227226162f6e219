"""has the class GGNMonteCarlo as rows, where an instance is expected"""

from tracer.extend import GGNMonteCarlo, Quantity, hookimpl


class Norm(Quantity):  # named
    name = "broken_class_of_rows"
    rows = GGNMonteCarlo

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm]
