"""How the time of a step grows with samples, rows, steps in time and depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn

from .growth import TURNS, Growth, shortest

QUANTITIES = ("grad", "batch_l2", "diag_ggn_exact", "kfac")

#: what grows -> its sizes
SIZES = {
    "N": (16, 32, 64, 128, 256, 512, 1024),
    "V": (1, 2, 5, 10, 20, 50, 100),
    "T": (25, 50, 100, 200, 400),
    "depth": (10, 100, 1_000, 10_000),
}

#: what is the same everywhere but where it grows
SAMPLES, CLASSES, WIDTH, NARROW = 32, 10, 256, 8


def lines() -> Iterator[Growth]:
    """A line per quantity for all that grows."""
    for axis, sizes in SIZES.items():
        for quantity in QUANTITIES:
            runs = {size: STEPS[axis](size, quantity) for size in sizes}
            yield Growth(quantity, shortest(runs, TURNS), axis)


def by_samples(samples: int, quantity: str) -> Callable[[], Any]:
    """An MLP of two hidden layers."""
    return _step(_mlp(64, WIDTH, WIDTH, CLASSES), _random(samples, 64), quantity)


def by_rows(outputs: int, quantity: str) -> Callable[[], Any]:
    """The same MLP with squared error, which has as many exact rows as outputs."""
    x, y = _random(SAMPLES, 64), _random(SAMPLES, outputs)
    return _step(_mlp(64, WIDTH, WIDTH, outputs), x, quantity, partial(nn.mse_loss, target=y))


def by_time(steps: int, quantity: str) -> Callable[[], Any]:
    """An LSTM whose last step is read out."""
    layer, read_out = nn.LSTM(NARROW, NARROW), nn.Linear(NARROW, CLASSES)

    def model(x: Any) -> Any:
        outputs, _ = layer(tracer.batch(x, axis=1))
        return read_out(outputs[-1])

    return _step(model, _random(steps, SAMPLES, NARROW), quantity)


def by_depth(layers: int, quantity: str) -> Callable[[], Any]:
    """A narrow MLP of so many layers, orthogonal so that no signal dies on its way."""
    square = np.random.default_rng(0).standard_normal((layers, NARROW, NARROW))
    orthogonal = np.linalg.qr(square)[0].astype(np.float32)
    weights = [tracer.parameter(weight, f"weight_{i}") for i, weight in enumerate(orthogonal)]
    read_out = nn.Linear(NARROW, CLASSES)

    def model(x: np.ndarray) -> Any:
        x = tracer.batch(x)
        for weight in weights:
            x = np.tanh(x @ weight)
        return read_out(x)

    return _step(model, _random(SAMPLES, NARROW), quantity)


#: what grows -> the step at a size, for a quantity
STEPS = {"N": by_samples, "V": by_rows, "T": by_time, "depth": by_depth}


def _mlp(*widths: int) -> Any:
    """Linear layers between these widths, with hyperbolic tangents between them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _step(
    model: Callable[[Any], Any],
    x: np.ndarray,
    quantity: str,
    loss: Callable[[Any], Any] | None = None,
) -> Callable[[], Any]:
    """Forward and backward; without a `loss` it is cross-entropy with random classes."""

    def cross_entropy(outputs: Any) -> Any:
        return nn.cross_entropy(outputs, np.arange(outputs.shape[0]) % CLASSES)

    def step() -> Any:
        with tracer.Tape() as tape:
            objective = (loss or cross_entropy)(model(x))
        return tape.backward(objective, (quantity,))

    return step
