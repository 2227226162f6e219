"""Instruments of gradients: their size, their noise, and whether the batch is large enough.

`g_n` are gradients of single samples and g their mean, B is the number of samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tracer.extend import Array, Instrument, widened
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.observation import (
    Observation,
    over_layers,
    ratio_root,
    root,
    total,
)
from tracer_experiments.instruments.sample_gradients import SampleGradients, on_host
from tracer_experiments.instruments.steps import learning_rate

NEEDED = (SampleGradients,)


class GradNorm(Instrument):
    """The Euclidean norm of the gradient."""

    name = "GradNorm"
    chart = Chart(
        "Gradient norm",
        group="gradients",
        scale="log",
        about="It falls as training converges; sudden peaks are instabilities, zero is a dead "
        "network.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return ("grad",)

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return (observation.gradient_squares,)

    def measure(self, observation: Observation) -> Any:
        return over_layers(observation, observation.gradient_squares, root)


class NormTest(Instrument):
    """`sqrt(sum_j v_j / (B |g|^2))`, v the variance of the `g_n` with B - 1 (Byrd et al. 2012)."""

    name = "NormTest"
    chart = Chart(
        "Norm test",
        group="gradients",
        scale="log",
        lines=((1, "noise as large as the gradient"),),
        about="The noise of the batch's gradient over its norm: above 1 noise leads, and larger "
        "batches help.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return NEEDED

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return observation.squared_norms, observation.mean_squares

    def measure(self, observation: Observation) -> Any:
        o, count = observation, observation.count
        o.require_samples(2)
        pairs = {name: (o.squared_norms[name], o.mean_squares[name]) for name in o.samples}

        def test(some: Mapping[str, Any]) -> float:
            norms, mean = (sum(pair[i] for pair in some.values()) for i in (0, 1))
            variance = (norms.sum() - count * mean) / (count - 1)
            return ratio_root(variance, count * mean)

        return over_layers(o, pairs, test)


class InnerTest(Instrument):
    """`sqrt(Var(g_n . g) / (B |g|^4))`, the variance with B - 1 (Bollapragada et al. 2018)."""

    name = "InnerTest"
    chart = Chart(
        "Inner-product test",
        group="gradients",
        scale="log",
        lines=((1, "noise as large as the gradient"),),
        about="The noise along the gradient: above 1 single batches point uphill now and then.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return NEEDED

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return observation.mean_squares, observation.dots

    def measure(self, observation: Observation) -> float:
        o = observation
        o.require_samples(2)
        mean = total(o.mean_squares)
        return ratio_root(total(o.dots).var(ddof=1), o.count * mean**2)


class OrthoTest(Instrument):
    """`sqrt((sum_n |g_n|^2 - sum_n (g_n . g)^2 / |g|^2) / (B (B - 1) |g|^2))`.

    Bollapragada, Byrd and Nocedal (2018).
    """

    name = "OrthoTest"
    chart = Chart(
        "Orthogonality test",
        group="gradients",
        scale="log",
        about="The noise across the gradient: what is large beside the inner-product test moves "
        "steps sideways.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return NEEDED

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return observation.squared_norms, observation.mean_squares, observation.dots

    def measure(self, observation: Observation) -> float:
        o, count = observation, observation.count
        o.require_samples(2)
        mean, dots = total(o.mean_squares), total(o.dots)
        with np.errstate(all="ignore"):
            across = total(o.squared_norms).sum() - (dots**2).sum() / np.float64(mean)
        return ratio_root(across, count * (count - 1) * mean)


class _Elementwise(Instrument):
    """A mean over elements of `g^2 / (v + epsilon)`, for a variance v of the `g_n`."""

    epsilon = 1e-5

    def quantities(self, step: int) -> tuple[Any, ...]:
        return NEEDED

    def signal_to_noise(self, o: Observation, ddof: int) -> dict[str, tuple[float, int]]:
        """The sum over elements, and how many there are, by parameter."""
        found = {}
        for name, squares in o.sums_of_squares.items():
            g = widened(o.totals[name]).reshape(squares.shape) * o.share
            variance = np.maximum(squares - o.count * g * g, 0) / (o.count - ddof)
            found[name] = self._summed(g * g / (variance + self.epsilon))
        return found

    @staticmethod
    def _summed(values: Array) -> tuple[float, int]:
        return float(on_host(values.sum())), values.size


def mean_of(pairs: Mapping[str, tuple[float, int]]) -> float:
    sums, counts = zip(*pairs.values(), strict=True)
    return sum(sums) / max(1, sum(counts))


class MeanGSNR(_Elementwise):
    """The mean over elements of `g^2 / (v + 1e-5)`, v their variance (Liu et al. 2020)."""

    name = "MeanGSNR"
    chart = Chart(
        "Mean signal to noise",
        group="gradients",
        scale="log",
        about="Gradients that samples agree on generalise; it is high early, and falls as the "
        "network fits noise.",
    )

    def measure(self, observation: Observation) -> Any:
        observation.require_samples()
        return over_layers(observation, self.signal_to_noise(observation, 0), mean_of)


class EarlyStopping(_Elementwise):
    """`1 - B mean(g^2 / (v + 1e-5))`, v the variance with B - 1 (Mahsereci et al. 2017, eq. 7).

    For plain SGD.
    """

    name = "EarlyStopping"
    chart = Chart(
        "Evidence to stop",
        group="gradients",
        lines=((0, "stop above"),),
        about="Above 0 the gradients are what noise alone would give: stop, there is nothing left "
        "to learn.",
    )

    def measure(self, observation: Observation) -> float:
        learning_rate(observation, self.name)
        observation.require_samples(2)
        return 1 - observation.count * mean_of(self.signal_to_noise(observation, 1))
