"""What this plugin registers."""

from tracer import registry
from tracer.extend import Command, Sampler, Sink, defined, hookimpl
from tracer_experiments.instruments import INSTRUMENTS
from tracer_experiments.sinks import csv_files, json_lines, tensorboard
from tracer_experiments.sweeps import optuna_sampler, samplers
from tracer_experiments.tracker import Experiments

registry.instruments.examined_by = "tracer_experiments.checks:check_instrument"
registry.sinks.examined_by = "tracer_experiments.checks:check_sink"
registry.samplers.examined_by = "tracer_experiments.checks:check_sampler"


@hookimpl
def register_commands():
    return [
        Command("runs", "tracer_experiments.commands.runs:app"),
        Command("board", "tracer_experiments.commands.board:board"),
    ]


@hookimpl
def register_instruments():
    return INSTRUMENTS


@hookimpl
def register_sinks():
    return defined(Sink, csv_files, json_lines, tensorboard)


@hookimpl
def register_trackers():
    return [Experiments()]


@hookimpl
def register_samplers():
    return defined(Sampler, samplers, optuna_sampler)
