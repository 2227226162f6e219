"""The recurrence of selective state-space models, as an operation with rules of its own."""

from tracer.extend import hookimpl

from tracer_scan.layers import SelectiveSSM
from tracer_scan.operations import SelectiveScan

__all__ = ["SelectiveSSM", "SelectiveScan"]


@hookimpl
def register_operations():
    return [SelectiveScan]
