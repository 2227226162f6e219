"""What this plugin registers."""

from tracer.extend import Command, hookimpl


@hookimpl
def register_commands():
    return [Command("train", "tracer_training.command:train")]
