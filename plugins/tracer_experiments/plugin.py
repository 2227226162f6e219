"""What this plugin registers."""

from tracer.extend import hookimpl


@hookimpl
def register_commands():
    return []
