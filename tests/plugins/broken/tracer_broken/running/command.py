"""the command 'broken-command'

$ trace-net broken-command
"""

from tracer.extend import Command, hookimpl


def act():
    raise KeyError("gone")  # named


@hookimpl
def register_commands():
    return [Command("broken-command", act)]
