"""The Jacobian of a small network's 100 outputs at one sample, by its input and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

import tracer

from .measure import Row, best, peers

SIZES, REPEATS = (20, 50, 100), 15
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
    pairs = pairwise(SIZES)
    return [0.2 * rng.standard_normal(shape) for n, m in pairs for shape in ((m, n), (m,))]


def rows() -> Iterator[Row]:
    """By the input, and by all parameters, in the way that each library offers."""
    parameters = initial()
    by_input = tracer.jacobian(lambda x: network(np, parameters, x))
    yield _row(
        "Jacobian `[100, 20]` by the input",
        lambda: lambda: by_input(X),
        {"autograd": lambda: _autograd_by_input(parameters),
         "PyTorch": lambda: _torch_by_input(parameters)},
    )  # fmt: skip
    by_parameters = tracer.jacobian(lambda p: network(np, p, X))
    yield _row(
        "Jacobian `[100, 6150]` by the parameters",
        lambda: lambda: by_parameters(parameters),
        {"autograd": lambda: _autograd_by_parameters(parameters),
         "PyTorch": lambda: _torch_by_parameters(parameters)},
    )  # fmt: skip


def _row(what: str, ours: Callable[[], Any], others: dict[str, Callable[[], Any]]) -> Row:
    seconds = {
        "trace-net": best(ours, REPEATS),
        **peers({name: lambda p=p: best(p, REPEATS) for name, p in others.items()}),
    }
    peer = seconds["autograd"]
    return Row(what, 1e-3, seconds, None if peer is None else peer / 5, "autograd / 5")


def _autograd_by_input(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    function = autograd.jacobian(lambda x: network(autograd.numpy, parameters, x))
    return lambda: function(X)


def _autograd_by_parameters(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import autograd
    import autograd.numpy
    from autograd.misc import flatten

    vector, unflatten = flatten(parameters)
    function = autograd.jacobian(lambda p: network(autograd.numpy, unflatten(p), X))
    return lambda: function(vector)


def _torch_by_input(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import torch

    tensors, x = [torch.tensor(p) for p in parameters], torch.tensor(X)
    function = torch.func.jacrev(lambda x: network(torch, tensors, x))
    return lambda: function(x)


def _torch_by_parameters(parameters: list[np.ndarray]) -> Callable[[], Any]:
    import torch

    tensors, x = tuple(torch.tensor(p) for p in parameters), torch.tensor(X)
    function = torch.func.jacrev(lambda p: network(torch, p, x))
    return lambda: function(tensors)
