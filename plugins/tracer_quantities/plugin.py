"""What this plugin registers."""

from tracer.extend import hookimpl
from tracer_quantities import QUANTITIES


@hookimpl
def register_quantities():
    return QUANTITIES
