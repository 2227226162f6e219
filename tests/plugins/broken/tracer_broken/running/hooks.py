"""Fails where TRACER_BROKEN_HOOKS_WHEN says: at one of the hooks that are called while it runs."""

from tracer.extend import hookimpl, settings


def fail_at(hook):
    if settings("broken-hooks", when="")["when"] == hook:
        raise RuntimeError(f"at {hook}")


@hookimpl
def begin_trace(tape):
    fail_at("begin_trace")


@hookimpl
def end_trace(tape):
    fail_at("end_trace")


@hookimpl
def begin_sweep(tape, loss):
    fail_at("begin_sweep")


@hookimpl(wrapper=True)
def end_sweep(tape, results):
    yield
    fail_at("end_sweep")
