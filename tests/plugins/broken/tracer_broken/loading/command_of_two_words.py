"""the command 'be quiet' cannot be typed"""

from tracer.extend import Command, hookimpl


def act():  # named
    pass


@hookimpl
def register_commands():
    return [Command("be quiet", act)]
