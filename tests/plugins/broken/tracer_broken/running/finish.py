"""finish of 'broken_finish'

$ trace-net quantities model.py --quantity broken_finish
"""

from tracer.extend import Quantity, hookimpl


class Norm(Quantity):
    name = "broken_finish"

    def finish(self, state, context):
        return {}["gone"]  # named

    def extract(self, cotangent, context):
        return cotangent.total()


@hookimpl
def register_quantities():
    return [Norm]
