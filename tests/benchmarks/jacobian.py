"""The Jacobian of a small network's 100 outputs by all its parameters, at one sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tracer

from .measure import Row, best, peers

SIZES, REPEATS = (20, 50, 100), 15


def rows() -> Iterator[Row]:
    """One row; the goal is a fifth of autograd's time, where autograd is installed."""
    parameters, x = _point()
    ours = tracer.jacobian(_network(np, x))
    seconds: dict[str, float | None] = {
        "trace-net": best(lambda: lambda: ours(parameters), REPEATS),
        **peers(
            {
                "autograd": lambda: best(lambda: _autograd(parameters, x), REPEATS),
                "PyTorch": lambda: best(lambda: _torch(parameters, x), REPEATS),
            }
        ),
    }
    peer = seconds["autograd"]
    goal = None if peer is None else peer / 5
    yield Row("Jacobian of 100 outputs", 1e-3, seconds, goal, "autograd / 5")


def _point() -> tuple[np.ndarray, np.ndarray]:
    """All parameters as one vector, which every library here can differentiate by; an input."""
    rng = np.random.default_rng(0)
    count = sum((n + 1) * m for n, m in zip(SIZES[:-1], SIZES[1:], strict=True))
    return 0.2 * rng.standard_normal(count), rng.standard_normal(SIZES[0])


def _network(library: Any, x: Any) -> Callable[[Any], Any]:
    """The outputs `[100]` as a function of the vector of parameters."""

    def outputs(parameters: Any) -> Any:
        values, start = x, 0
        for n, m in zip(SIZES[:-1], SIZES[1:], strict=True):
            if start:
                values = library.tanh(values)
            weight = parameters[start : start + n * m].reshape(m, n)
            start += n * m
            values = weight @ values + parameters[start : start + m]
            start += m
        return values

    return outputs


def _autograd(parameters: np.ndarray, x: np.ndarray) -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    function = autograd.jacobian(_network(autograd.numpy, x))
    return lambda: function(parameters)


def _torch(parameters: np.ndarray, x: np.ndarray) -> Callable[[], Any]:
    import torch

    function = torch.func.jacrev(_network(torch, torch.tensor(x)))
    point = torch.tensor(parameters)
    return lambda: function(point)
