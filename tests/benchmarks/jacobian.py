"""The Jacobian of a small network's 100 outputs at one sample, by its input and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import tracer

from .measure import Prepare, Row, at_most, race

SIZES, REPEATS = (20, 50, 100), 20
X = np.random.default_rng(0).standard_normal(SIZES[0])


def network(library: Any, parameters: Any, x: Any) -> Any:
    """Outputs `[100]` of an input `[20]`; `parameters` are weights and biases in turn."""
    *hidden, weight, bias = parameters
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        x = library.tanh(w @ x + b)
    return weight @ x + bias


def initial() -> list[np.ndarray]:
    """Random weights and biases."""
    rng = np.random.default_rng(1)
    shapes = [shape for n, m in pairwise(SIZES) for shape in ((m, n), (m,))]
    return [0.2 * rng.standard_normal(shape) for shape in shapes]


def rows() -> Iterator[Row]:
    """By the input, and by all parameters, in the way that each library offers."""
    parameters = initial()
    by_input = {
        "trace-net": lambda: partial(tracer.jacobian(partial(network, np, parameters)), X),
        "autograd": partial(_autograd_by_input, parameters),
        "PyTorch": partial(_torch_by_input, parameters),
    }
    yield _row("Jacobian `[100, 20]` by the input", by_input)
    by_parameters = {
        "trace-net": lambda: partial(tracer.jacobian(lambda p: network(np, p, X)), parameters),
        "autograd": partial(_autograd_by_parameters, parameters),
        "PyTorch": partial(_torch_by_parameters, parameters),
    }
    yield _row("Jacobian `[100, 6150]` by the parameters", by_parameters)


def _row(what: str, runners: Mapping[str, Prepare]) -> Row:
    seconds = race(runners, REPEATS)
    return Row(what, 1e-3, seconds, at_most(1 / 5, seconds["autograd"], "autograd / 5"))


def _autograd_by_input(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    return partial(autograd.jacobian(partial(network, autograd.numpy, parameters)), X)


def _autograd_by_parameters(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import autograd
    import autograd.numpy
    from autograd.misc import flatten

    vector, unflatten = flatten(parameters)
    return partial(autograd.jacobian(lambda p: network(autograd.numpy, unflatten(p), X)), vector)


def _torch_by_input(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import torch

    tensors = [torch.tensor(p) for p in parameters]
    return partial(torch.func.jacrev(partial(network, torch, tensors)), torch.tensor(X))


def _torch_by_parameters(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import torch

    tensors, x = tuple(torch.tensor(p) for p in parameters), torch.tensor(X)
    return partial(torch.func.jacrev(lambda p: network(torch, p, x)), tensors)
