"""the command 'check' is one of trace-net's own"""

from tracer.extend import Command, hookimpl


def act():  # named
    pass


@hookimpl
def register_commands():
    return [Command("check", act)]
