"""What is folded and trained: a small convolutional network on images of random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn


def network() -> Any:
    """Two convolutions and two linear layers, 46,730 parameters."""
    tracer.seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def small() -> Any:
    """A network whose shards take no time to speak of."""
    tracer.seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


@dataclass(frozen=True)
class Images:
    """Shard i of random images `[1, 28, 28]` with their classes."""

    samples: int

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(i)
        x = rng.standard_normal((self.samples, 1, 28, 28), np.float32)
        return x, rng.integers(0, 10, self.samples)


@dataclass(frozen=True)
class Rows:
    """Shard i of ten rows for the small network."""

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(i)
        return rng.standard_normal((10, 8), np.float32), rng.integers(0, 4, 10)
