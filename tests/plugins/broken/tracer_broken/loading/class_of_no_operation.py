"""the class Sine as operation, where an instance is expected"""

from tracer.extend import Operation, hookimpl


class Sine(Operation):  # named
    name = "broken_class_of_no_operation"


@hookimpl
def register_operations():
    return [Sine]
