"""What this plugin registers."""

from tracer.extend import Command, Sink, defined, hookimpl
from tracer_experiments.sinks import csv_files, json_lines, tensorboard


@hookimpl
def register_commands():
    return [Command("runs", "tracer_experiments.commands.runs:app")]


@hookimpl
def register_sinks():
    return defined(Sink, csv_files, json_lines, tensorboard)
