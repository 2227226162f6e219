"""What this plugin registers."""

from tracer.extend import hookimpl
from tracer_experiments.instruments import INSTRUMENTS


@hookimpl
def register_commands():
    return []


@hookimpl
def register_instruments():
    return INSTRUMENTS
