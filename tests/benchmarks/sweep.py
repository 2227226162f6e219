"""What the backward sweep costs, per operation on arrays of three elements."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tracer

from .measure import Row, race
from .recording import LENGTH, REPEATS, C, X, above_numpy, chain

#: what an operation may cost above the NumPy call of its rule, in seconds
AIM = 2e-6


def rows() -> Iterator[Row]:
    """One row: the gradient of a chain of multiplications."""
    runners = {
        "NumPy": _numpy,
        "trace-net": _ours,
        "autograd": _autograd,
        "MyGrad": _mygrad,
        "PyTorch": _torch,
    }
    seconds = race(runners, REPEATS, LENGTH)
    yield Row("sweep back through `x * c`", 1e-6, seconds, above_numpy(seconds, AIM))


def _numpy() -> Callable[[], Any]:
    """What the rule does at each operation: the same multiplication, of the cotangent."""
    return partial(chain, operator.mul, X, C)


def _ours() -> Callable[[], Any]:
    x = tracer.parameter(X)
    with tracer.Tape() as tape:
        loss = np.sum(chain(operator.mul, x, C))
    return partial(tape.backward, loss)


def _autograd() -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    pullback, _ = autograd.make_vjp(lambda x: autograd.numpy.sum(chain(operator.mul, x, C)))(X)
    return partial(pullback, 1.0)


def _mygrad() -> Callable[[], Any]:
    import mygrad

    return mygrad.sum(chain(operator.mul, mygrad.tensor(X), C)).backward


def _torch() -> Callable[[], Any]:
    import torch

    x, c = torch.tensor(X, requires_grad=True), torch.tensor(C)
    return chain(operator.mul, x, c).sum().backward
