"""What recording costs, per operation on arrays of three elements, above NumPy's own call."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

import tracer

from .measure import Goal, Row, race

LENGTH, REPEATS = 1000, 100
#: what any operation is to cost above NumPy's call in the end, in seconds
AIM = 1e-6
X, C, MASK = np.array([0.1, 0.2, 0.3]), np.ones(3), np.array([True, True, False])

#: given a library's namespace, the function of two arrays that is measured in it
Choose = Callable[[Any], Callable[[Any, Any], Any]]


def _tanh(library: Any) -> Callable[[Any, Any], Any]:
    return lambda x, c: library.tanh(x)


def _where(library: Any) -> Callable[[Any, Any], Any]:
    mask = library.tensor(MASK) if library.__name__ == "torch" else MASK
    return lambda x, c: library.where(mask, x, c)


#: what is measured: the function, and how much it may cost above NumPy's call, in seconds
OPERATIONS: dict[str, tuple[Choose, float]] = {
    "record `x * c`": (lambda library: operator.mul, 1.5e-6),
    "record `x + c`": (lambda library: operator.add, 1.5e-6),
    "record `np.tanh(x)`": (_tanh, 2.5e-6),
    "record `np.where(mask, x, c)`": (_where, 2.5e-6),
}


def rows() -> Iterator[Row]:
    """A row per operation."""
    for what, (choose, allowance) in OPERATIONS.items():
        runners = {
            "NumPy": partial(_numpy, choose),
            "trace-net": partial(_ours, choose),
            "autograd": partial(_autograd, choose),
            "MyGrad": partial(_mygrad, choose),
            "PyTorch": partial(_torch, choose),
        }
        seconds = race(runners, REPEATS, LENGTH)
        yield Row(what, 1e-6, seconds, above_numpy(seconds, allowance, AIM))


def above_numpy(seconds: Mapping[str, float | str], *allowances: float) -> tuple[Goal, ...]:
    """Goals that are seconds above NumPy's own."""
    numpy = seconds["NumPy"]
    assert isinstance(numpy, float)
    return tuple(Goal(numpy + more, f"NumPy + {more * 1e6:g}") for more in allowances)


def chain(function: Callable[[Any, Any], Any], x: Any, c: Any) -> Any:
    """`LENGTH` operations, one after the other."""
    for _ in range(LENGTH):
        x = function(x, c)
    return x


def _numpy(choose: Choose) -> Callable[[], Any]:
    return partial(chain, choose(np), X, C)


def _ours(choose: Choose) -> Callable[[], Any]:
    function, x = choose(np), tracer.parameter(X)

    def record() -> Any:
        with tracer.Tape() as tape:
            return tape, chain(function, x, C)

    return record


def _autograd(choose: Choose) -> Callable[[], Any]:
    import autograd
    import autograd.numpy

    function = choose(autograd.numpy)
    return partial(autograd.make_vjp(lambda x: chain(function, x, C)), X)


def _mygrad(choose: Choose) -> Callable[[], Any]:
    import mygrad

    return partial(chain, choose(mygrad), mygrad.tensor(X), C)


def _torch(choose: Choose) -> Callable[[], Any]:
    import torch

    return partial(chain, choose(torch), torch.tensor(X, requires_grad=True), torch.tensor(C))
