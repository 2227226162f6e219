"""What hears of traces and sweeps."""

from tracer.extend import hookimpl

#: what was heard, in order
HEARD = []


@hookimpl
def begin_trace(tape):
    """A trace begins."""
    HEARD.append("begin_trace")


@hookimpl
def end_trace():
    """A trace ends."""
    HEARD.append("end_trace")


@hookimpl(trylast=True)
def begin_sweep(tape, loss):
    """A sweep begins."""
    HEARD.append("begin_sweep")


@hookimpl(wrapper=True)
def end_sweep(results):
    """A sweep ends."""
    HEARD.append("end_sweep")
    return (yield)
