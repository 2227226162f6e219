"""Argument(s) {'tapes'} are declared"""

from tracer.extend import hookimpl


@hookimpl
def begin_trace(tapes):
    pass
