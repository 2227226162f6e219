"""How the time of every quantity grows with the steps of a recurrent network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn
from tracer import registry

from .measure import once

STEPS, TURNS, TURN = (25, 50, 100, 200), 3, 0.03
SAMPLES, INPUTS, HIDDEN, CLASSES = 8, 4, 8, 3

#: of the positive-curvature Hessian of weights that are used again there is none, and what chains
#: of averages are of a whole sequence is cubic in its length
LEFT_OUT = ("pchmp", "kfra")


@dataclass(frozen=True)
class Growth:
    """Seconds of a quantity for each size of what grows: `axis` names it."""

    quantity: str
    seconds: dict[int, float]
    axis: str = "T"

    @property
    def exponent(self) -> float:
        """p in `seconds ~ size^p`, from the two largest sizes."""
        before, last = sorted(self.seconds)[-2:]
        return math.log(self.seconds[last] / self.seconds[before]) / math.log(last / before)


def lines() -> Iterator[Growth]:
    """An LSTM with cross-entropy of its last step, for every quantity."""
    layer, read_out = nn.LSTM(INPUTS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
    for quantity in registry.quantities:
        if quantity in LEFT_OUT:
            continue
        runs = {steps: partial(_step, layer, read_out, steps, quantity) for steps in STEPS}
        yield Growth(quantity, shortest(runs, TURNS))


def shortest(runs: Mapping[int, Callable[[], Any]], turns: int) -> dict[int, float]:
    """The shortest time at each size, in seconds; sizes take turns of at least `TURN` seconds."""
    best = dict.fromkeys(runs, math.inf)
    for _ in range(turns):
        for size, run in runs.items():
            begun = time.perf_counter()
            while time.perf_counter() - begun < TURN:
                best[size] = min(best[size], once(run))
    return best


def _step(layer: Any, read_out: Any, steps: int, quantity: str) -> Any:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, SAMPLES, INPUTS), dtype=np.float32)
    with tracer.Tape() as tape:
        outputs, _ = layer(tracer.batch(x, axis=1))
        loss = nn.cross_entropy(read_out(outputs[-1]), rng.integers(0, CLASSES, SAMPLES))
    return tape.backward(loss, (quantity,))
