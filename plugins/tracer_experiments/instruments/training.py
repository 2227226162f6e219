"""Instruments of the training itself: its loss and its time."""

from __future__ import annotations

import time

from tracer.extend import Instrument, raw
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.observation import Observation
from tracer_experiments.instruments.sample_gradients import on_host


class Loss(Instrument):
    """The objective of the batch."""

    name = "Loss"
    chart = Chart(
        "Loss of the batch",
        group="training",
        scale="log",
        about="It falls, with noise that is the larger the smaller the batch is.",
    )

    def measure(self, observation: Observation) -> float:
        return float(on_host(raw(observation.loss)))


class Time(Instrument):
    """Seconds since the first step that was measured."""

    name = "Time"
    chart = Chart(
        "Time",
        group="training",
        unit="s",
        about="Where the line is steeper, steps took longer.",
    )

    def measure(self, observation: Observation) -> float:
        now = time.perf_counter()
        return float(now - observation.memory.setdefault(self.name, now))
