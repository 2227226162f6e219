"""Instruments of spectra: condition of Kronecker factors, density of the Gauss-Newton matrix."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from tracer.extend import Array, Instrument, backend
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.lanczos import density
from tracer_experiments.instruments.observation import NotMeasured, Observation
from tracer_experiments.instruments.sample_gradients import on_host
from tracer_experiments.values import Histogram

#: edges of the bins of eigenvalues: a first one for all below 1e-8, and six for each decade
EDGES = np.concatenate([[0.0], np.logspace(-8, 4, 73)])


class KroneckerCondition(Instrument):
    """The condition of damped Kronecker blocks, of each parameter that has one, and the largest.

    `(max a max g + damping) / (min a min g + damping)` with the eigenvalues a and g of the input
    and output factors of "kfac".
    """

    name = "KroneckerCondition"
    chart = Chart(
        "Condition of Kronecker blocks",
        group="curvature",
        scale="log",
        about="How unevenly a layer's valley is curved: where much, second-order steps gain.",
    )

    def __init__(self, damping: float = 1e-3):
        self.damping = damping

    def quantities(self, step: int) -> tuple[Any, ...]:
        return ("kfac",)

    def measure(self, observation: Observation) -> dict[str, float]:
        found = {}
        for name, block in observation.by_parameter("kfac").items():
            most = least = 1.0
            for factor in block.factors:
                low, high = _extreme_eigenvalues(on_host(factor))
                most, least = most * high, least * low
            found[name] = (most + self.damping) / (least + self.damping)
        if not found:
            raise NotMeasured("no parameter has Kronecker factors")
        return {"": float(np.max([*found.values()])), **found}


def _extreme_eigenvalues(factor: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest of a positive semi-definite matrix; NaN of what is not finite.

    There LAPACK does not converge.
    """
    if not np.isfinite(factor).all():
        return math.nan, math.nan
    eigenvalues = np.linalg.eigvalsh(factor)
    return max(float(eigenvalues[0]), 0.0), max(float(eigenvalues[-1]), 0.0)


class Quadrature:
    """Nodes and weights of the density of the Gauss-Newton matrix, once a step for all that ask."""

    def __init__(self, probes: int = 1, steps: int = 20):
        self.probes, self.steps = probes, steps
        #: what was looked at last; another training may be at the same step
        self._observed: weakref.ref[Observation] | None = None

    def of(self, observation: Observation) -> tuple[np.ndarray, np.ndarray, int]:
        """Eigenvalues, their weights, which sum to 1, and the number of parameters."""
        if self._observed is None or self._observed() is not observation:
            operator = observation.value("ggn")
            starts = self._starts(operator, observation)
            nodes, weights = density(operator, starts, self.steps)
            self._found = np.maximum(nodes, 0), weights, operator.shape[0]
            self._observed = weakref.ref(observation)
        return self._found

    def _starts(self, operator: Any, observation: Observation) -> Array:
        """Vectors of random signs, other ones at each step."""
        size = operator.shape[0]
        if not size:
            raise NotMeasured("there are no parameters")
        rng = np.random.default_rng((size, observation.step))
        signs = rng.integers(0, 2, (self.probes, size)) * 2 - 1
        like = next(iter(observation.gradients.values()))
        return backend.of(like).from_host(signs.astype(operator.dtype))


class GGNDensity(Instrument):
    """The spectral density of the Gauss-Newton matrix: how many eigenvalues lie in each bin.

    By stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017), an estimate from random vectors.
    Bins are on a logarithmic axis, the first one has all below 1e-8.
    """

    name = "GGNDensity"
    shares = Quadrature
    chart = Chart(
        "Spectrum of the Gauss-Newton matrix",
        group="curvature",
        kind="histogram",
        scale="log",
        about="A bulk near zero and a few large ones, about as many as classes, is usual.",
    )

    def __init__(self, spectrum: Quadrature | None = None):
        self.quadrature = spectrum or Quadrature()

    def quantities(self, step: int) -> tuple[Any, ...]:
        return ("grad", "ggn")

    def measure(self, observation: Observation) -> Any:
        nodes, weights, size = self.quadrature.of(observation)
        inside = np.clip(nodes, EDGES[0], EDGES[-1])
        counts, _ = np.histogram(inside, EDGES, weights=weights * size)
        return Histogram(counts, EDGES)


class EffectiveDimension(Instrument):
    """`sum_i l_i / (l_i + damping)` of the eigenvalues l of the Gauss-Newton matrix.

    The number of directions that the data decide (MacKay 1992), by Lanczos quadrature.
    """

    name = "EffectiveDimension"
    shares = Quadrature
    chart = Chart(
        "Effective dimension",
        group="curvature",
        scale="log",
        unit="parameters",
        about="How many directions the data decide; the rest could be anything.",
    )

    def __init__(self, spectrum: Quadrature | None = None, damping: float = 1e-2):
        self.quadrature, self.damping = spectrum or Quadrature(), damping

    def quantities(self, step: int) -> tuple[Any, ...]:
        return ("grad", "ggn")

    def measure(self, observation: Observation) -> float:
        nodes, weights, size = self.quadrature.of(observation)
        return float(size * (weights * nodes / (nodes + self.damping)).sum())
