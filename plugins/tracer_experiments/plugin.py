"""What this plugin registers."""

from tracer.extend import Command, hookimpl


@hookimpl
def register_commands():
    return [Command("board", "tracer_experiments.commands.board:board")]
