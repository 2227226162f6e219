"""Kinds of rows that a sweep propagates: stacks of cotangents that start at the loss.

A quantity names the kind that it needs; rows of all kinds asked for go through one sweep together.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NoReturn, Protocol

import numpy as np

from tracer import guarded, registry
from tracer.arrays.dtypes import widened
from tracer.arrays.types import Array, Generator, Shape, Stack
from tracer.curvature.seed_rows import SeedRows
from tracer.errors import QuantityError, TracingError
from tracer.record.node import Node


class Term(Protocol):
    """What rows start at, and `Rows.start` is given: a loss in the objective, or the outputs.

    An objective has one term for each of its registered losses, or one at `outputs=`; a model's
    outputs by themselves are one.
    """

    node: Node
    """The loss's node, or that of the outputs. The loss is `node.op`, its options `node.params`,
    and `node.inputs` the arrays that its rules read: predictions, targets, weights."""

    @property
    def prediction(self) -> Node:
        """The node of what the loss judges, or of the outputs, at which rows start."""

    @property
    def sample_axis(self) -> int:
        """The axis of the samples in the prediction; 0 where it is of none."""

    @property
    def weight(self) -> Array:
        """What registered losses weigh in the objective, of their shape.

        Raises `QuantityError` where one is negative, which has no square root.
        """

    def identity(self) -> SeedRows:
        """`[C, *prediction]`: row c is one at element c of every sample, and zero elsewhere."""

    def root(self, *rules: str) -> SeedRows:
        """`[C, *prediction]`, whose outer products sum to the Hessian, weight included.

        `rules` are those of the loss, the first of which that it has is taken: "sqrt_hessian", or
        "short_sqrt_hessian" with fewer rows. For a loss in plain code it is made from the record.
        """

    def sqrt_hessian_sampled(self, samples: int, rng: Generator | None) -> Stack:
        """`[M, *prediction]`: the same in expectation, from M `samples` of the likelihood.

        Raises `QuantityError` for a loss without one.
        """


class Rows:
    """A kind of rows. `start` gives those of one loss, at the prediction that it judges.

    Kinds are equal if they are of one class and configured alike.
    """

    name: str = "rows"
    #: the name, if another plugin has it and this kind is to stand in its place
    replaces: str | tuple[str, ...] = ()
    #: how many targets are sampled
    samples: int = 0
    #: whether their squares sum to the Gauss-Newton matrix, be it in expectation
    of_gauss_newton = False
    #: whether they start at the model's outputs whatever a loss makes of these, so that none is
    #: needed: `tape.backward(outputs, ...)` takes a tensor of any size
    of_outputs = False

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "start" in vars(cls) and not cls.__module__.startswith(registry.BUNDLED):
            cls.start = guarded.blaming(cls.start, "start")  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)  # kinds are looked up often, and seldom differ in more

    def start(self, term: Term, rng: Generator | None) -> Stack | SeedRows:
        """`[R, *prediction.shape]` for one term of the objective, an array or `SeedRows`.

        `rng` is what the caller of `backward` gave, or None.
        """
        raise QuantityError(f"rows {self.name!r} define no start")


registry.rows.holds(Rows)


class Gradient(Rows):
    """One row: the derivative of the objective. It starts at the objective itself."""

    name = "gradient"

    def __call__(self, *_: object) -> NoReturn:
        raise TracingError(
            "tracer.gradient is rows that a quantity reads, no function; the gradient of a "
            "function is `tracer.grad(function)`, that of a loss `tape.backward(loss)`"
        )


class GGNExact(Rows):
    """Rows `s_c` with `sum_c s_c s_c^T` the Hessian of the loss by the prediction, per sample.

    They are as few as the loss knows: C - 1 for the softmax of C classes.
    """

    name = "ggn_exact"
    of_gauss_newton = True

    def start(self, term: Term, rng: Generator | None) -> Stack | SeedRows:
        return term.root("short_sqrt_hessian", "sqrt_hessian")


class GGNOutputs(GGNExact):
    """The same, one row for each element of a sample's prediction.

    Where these are asked for, too, they serve quantities of `ggn_exact` rows as well.
    """

    name = "ggn_outputs"

    def start(self, term: Term, rng: Generator | None) -> Stack | SeedRows:
        return term.root("sqrt_hessian")


class GGNMonteCarlo(Rows):
    """The same in expectation: gradients at targets sampled from the model's likelihood."""

    name = "ggn_mc"
    of_gauss_newton = True

    def __init__(self, samples: int = 1):
        if not isinstance(samples, int) or samples < 1:
            raise QuantityError(f"mc_samples is a positive int, got {samples!r}")
        self.samples = samples

    def start(self, term: Term, rng: Generator | None) -> Stack | SeedRows:
        return term.sqrt_hessian_sampled(self.samples, rng)


class GGNAveraged(GGNExact):
    """Rows of the Gauss-Newton matrix averaged over samples after each operation.

    At every tensor of a chain the rows are replaced by a square root, the same for all samples, of
    their mean outer product (Botev, Ritter and Barber 2017, equation 20).
    """

    name = "ggn_averaged"

    @classmethod
    def average(cls, stack: Stack, axis: int) -> Stack:
        """`[V, *y]` as `[D, *y]` with equal rows for all samples on `axis`, D elements each."""
        return cls.root(cls.square(stack, axis), stack.shape[1:], axis)

    @staticmethod
    def square(stack: Stack, axis: int) -> Array:
        """`[D, D]`: the outer products of rows `[V, *y]`, summed over rows and samples."""
        moved = np.moveaxis(stack, 1 + axis, 1)
        flat = moved.reshape(moved.shape[0] * moved.shape[1], math.prod(moved.shape[2:]))
        return flat.T @ flat

    @classmethod
    def root(cls, square: Array, shape: Shape, axis: int) -> Stack:
        """`[D, *y]`, a view with equal rows for all samples, from that sum."""
        samples, rest = shape[axis], [n for i, n in enumerate(shape) if i != axis]
        rows = _rows_of(square) / np.sqrt(max(1, samples)).astype(square.dtype)
        same = np.broadcast_to(rows.reshape(-1, 1, *rest), (len(rows), samples, *rest))
        return np.moveaxis(same, 1, 1 + axis)

    @classmethod
    def packed(cls, square: Array, shape: Shape, axis: int) -> Stack:
        """`[D / N, *y]`, rounded up: the same sum from D rows, each of which one sample has.

        It serves where rows are mapped alike in all samples, and only meet each other.
        """
        samples, rest = shape[axis], [n for i, n in enumerate(shape) if i != axis]
        rows = _rows_of(square)
        stacks = -(-len(rows) // samples)
        full = np.zeros_like(rows, shape=(stacks * samples, rows.shape[1]))
        full[: len(rows)] = rows
        return np.moveaxis(full.reshape(stacks, samples, *rest), 1, 1 + axis)


def _rows_of(square: Array) -> Array:
    """`[R, D]`, rows whose outer products sum to a positive semidefinite matrix `[D, D]`.

    By Cholesky, in double precision and with a shift of its rounding, which takes a tenth of the
    time of eigenvectors: 1,000 elements take 20 ms in place of 200. Those serve where it fails.
    """
    if type(square) is np.ndarray and len(square):
        exact = square.astype(np.float64)
        shift = np.finfo(np.float64).eps * len(exact) * exact.diagonal().max()
        with contextlib.suppress(np.linalg.LinAlgError):
            lower = np.linalg.cholesky(exact + shift * np.eye(len(exact)))
            return lower.T.astype(square.dtype)
    values, vectors = np.linalg.eigh(widened(square))
    return (vectors * np.sqrt(np.maximum(values, 0))).T


class Jacobian(Rows):
    """Row c is `df_nc / dp`: one for each of the C elements of a sample's outputs `f_n`.

    They are in row-major order, the samples' axis left out. No weight of a loss is in them. Of
    several losses, the predictions follow each other, in the order of the record.
    """

    name = "jacobian"
    of_outputs = True

    def start(self, term: Term, rng: Generator | None) -> Stack | SeedRows:
        return term.identity()


class Hessian(Rows):
    """Signed rows whose squares sum to the Hessian: they start at every operation that bends."""

    name = "hessian"


class HessianEigenvectors(Hessian):
    """The same, each an eigenvector of what one operation adds for a sample, with its sign.

    For quantities that read the signs. The matrices that these are the eigenvectors of are made
    whole, whatever the memory budget.
    """

    name = "hessian_eigenvectors"


gradient = Gradient()
ggn_exact = GGNExact()
ggn_outputs = GGNOutputs()
ggn_mc = GGNMonteCarlo
ggn_averaged = GGNAveraged()
jacobian = Jacobian()
hessian = Hessian()
hessian_eigenvectors = HessianEigenvectors()

#: what the core registers through `register_rows`
BUNDLED = [
    *(gradient, ggn_exact, ggn_outputs, GGNMonteCarlo(), ggn_averaged),
    *(jacobian, hessian, hessian_eigenvectors),
]
