"""What the backward sweep costs, per operation on arrays of three elements."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tracer

from .measure import Row, best, peers
from .recording import LENGTH, REPEATS, C, X, chain


def rows() -> Iterator[Row]:
    """One row: the gradient of a chain of multiplications."""
    ours = best(_ours, REPEATS, LENGTH)
    others = peers(
        {
            "autograd": lambda: best(_autograd, REPEATS, LENGTH),
            "MyGrad": lambda: best(_mygrad, REPEATS, LENGTH),
            "PyTorch": lambda: best(_torch, REPEATS, LENGTH),
        }
    )
    yield Row("sweep back through `x * c`", 1e-6, {"trace-net": ours, **others})


def _ours() -> Callable[[], Any]:
    x = tracer.parameter(X)
    with tracer.Tape() as tape:
        loss = np.sum(chain(operator.mul, x, C))
    return lambda: tape.backward(loss)


def _autograd() -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    pullback, _ = autograd.make_vjp(lambda x: autograd.numpy.sum(chain(operator.mul, x, C)))(X)
    return lambda: pullback(1.0)


def _mygrad() -> Callable[[], Any]:
    import mygrad

    loss = mygrad.sum(chain(operator.mul, mygrad.tensor(X), C))
    return loss.backward


def _torch() -> Callable[[], Any]:
    import torch

    loss = chain(operator.mul, torch.tensor(X, requires_grad=True), torch.tensor(C)).sum()
    return loss.backward
