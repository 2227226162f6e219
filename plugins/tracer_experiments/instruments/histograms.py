"""Instruments that are histograms: of the elements of single samples' gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.extend import Instrument, raw, widened
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.binning import Bins, Counts
from tracer_experiments.instruments.by_parameter import ByParameter
from tracer_experiments.instruments.observation import Observation
from tracer_experiments.instruments.sample_gradients import SampleGradients, on_host
from tracer_experiments.values import Histogram


class GradHist1d(Instrument):
    """How many elements of the samples' gradients `g_n` lie in each of 100 bins on (-2, 2).

    What lies outside counts in the bins at the ends.
    """

    name = "GradHist1d"
    chart = Chart(
        "Elements of gradients",
        group="histograms",
        kind="histogram",
        scale="log",
        about="All in the middle: gradients vanish. Much in the bins at the ends: they explode.",
    )

    def __init__(self, bins: int = 100, range: tuple[float, float] = (-2.0, 2.0)):
        self.bins = Bins(*range, bins)

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (SampleGradients,)

    def of_each(self, observation: Observation) -> tuple[ByParameter[Counts]]:
        return (self._counts(observation),)

    def _counts(self, observation: Observation) -> ByParameter[Counts]:
        samples, scale = observation.samples, observation.scale

        def counted(name: str) -> Counts:
            counts = Counts(self.bins)
            samples[name].count(counts, scale)
            return counts

        return observation.tables.setdefault(self.name, ByParameter(samples, counted))

    def measure(self, observation: Observation) -> Any:
        return histograms(observation, self._counts(observation), (self.bins,))


class GradHist2d(Instrument):
    """The elements of the `g_n`, in 40 bins on (-1, 1), beside their parameters, 50 on (-2, 2).

    `[50, 40]`: a row for each bin of parameters.
    """

    name = "GradHist2d"
    chart = Chart(
        "Elements of gradients and parameters",
        group="histograms",
        kind="histogram2d",
        scale="log",
        about="Where large gradients meet which parameters: a slope drives them apart or together.",
    )

    def __init__(
        self,
        bins: tuple[int, int] = (40, 50),
        range: tuple[tuple[float, float], tuple[float, float]] = ((-1.0, 1.0), (-2.0, 2.0)),
    ):
        self.bins = Bins(*range[0], bins[0])
        self.rows = Bins(*range[1], bins[1])

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (SampleGradients,)

    def of_each(self, observation: Observation) -> tuple[ByParameter[Counts]]:
        return (self._counts(observation),)

    def _counts(self, observation: Observation) -> ByParameter[Counts]:
        samples, scale = observation.samples, observation.scale

        def counted(name: str) -> Counts:
            counts = Counts(self.bins, self.rows.count)
            values = widened(raw(observation.parameters[name]))
            values = np.where(np.isnan(values), 0, values)
            samples[name].count(counts, scale, self.rows.positions(values))
            return counts

        return observation.tables.setdefault(self.name, ByParameter(samples, counted))

    def measure(self, observation: Observation) -> Any:
        return histograms(observation, self._counts(observation), (self.rows, self.bins))


class Parameters(Instrument):
    """The values of the parameters, in a histogram."""

    name = "Parameters"
    chart = Chart(
        "Parameters",
        group="histograms",
        kind="histogram",
        about="How the weights spread; a growing tail calls for weight decay.",
    )

    def measure(self, observation: Observation) -> Any:
        arrays = {name: on_host(raw(p)) for name, p in observation.parameters.items()}
        every = np.concatenate([a.reshape(-1) for a in arrays.values()] or [np.zeros(0)])
        whole = Histogram.of(every)
        if not observation.layers:
            return whole
        return {"": whole, **{name: Histogram.of(a) for name, a in arrays.items()}}


def histograms(o: Observation, found: ByParameter[Counts], bins: tuple[Bins, ...]) -> Any:
    """The histogram of all parameters together and, with `layers=True`, that of each."""
    if not found:
        return None
    edges = bins[0].edges if len(bins) == 1 else tuple(each.edges for each in bins)

    def histogram(counts: Counts) -> Histogram:
        numbers = counts.result()
        numbers = numbers[0] if len(bins) == 1 else numbers
        return Histogram(numbers, edges, nan=int(on_host(counts.nan)))

    whole = Counts.together(list(found.values()))
    if not o.layers:
        return histogram(whole)
    return {"": histogram(whole), **{name: histogram(c) for name, c in found.items()}}
