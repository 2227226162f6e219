"""Instruments that are histograms: of the elements of single samples' gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.extend import Array, Instrument, raw, widened
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.binning import Bins, Counts
from tracer_experiments.instruments.by_parameter import ByParameter, OfSamples
from tracer_experiments.instruments.observation import Observation
from tracer_experiments.instruments.reading import Counting
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
        return counts_of(observation, self.name, self.bins)

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
        return counts_of(observation, self.name, self.bins, self.rows)

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


def counts_of(
    o: Observation, name: str, bins: Bins, rows: Bins | None = None
) -> ByParameter[Counts]:
    """How many elements of the `g_n` lie in each bin and, with `rows`, beside which parameters.

    The table of an observation, by the name of the instrument that asks.
    """
    samples, scale, columns = o.samples, o.scale, 1 if rows is None else rows.count

    def column_of(name: str) -> Array | None:
        if rows is None:
            return None
        values = widened(raw(o.parameters[name]))
        return rows.positions(np.where(np.isnan(values), 0, values))

    def counted(name: str) -> Counts:
        counts = Counts(bins, columns)
        samples[name].count(counts, scale, column_of(name))
        return counts

    def reader(name: str) -> Callable[[], Counting]:
        column = column_of(name)
        if column is not None:
            column = samples[name].stored(column).reshape(-1)
        return lambda: Counting(bins, scale, column, columns)

    if name not in o.tables:
        o.tables[name] = OfSamples(samples, counted, reader, Counts.together)
    return o.tables[name]


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
