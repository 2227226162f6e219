"""The optimisers that are compared, and the grids that they are tuned over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import tracer_training as training

#: decades of learning rates and damping, as in the paper, appendix C.2
RATES = tuple(10.0**k for k in range(-4, 1))
DAMPINGS = tuple(10.0**k for k in range(-4, 2))
#: optimisers without damping are cheap: half decades, where the paper draws rates at random
FINE_RATES = tuple(10.0 ** (k / 2) for k in range(-8, 1))


@dataclass(frozen=True)
class Choice:
    """A learning rate, and the damping of a method that has one."""

    lr: float
    damping: float | None = None

    def __str__(self) -> str:
        return f"lr={self.lr:.4g}" + ("" if self.damping is None else f",damping={self.damping:g}")


@dataclass(frozen=True)
class Method:
    """An optimiser: how it is called, its curvature if it has one, and the paper's best choices."""

    name: str
    label: str
    curvature: str | None
    paper: dict[str, Choice] = field(default_factory=dict, hash=False)

    def grid(self, every: int = 1) -> Iterator[Choice]:
        """What it is tuned over; of the decades, each so many-th, from the middle."""
        if self.curvature is None:
            return (Choice(lr) for lr in thinned(FINE_RATES, every))
        pairs = itertools.product(thinned(RATES, every), thinned(DAMPINGS, every))
        return (Choice(lr, damping) for lr, damping in pairs)

    def optimizer(self, groups: list[dict[str, Any]], choice: Choice) -> training.Optimizer:
        """The optimiser of these groups of parameters.

        Curvature is a running mean over all batches so far, as in the paper's code.
        """
        if self.name == "sgd":
            return training.SGD(groups, lr=choice.lr, momentum=0.9)
        if self.name == "adam":
            return training.Adam(groups, lr=choice.lr)
        assert self.curvature is not None
        assert choice.damping is not None
        return training.DampedNewton(
            groups, self.curvature, lr=choice.lr, damping=choice.damping, average=1.0
        )


def thinned(values: Sequence[float], every: int) -> tuple[float, ...]:
    """Each so many-th value, such that the one in the middle is among them, of two the lower.

    A coarse grid of rates and damping has pairs of equal ones then: where damping is much of the
    curvature, these are gradient steps of length one, and the paper's best choices are mostly such.
    """
    return tuple(values[(len(values) - 1) // 2 % every :: every])


def _damped(name: str, label: str, **paper: tuple[float, float]) -> Method:
    return Method(name, label, name, {problem: Choice(*best) for problem, best in paper.items()})


def _first_order(name: str, label: str, **paper: float) -> Method:
    return Method(name, label, None, {problem: Choice(lr) for problem, lr in paper.items()})


METHODS = {
    method.name: method
    for method in (
        _first_order(
            *("sgd", "Momentum"),
            mnist_logreg=2.07e-2,
            fmnist_2c2d=2.07e-2,
            cifar10_3c3d=3.79e-3,
            cifar100_allcnnc=4.83e-1,
        ),
        _first_order(
            *("adam", "Adam"),
            mnist_logreg=2.98e-4,
            fmnist_2c2d=1.27e-4,
            cifar10_3c3d=2.98e-4,
            cifar100_allcnnc=6.95e-4,
        ),
        _damped(
            *("diag_ggn_exact", "DiagGGN"),
            mnist_logreg=(1e-3, 1e-3),
            fmnist_2c2d=(1e-4, 1e-4),
            cifar10_3c3d=(1e-3, 1e-2),
        ),
        _damped(
            *("diag_ggn_mc", "DiagGGN-MC"),
            mnist_logreg=(1e-3, 1e-3),
            fmnist_2c2d=(1e-4, 1e-4),
            cifar10_3c3d=(1e-3, 1e-2),
            cifar100_allcnnc=(1e-3, 1e-3),
        ),
        _damped(
            *("kfac", "KFAC"),
            mnist_logreg=(1e-2, 1e-2),
            fmnist_2c2d=(1e-3, 1e-3),
            cifar10_3c3d=(1.0, 10.0),
            cifar100_allcnnc=(1.0, 1.0),
        ),
        _damped(
            *("kflr", "KFLR"),
            mnist_logreg=(1e-2, 1e-2),
            fmnist_2c2d=(1e-2, 1e-3),
            cifar10_3c3d=(1.0, 10.0),
        ),
        _damped("kfra", "KFRA", mnist_logreg=(1e-2, 1e-2)),
    )
}
