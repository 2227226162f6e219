"""Instruments of curvature: traces, Takeuchi's criterion, extreme eigenvalues of the Hessian."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracer.extend import Array, Instrument, backend, widened
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.by_parameter import ByParameter
from tracer_experiments.instruments.lanczos import NOISE, Extremes, extremes
from tracer_experiments.instruments.observation import (
    NotMeasured,
    Observation,
    over_layers,
    total,
)
from tracer_experiments.instruments.sample_gradients import SampleGradients, on_host

#: what keeps quotients by a curvature of zero finite
EPSILON = 1e-7


class _OfDiagonal(Instrument):
    """Of the diagonal of a curvature matrix: "diag_h", "diag_ggn_exact" or "diag_ggn_mc"."""

    def __init__(self, curvature: Any = "diag_ggn_mc"):
        self.curvature = curvature

    @property
    def _quantity(self) -> str:
        return self.curvature if isinstance(self.curvature, str) else self.curvature.name

    def traces(self, observation: Observation) -> dict[str, float]:
        """The sum of the diagonal by each parameter."""
        values = observation.by_parameter(self._quantity)
        return {name: _sum(value) for name, value in values.items()}


class HessTrace(_OfDiagonal):
    """The trace of the curvature matrix, `sum_j h_j`."""

    name = "HessTrace"
    chart = Chart(
        "Trace of the curvature",
        group="curvature",
        scale="symlog",
        about="How sharp the valley is on average; flat minima have small traces.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (self.curvature,)

    def measure(self, observation: Observation) -> Any:
        return over_layers(observation, self.traces(observation), total)


class TICDiag(_OfDiagonal):
    """Takeuchi's criterion with a diagonal curvature, `sum_j (mean_n g_nj^2) / (h_j + 1e-7)`.

    Thomas et al. (2020).
    """

    name = "TICDiag"
    chart = Chart(
        "Takeuchi's criterion (diagonal)",
        group="curvature",
        scale="symlog",
        about="Noise over curvature, a measure of the gap between training and test loss.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (self.curvature, SampleGradients)

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return observation.array_squares, self._quotients(observation)

    def _quotients(self, o: Observation) -> ByParameter[float]:
        """`sum_j (sum_n g_nj^2) / (h_j + 1e-7)` by each parameter, of the samples' shares."""
        samples, squares, share = o.samples, o.array_squares, o.share
        diagonals = o.by_parameter(self._quantity)

        def quotients_of(name: str) -> float:
            known = squares.get(name)
            return samples[name].sum_of_quotients(diagonals[name], share, EPSILON, known)

        if self.name not in o.tables:
            names = [name for name in samples if name in diagonals]
            o.tables[self.name] = ByParameter(names, quotients_of, multiplies=True)
        return o.tables[self.name]

    def measure(self, observation: Observation) -> float:
        o = observation
        o.require_samples()
        return sum(self._quotients(o).values()) * o.scale**2 / o.count


class TICTrace(_OfDiagonal):
    """Takeuchi's criterion with traces, `sum_j (mean_n g_nj^2) / (sum_j h_j + 1e-7)`."""

    name = "TICTrace"
    chart = Chart(
        "Takeuchi's criterion (traces)",
        group="curvature",
        scale="symlog",
        about="Noise over curvature, a measure of the gap between training and test loss.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (self.curvature, SampleGradients)

    def measure(self, observation: Observation) -> float:
        o = observation
        o.require_samples()
        trace = sum(self.traces(o).values()) * o.share
        return float(total(o.squared_norms).mean() / (trace + EPSILON))


def _sum(array: Array) -> float:
    """The sum of all elements. Of a matrix's rows it is a product, which reads them sooner."""
    wide = widened(array)
    if wide.ndim > 1 and wide.size:
        rows = wide.reshape(len(wide), -1)
        wide = rows @ np.ones_like(rows, shape=rows.shape[1])
    return float(on_host(wide).sum())


class Spectrum:
    """The extreme eigenvalues of the Hessian, computed once a step for all that ask."""

    def __init__(self) -> None:
        self._step: int | None = None
        #: what was looked at last; another training may be at the same step
        self._observed: weakref.ref[Observation] | None = None
        self._found: Extremes | None = None
        self._both = False

    def of(self, observation: Observation, both: bool) -> Extremes:
        """From where the last step has ended."""
        is_known = self._observed is not None and self._observed() is observation
        if is_known and self._found is not None and self._both >= both:
            return self._found
        operator = observation.value("hessian")
        self._found = extremes(operator, self._start(operator, observation), both)
        self._step, self._both = observation.step, both
        self._observed = weakref.ref(observation)
        return self._found

    def _start(self, operator: Any, observation: Observation) -> Array:
        size = operator.shape[0]
        if size == 0:
            raise NotMeasured("there are no parameters")
        like = next(iter(observation.gradients.values()))
        rng = np.random.default_rng(size + (self._step or 0))
        # signs, of variance 1 as normal numbers, which take twenty times as long
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-size // 8)), np.uint8), count=size)
        signs = bits.astype(operator.dtype)
        signs -= 0.5
        noise = backend.of(like).from_host(signs)
        if self._found is None or len(self._found.start) != size:
            return noise
        noise *= 2 * NOISE / size**0.5
        start = self._found.start
        noise += start / float(np.sqrt(float(start @ start)))
        return noise


class HessMaxEV(Instrument):
    """The largest eigenvalue of the Hessian of the objective, to 1e-3, by Lanczos.

    It starts from the last step's vector: an eigenvector that overtakes is found some steps later.
    """

    name = "HessMaxEV"
    shares = Spectrum
    both = False
    chart = Chart(
        "Largest eigenvalue of the Hessian",
        group="curvature",
        scale="symlog",
        about="The sharpest direction: gradient descent is stable while it is below 2 over the "
        "learning rate.",
    )

    def __init__(self, spectrum: Spectrum | None = None):
        self.spectrum = spectrum or Spectrum()

    def quantities(self, step: int) -> tuple[Any, ...]:
        return ("grad", "hessian")

    def measure(self, observation: Observation) -> float:
        return self.spectrum.of(observation, self.both).largest


class HessMaxAbsEV(HessMaxEV):
    """The eigenvalue of the Hessian that is largest in magnitude, to 1e-3, by Lanczos.

    It is what power iteration finds, and negative where negative curvature leads.
    """

    name = "HessMaxAbsEV"
    both = True
    chart = Chart(
        "Eigenvalue of the Hessian of largest magnitude",
        group="curvature",
        scale="symlog",
        about="As the largest eigenvalue; below 0 where the sharpest direction goes down.",
    )

    def measure(self, observation: Observation) -> float:
        found = self.spectrum.of(observation, self.both)
        return max(found.largest, found.smallest, key=abs)


def largest(values: Mapping[str, float]) -> float:
    return max(values.values(), default=0.0)
