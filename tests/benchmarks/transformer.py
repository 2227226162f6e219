"""A small Transformer: its gradient beside PyTorch's, and norms of samples beside the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn

from .measure import Prepare, Row, at_most, installed
from .processes import THREADS, in_turn

SAMPLES, LENGTH, WIDTH, HEADS, LAYERS, CLASSES = 16, 64, 128, 4, 2, 10
LIMIT = 60.0


def network(library: Any) -> Any:
    """Layers four times as wide inside, without dropout, and a read-out of all positions."""
    layer = library.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, batch_first=True)
    return library.Sequential(
        library.TransformerEncoder(layer, LAYERS),
        library.Flatten(),
        library.Linear(LENGTH * WIDTH, CLASSES),
    )


def data() -> tuple[np.ndarray, np.ndarray]:
    """Sequences in float32 and classes."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((SAMPLES, LENGTH, WIDTH), dtype=np.float32)
    return inputs, rng.integers(0, CLASSES, SAMPLES)


def rows() -> Iterator[Row]:
    """Forward and backward, for the gradient and for the norms of samples."""
    runners: dict[str, Prepare] = {"trace-net": partial(_ours, "grad")}
    if installed("PyTorch"):
        runners["PyTorch"] = _torch
    gradient = {"PyTorch": "not installed", **_seconds(runners)}
    goals = at_most(1.3, gradient["PyTorch"], "PyTorch x 1.3")
    yield Row("Transformer, `grad`", 1e-3, gradient, goals)
    norms = _seconds({"trace-net": partial(_ours, "batch_l2")})
    goals = at_most(1.6, gradient["trace-net"], "`grad` x 1.6")
    yield Row("Transformer, `batch_l2`", 1e-3, norms, goals)


def _seconds(runners: dict[str, Prepare]) -> dict[str, float | str]:
    """The shortest time of each, in processes of their own that take turns."""
    return {name: took.seconds for name, took in in_turn(runners, LIMIT).items()}


def _ours(quantity: str) -> Callable[[], Any]:
    model, (x, y) = network(nn), data()

    def step() -> Any:
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        return tape.backward(loss, (quantity,))

    return step


def _torch() -> Callable[[], Any]:
    import torch

    torch.set_num_threads(THREADS)
    model, (x, y) = network(torch.nn), map(torch.from_numpy, data())

    def step() -> None:
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()

    return step
