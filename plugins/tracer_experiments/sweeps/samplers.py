"""What chooses the settings of trials: all combinations, or random ones."""

from __future__ import annotations

import math

import numpy as np

from tracer.errors import UsageError
from tracer.extend import Choices, Range, Sampler
from tracer_experiments.sweeps.spaces import typed


class Grid(Sampler):
    """All combinations of values, the last setting changing first; at most `trials`."""

    name = "grid"

    def __init__(self, space, seed, trials, minimise):
        super().__init__(space, seed, trials, minimise)
        for name, values in space.items():
            if isinstance(values, Range):
                raise UsageError(
                    f"a grid takes values, and {name!r} is a range",
                    "--sampler random --trials 20 draws from a range",
                )
        count = math.prod(len(values.values) for values in space.values())
        self.trials = count if trials is None else min(trials, count)

    def ask(self, number: int) -> dict[str, str] | None:
        if self.trials is None or number >= self.trials:
            return None
        found = {}
        for name, values in reversed(list(self.space.items())):
            assert isinstance(values, Choices)
            number, place = divmod(number, len(values.values))
            found[name] = values.values[place]
        return {name: found[name] for name in self.space}


class Random(Sampler):
    """Values and places in ranges, each drawn evenly; a trial is the same whatever was before."""

    name = "random"

    def __init__(self, space, seed, trials, minimise):
        super().__init__(space, seed, trials, minimise)
        check_drawn(self)

    def ask(self, number: int) -> dict[str, str] | None:
        assert self.trials is not None
        if number >= self.trials:
            return None
        rng = np.random.default_rng([self.seed, number])
        return {name: drawn(values, rng) for name, values in self.space.items()}


def check_drawn(sampler: Sampler) -> None:
    """Raise `UsageError` where there is nothing to draw, or nobody says how often."""
    if not sampler.space:
        raise UsageError(
            f"the sampler {sampler.name!r} has nothing to draw", "give --grid lr=1e-4..1e-1:log"
        )
    if sampler.trials is None:
        raise UsageError(f"the sampler {sampler.name!r} draws trials", "give --trials 20")


def drawn(values: Choices | Range, rng: np.random.Generator) -> str:
    """A value, as typed."""
    if isinstance(values, Choices):
        return values.values[int(rng.integers(len(values.values)))]
    # a whole number is drawn from the interval that is rounded to it
    margin = 0.5 if values.whole else 0.0
    low, high = values.low - margin, values.high + margin
    if values.log:
        return typed(values, math.exp(rng.uniform(math.log(low), math.log(high))))
    return typed(values, rng.uniform(low, high))
