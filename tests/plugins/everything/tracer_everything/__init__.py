"""A plugin with one of every kind of thing: what a plugin may have, and where."""

from tracer.extend import hookimpl

from tracer_everything.backends import BOXED
from tracer_everything.commands import COMMANDS
from tracer_everything.hooks import begin_sweep, begin_trace, end_sweep, end_trace
from tracer_everything.instruments import LargestGradient
from tracer_everything.layers import Affine
from tracer_everything.operations import LogCosh, Project, Softsign
from tracer_everything.overlays import Share
from tracer_everything.quantities import GradientL1, SketchedTrace
from tracer_everything.renderers import Edges
from tracer_everything.rows import SKETCHED
from tracer_everything.sinks import Names

__all__ = ["Affine", "begin_sweep", "begin_trace", "end_sweep", "end_trace"]


@hookimpl
def register_operations():
    return [Softsign, Project, LogCosh]


@hookimpl
def register_quantities():
    return [GradientL1, SketchedTrace]


@hookimpl
def register_rows():
    return [SKETCHED]


@hookimpl
def register_backends():
    return [BOXED]


@hookimpl
def register_renderers():
    return [Edges()]


@hookimpl
def register_overlays():
    return [Share()]


@hookimpl
def register_instruments():
    return [LargestGradient]


@hookimpl
def register_sinks():
    return [Names]


@hookimpl
def register_commands():
    return COMMANDS
