"""Instruments of steps: how far, and how far along the line of a step the loss goes down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.extend import Instrument
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.observation import (
    NotMeasured,
    Observation,
    over_layers,
    ratio_root,
    root,
    squared_norm,
    total,
)
from tracer_experiments.instruments.sample_gradients import SampleGradients
from tracer_experiments.values import Late

#: what f(0), f(1), f'(0) and f'(1) of a parabola are orthogonal to
PARABOLA = (1.0, -1.0, 0.5, 0.5)
#: what SGD steps by something else for than the gradient times its rate
OPTIONS = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
#: in place of a variance of zero
SMALLEST_VARIANCE = 1e-10


class Alpha(Instrument):
    """Where a step ends on the parabola along it: -1 where it starts, 0 at the minimum, 1 opposite.

    The parabola is fitted by least squares, weighed by the inverse variances over samples, to the
    mean losses at both ends and the slopes `g_n . s / |s|`, for the step s from one to the other.
    It is known one step late. -1 where the parabola opens downward.
    """

    name = "Alpha"
    late = True
    needs_samples_before = True
    chart = Chart(
        "Normalised step length",
        group="step",
        lines=((-1, "start of the step"), (0, "minimum along it"), (1, "opposite wall")),
        about="Below 0 a step stops before the minimum along it, above 0 behind; 1 is as high as "
        "where it began, and more climbs.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (SampleGradients,)

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return observation.slopes_before, observation.slopes

    def measure(self, observation: Observation) -> Late | None:
        before = observation.before
        observation.require_samples(2)
        if observation.losses is None:
            raise NotMeasured("the losses of single samples are not known")
        if before is None or before.losses is None:
            return None
        length = root(observation.update_squares)
        if not length:
            return Late(-1.0, before.step)
        slopes = total(observation.slopes_before), total(observation.slopes)
        points = ((before, slopes[0]), (observation, slopes[1]))
        values = [o.mean_loss for o, _ in points] + [s.mean() for _, s in points]
        variances = [o.losses.var(ddof=1) for o, _ in points]  # type: ignore[union-attr]
        variances += [s.var(ddof=1) for _, s in points]
        alpha = position(values, variances)
        return None if alpha is None else Late(alpha, before.step)


def position(values: Sequence[float], variances: Sequence[float]) -> float | None:
    """Where 1 is on a parabola, from its values and slopes at 0 and 1: see `Alpha`.

    The values are f(0), f(1), f'(0), f'(1), with their variances. None where they are not finite.
    Those four of a parabola obey one equation, `f(0) - f(1) + (f'(0) + f'(1)) / 2 = 0`, and what
    least squares weighed by inverse variances give is the nearest point that obeys it.
    """
    variances = [float(v) or SMALLEST_VARIANCE for v in variances]
    if not all(map(math.isfinite, (*values, *variances))):
        return None
    off = sum(n * float(y) for n, y in zip(PARABOLA, values, strict=True))
    off /= sum(n * n * v for n, v in zip(PARABOLA, variances, strict=True))
    begin, end = (float(values[i]) - variances[i] * PARABOLA[i] * off for i in (2, 3))
    if not math.isfinite(begin + end):
        return None
    if end < begin:
        return -1.0
    return -end / begin if begin else math.inf


class Distance(Instrument):
    """The Euclidean distance of the parameters from where they were first seen."""

    name = "Distance"
    chart = Chart(
        "Distance from the start",
        group="step",
        about="How far the parameters have come; a straight line is steady travel, a plateau "
        "wandering about one place.",
    )
    needs_initial = True

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return (observation.travelled,)

    def measure(self, observation: Observation) -> Any:
        squares = {name: t.distance for name, t in observation.travelled.items()}
        return over_layers(observation, squares, root)


class UpdateSize(Instrument):
    """The Euclidean norm of a step. It is known one step late."""

    name = "UpdateSize"
    late = True
    chart = Chart(
        "Size of the step",
        group="step",
        scale="log",
        about="Steps that grow without bound diverge; steps that vanish learn no more.",
    )

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return (observation.update_squares,)

    def measure(self, observation: Observation) -> Any:
        return late(observation, over_layers(observation, observation.update_squares, root))


class UpdateRatio(Instrument):
    """The norm of a step over that of the parameters that it moves, of each and of all together.

    It is known one step late.
    """

    name = "UpdateRatio"
    late = True
    chart = Chart(
        "Update over weight",
        group="step",
        scale="log",
        lines=((1e-3, "usual"),),
        about="About 1e-3 is usual; far more is noise in the weights, far less a rate that is too "
        "small for this layer.",
    )

    def of_each(self, observation: Observation) -> tuple[Any, ...]:
        return (observation.update_squares,)

    def measure(self, observation: Observation) -> Any:
        before = observation.before
        if before is None:
            return None
        pairs = {
            name: (squares, squared_norm(before.arrays[name]))
            for name, squares in observation.update_squares.items()
        }
        whole = [sum(pair[i] for pair in pairs.values()) for i in (0, 1)]
        values = {"": ratio_root(*whole)}
        return late(observation, values | {name: ratio_root(*p) for name, p in pairs.items()})


def late(observation: Observation, value: Any) -> Any:
    """A value, or several, that belong to the step before."""
    if observation.before is None:
        return None
    step = observation.before.step
    if isinstance(value, dict):
        return {name: Late(each, step) for name, each in value.items()}
    return Late(value, step)


def rates_of(optimizer: Any) -> dict[int, float]:
    """The rates of the parameters that are stepped by `-lr g`, by the identity of tensors."""
    if type(optimizer).__name__ != "SGD":
        return {}
    return {
        id(parameter): float(group["lr"])
        for group in getattr(optimizer, "param_groups", ())
        for parameter in group["params"]
        if not any(group.get(option) for option in OPTIONS)
    }


def learning_rate(observation: Observation, who: str) -> float:
    """The rate of plain gradient descent. Raises `NotMeasured` for any other optimiser."""
    optimizer = observation.optimizer
    groups = getattr(optimizer, "param_groups", None)
    kind = type(optimizer).__name__
    if groups is None or kind != "SGD":
        raise NotMeasured(f"it is defined for plain SGD, and the optimiser is {kind}")
    for option in OPTIONS:
        if any(group.get(option) for group in groups):
            raise NotMeasured(f"it is defined for plain SGD, and this one has {option}")
    rates = {float(group["lr"]) for group in groups}
    if len(rates) != 1:
        raise NotMeasured(f"it is defined for one learning rate, and there are {len(rates)}")
    return rates.pop()


class CABS(Instrument):
    """The batch size that plain SGD's rate suits, `lr (sum of variances) / loss`.

    Variances are of the `g_n`, over samples (Balles, Romero and Hennig 2017, equation 22).
    """

    name = "CABS"
    chart = Chart(
        "Batch size by CABS",
        group="gradients",
        scale="log",
        unit="samples",
        about="The batch size that balances noise and cost at this learning rate: far above yours, "
        "take larger batches, or a smaller rate.",
    )

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (SampleGradients,)

    def measure(self, observation: Observation) -> float:
        rate = learning_rate(observation, self.name)
        observation.require_samples()
        o = observation
        variances = np.maximum(total(o.squared_norms).mean() - total(o.mean_squares), 0)
        with np.errstate(all="ignore"):
            return float(np.float64(rate / o.share) * variances / o.mean_loss)
