"""Typer currently doesn't support Union types

$ trace-net broken-signature --x 3
"""

from tracer.extend import Command, hookimpl


def act(x: int | str):  # named
    pass


@hookimpl
def register_commands():
    return [Command("broken-signature", act)]
