"""Instruments of activations: dead and saturated units, and the size of what layers give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.extend import Array, Context, Cotangent, Instrument, Quantity, Shard, widened
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.observation import NotMeasured, Observation
from tracer_experiments.instruments.sample_gradients import on_host

#: share of its greatest slope below which an activation is saturated
FLAT = 0.05

#: activations whose slope goes to zero on both sides -> slope over the greatest, from the output
SLOPES: dict[str, Callable[[Array], Array]] = {
    "tanh": lambda y: 1 - y * y,
    "sigmoid": lambda y: 4 * y * (1 - y),
    "hardtanh": lambda y: 1.0 * (abs(y) < 1),
}
#: activations that give zero, and have no slope, on one side
RECTIFIERS = {"relu", "threshold"}
ACTIVATIONS = {
    *SLOPES,
    *RECTIFIERS,
    *("leaky_relu", "prelu", "elu", "silu", "mish", "gelu", "gelu_tanh", "softplus"),
}


class Activations(Quantity):
    """What activations gave, read off the record before the sweep: it adds nothing to that.

    `found` has the kind of an activation and its output `[N, ...]`, by the path of its module.
    """

    name = "activations"
    needs_samples = False

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, Array]] = {}

    def begin(self, objective: Any) -> None:
        values = objective.saved_values()
        found = {}
        for node in objective.nodes:
            if node.op.name in ACTIVATIONS and node in values:
                path = node.place.scope or node.op.name
                name, count = path, 1
                while name in found:
                    count += 1
                    name = f"{path} ({count})"
                found[name] = (node.op.name, values[node])
        self.found = found

    def elements(self, context: Context) -> int:
        return 0

    def extract(self, cotangent: Cotangent, context: Context) -> None:
        return None

    def join(self, first: None, second: None) -> None:
        return None

    def merge(self, first: None, second: None, shards: tuple[Shard, Shard]) -> None:
        return None


class _OfActivations(Instrument):
    """A value of each activation of some kinds, and of all together."""

    kinds: set[str]
    missing = "the model has no activations that are known here"

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (Activations,)

    def measure(self, observation: Observation) -> dict[str, float]:
        pairs = {}
        for name, (kind, output) in observation.activations.items():
            if kind in self.kinds:
                share, count = self.of(kind, widened(output))
                pairs[name] = float(on_host(share)), count
        if not pairs:
            raise NotMeasured(self.missing)
        total = sum(count for _, count in pairs.values())
        whole = self.together([(value, count / max(1, total)) for value, count in pairs.values()])
        return {"": whole, **{name: value for name, (value, _) in pairs.items()}}

    def of(self, kind: str, output: Array) -> tuple[Any, int]:
        """The value of an output `[N, ...]`, and of how many elements it is."""
        raise NotImplementedError(f"{self.name} says of no output: define of(self, kind, output)")

    def together(self, weighed: list[tuple[float, float]]) -> float:
        """The value of all, from values and their weights."""
        return sum(value * weight for value, weight in weighed)


class DeadUnits(_OfActivations):
    """The share of rectified units that are zero for every sample of the batch, of each layer."""

    name = "DeadUnits"
    kinds = RECTIFIERS
    missing = "the model has no rectified units"
    chart = Chart(
        "Dead units",
        group="activations",
        about="Units that no sample of the batch reaches do not learn; a share that grows calls "
        "for a smaller rate.",
    )

    def of(self, kind: str, output: Array) -> tuple[Any, int]:
        dead = (output <= 0).all(0)
        return dead.mean(), dead.size


class Saturation(_OfActivations):
    """The share of outputs where a sigmoid or tanh has below 5 % of its slope, of each layer."""

    name = "Saturation"
    kinds = set(SLOPES)
    missing = "the model has no sigmoid, tanh or hardtanh"
    chart = Chart(
        "Saturated units",
        group="activations",
        about="Where most are saturated, gradients do not pass.",
    )

    def of(self, kind: str, output: Array) -> tuple[Any, int]:
        return (SLOPES[kind](output) < FLAT).mean(), output.size


class ActivationNorm(_OfActivations):
    """The root mean square of what activations give, of each layer."""

    name = "ActivationNorm"
    kinds = ACTIVATIONS
    chart = Chart(
        "Size of activations",
        group="activations",
        scale="log",
        about="Alike in all layers is well; what shrinks or grows with depth vanishes or explodes.",
    )

    def of(self, kind: str, output: Array) -> tuple[Any, int]:
        return np.sqrt((output * output).mean()), output.size

    def together(self, weighed: list[tuple[float, float]]) -> float:
        return float(np.sqrt(sum(value * value * weight for value, weight in weighed)))
