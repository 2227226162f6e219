"""`Dropout`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer import backend
from tracer.errors import TracerError
from tracer.random import generator
from tracer_layers.module import Module
from tracer_layers.rules import not_in_place, raw


def dropout(input: Any, p: float = 0.5, training: bool = True, *, rng: Any = None) -> Any:
    """In training, zeroes elements with probability `p` and divides the others by `1 - p`."""
    if not 0 <= p <= 1:
        raise TracerError(f"the probability of dropout is between 0 and 1, got p={p}")
    if not training or p == 0:
        return input
    data = raw(input)
    kept = (rng or generator()).random(data.shape, dtype=np.float32) >= p
    scale = kept.astype(data.dtype) * (1 / (1 - p) if p < 1 else 0.0)
    return input * backend.of(data).from_host(scale)


class Dropout(Module):
    """Zeroes elements with probability `p` in training (Srivastava et al. 2014)."""

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: Any = None):
        not_in_place("Dropout", inplace)
        if not 0 <= p <= 1:
            raise TracerError(f"the probability of dropout is between 0 and 1, got p={p}")
        self.p = p
        self.rng = rng

    def forward(self, input: Any) -> Any:
        return dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=False"
