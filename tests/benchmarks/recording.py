"""What recording costs, per operation on arrays of three elements, above NumPy's own call."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tracer

from .measure import Row, best, peers

LENGTH, REPEATS = 1000, 40
X, C, MASK = np.array([0.1, 0.2, 0.3]), np.ones(3), np.array([True, True, False])

#: what is measured -> (the allowance above NumPy in seconds, the function in a library's namespace)
OPERATIONS: dict[str, tuple[float, Callable[[Any], Callable[..., Any]]]] = {
    "record `x * c`": (1.5e-6, lambda library: operator.mul),
    "record `x + c`": (1.5e-6, lambda library: operator.add),
    "record `np.tanh(x)`": (2.5e-6, lambda library: lambda x, c: library.tanh(x)),
    "record `np.where(mask, x, c)`": (2.5e-6, lambda library: _where(library)),
}


def _where(library: Any) -> Callable[..., Any]:
    mask = library.tensor(MASK) if library.__name__ == "torch" else MASK
    return lambda x, c: library.where(mask, x, c)


def rows() -> Iterator[Row]:
    """A row per operation."""
    for what, (allowance, of) in OPERATIONS.items():
        numpy = best(lambda of=of: lambda: chain(of(np), X, C), REPEATS, LENGTH)
        ours = best(lambda of=of: lambda: record(of(np)), REPEATS, LENGTH)
        others = peers(
            {
                "autograd": lambda of=of: best(lambda: _autograd(of), REPEATS, LENGTH),
                "MyGrad": lambda of=of: best(lambda: _mygrad(of), REPEATS, LENGTH),
                "PyTorch": lambda of=of: best(lambda: _torch(of), REPEATS, LENGTH),
            }
        )
        seconds = {"NumPy": numpy, "trace-net": ours, **others}
        yield Row(what, 1e-6, seconds, numpy + allowance, f"NumPy + {allowance * 1e6:g}")


def chain(function: Callable[..., Any], x: Any, c: Any) -> Any:
    """`LENGTH` operations, one after the other."""
    for _ in range(LENGTH):
        x = function(x, c)
    return x


def record(function: Callable[..., Any]) -> Any:
    """The chain on a tape."""
    x = tracer.parameter(X)
    with tracer.Tape() as tape:
        return tape, chain(function, x, C)


def _autograd(of: Callable[[Any], Any]) -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    function = of(autograd.numpy)
    return lambda: autograd.make_vjp(lambda x: chain(function, x, C))(X)


def _mygrad(of: Callable[[Any], Any]) -> Callable[[], Any]:
    import mygrad

    function = of(mygrad)
    return lambda: chain(function, mygrad.tensor(X), C)


def _torch(of: Callable[[Any], Any]) -> Callable[[], Any]:
    import torch

    function, x, c = of(torch), torch.tensor(X, requires_grad=True), torch.tensor(C)
    return lambda: chain(function, x, c)
