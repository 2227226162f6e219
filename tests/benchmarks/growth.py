"""How the time of every quantity grows with the steps of a recurrent network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn
from tracer import registry

from .measure import race

STEPS, REPEATS = (25, 50, 100, 200), 3
SAMPLES, INPUTS, HIDDEN, CLASSES = 8, 4, 8, 3

#: of the positive-curvature Hessian of weights that are used again there is none, and what chains
#: of averages are of a whole sequence is cubic in its length
LEFT_OUT = ("pchmp", "kfra")


@dataclass(frozen=True)
class Growth:
    """Seconds of a quantity for each number of steps."""

    quantity: str
    seconds: dict[int, float]

    @property
    def exponent(self) -> float:
        """p in `seconds ~ steps^p`, from the last doubling."""
        last, before = STEPS[-1], STEPS[-2]
        return math.log(self.seconds[last] / self.seconds[before]) / math.log(last / before)


def lines() -> Iterator[Growth]:
    """An LSTM with cross-entropy of its last step, for every quantity."""
    layer, read_out = nn.LSTM(INPUTS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
    for quantity in registry.quantities:
        if quantity in LEFT_OUT:
            continue
        seconds: dict[int, float] = {}
        for steps in STEPS:
            run = partial(_step, layer, read_out, steps, quantity)
            found = race({"trace-net": lambda run=run: run}, REPEATS)["trace-net"]
            assert found is not None
            seconds[steps] = found
        yield Growth(quantity, seconds)


def _step(layer: Any, read_out: Any, steps: int, quantity: str) -> Any:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, SAMPLES, INPUTS), dtype=np.float32)
    with tracer.Tape() as tape:
        outputs, _ = layer(tracer.batch(x, axis=1))
        loss = nn.cross_entropy(read_out(outputs[-1]), rng.integers(0, CLASSES, SAMPLES))
    return tape.backward(loss, (quantity,))
