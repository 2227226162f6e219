"""Blocks with damping added, decomposed once and solved with often.

On the host, factors are decomposed by Cholesky's method. Elsewhere they are inverted, for products
are what devices do best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, Shape, backend
from tracer_training.curvature.blocks import Block, pairs_of
from tracer_training.curvature.cholesky import cholesky, is_singular, solved

#: what the arrays of a solver are
CHOLESKY, INVERSE, DIAGONAL = "cholesky", "inverse", "diagonal"


@dataclass
class Solver:
    """`(block + damping)^-1`, as `damped` makes it.

    `arrays` are the damped diagonal, or of each factor the upper triangular `U` with `factor =
    U^T U`, or its inverse: `form` says which. `order` is the block's, `rest` the damping of
    elements that no factor is of.
    """

    shape: Shape
    form: str
    arrays: list[Array]
    order: Array | None
    rest: float

    def solve(self, vector: Array) -> Array:
        """The damped block's inverse times a vector of the parameter's shape."""
        if self.form == DIAGONAL:
            return vector / self.arrays[0]
        flat = vector.reshape(-1)
        sizes = [len(b) * (1 if a is None else len(a)) for b, a in pairs_of(self.arrays)]
        natural = flat if self.order is None else _natural(flat, self.order, sum(sizes))
        parts, start = [], 0
        for (b, a), size in zip(pairs_of(self.arrays), sizes, strict=True):
            part = natural[start : start + size].reshape(len(b), -1)
            part = part if a is None else self._by(a, part.T).T  # type: ignore[union-attr]
            parts.append(self._by(b, part).reshape(-1))
            start += size
        out = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.order is not None:
            out = np.where(self.order < 0, flat / (self.rest or 1), out[self.order])
        return out.reshape(self.shape)

    def _by(self, array: Array, matrix: Array) -> Array:
        """A factor's inverse times a matrix."""
        if self.form == INVERSE:
            return array @ matrix
        return solved(array, matrix)

    def saved(self) -> dict[str, object]:
        """What a state keeps of it."""
        return {
            "form": self.form,
            "solver": self.arrays,
            "order": self.order,
            "rest": self.rest,
        }


def solver_in(state: Mapping[str, object], shape: Shape) -> Solver | None:
    """The solver that a state keeps, if it does."""
    if state.get("solver") is None:
        return None
    return Solver(shape, *(state[key] for key in ("form", "solver", "order", "rest")))  # type: ignore[arg-type]


class Asked(NamedTuple):
    """A block to be damped and decomposed, and the parameter's name for messages."""

    block: Block
    damping: float
    name: str

    @property
    def cost(self) -> int:
        """Multiplications and additions, up to a constant: the factors' sizes cubed."""
        if self.block.is_diagonal:
            return 0
        return sum(len(factor) ** 3 for factor in self.block.arrays)


#: how all blocks of a step are decomposed
Decompose: TypeAlias = Callable[[Sequence[Asked]], list[Solver]]


def decomposed(asked: Sequence[Asked]) -> list[Solver]:
    """One after the other."""
    return [damped(*each) for each in asked]


def damped(block: Block, damping: float, name: str) -> Solver:
    """A block with `damping`, l, on its diagonal, ready to be solved with.

    A diagonal becomes `|diagonal| + l`, a single factor `B + l I`. Of a pair it is
    `B + sqrt(l) / pi I` and `A + pi sqrt(l) I`, with `pi^2 = (tr A / dim A) / (tr B / dim B)`
    (Martens and Grosse 2015, section 6.3). Raises `TracerError`, with the parameter's `name`, on
    the host for a block that is not finite or, damped, singular to rounding.
    """
    if not all(map(_is_finite, block.arrays)):
        raise TracerError(
            f"the curvature of {name!r} is not finite: the loss or the parameters have grown out "
            f"of bounds, so take a lower lr or more damping"
        )
    if block.is_diagonal:
        diagonal = abs(block.arrays[0]) + damping
        if not damping and type(diagonal) is np.ndarray and not diagonal.all():
            raise _singular(name, damping)
        return Solver(block.shape, DIAGONAL, [diagonal], None, damping)
    if block.order is not None and not damping and _has_rest(block):
        raise _singular(name, damping)
    form = CHOLESKY if type(block.arrays[0]) is np.ndarray else INVERSE
    arrays: list[Array] = []
    for b, a in pairs_of(block.arrays):
        if a is None:
            arrays.append(_decomposed(b, damping, form))
            continue
        pi, root = _balance(b, a), math.sqrt(damping)
        arrays += [_decomposed(b, root / pi, form), _decomposed(a, root * pi, form)]
    if form == CHOLESKY and any(map(is_singular, arrays)):
        raise _singular(name, damping)
    return Solver(block.shape, form, arrays, block.order, damping)


def _balance(b: Array, a: Array) -> Array:
    """pi; 1 where a factor is zero."""
    mean_b, mean_a = np.trace(b) / len(b), np.trace(a) / len(a)
    positive = (mean_b > 0) & (mean_a > 0)
    return np.sqrt(np.where(positive, mean_a, 1) / np.where(positive, mean_b, 1)).astype(b.dtype)


def _decomposed(factor: Array, damping: Array | float, form: str) -> Array:
    """The damped factor's `U`, zero below the diagonal, or its inverse."""
    if form == INVERSE:
        one = backend.namespace(factor).eye(len(factor), dtype=factor.dtype)
        return np.linalg.inv(factor + damping * one)
    whole = factor.copy()
    whole.flat[:: len(whole) + 1] += damping
    return cholesky(whole)


def _singular(name: str, damping: float) -> TracerError:
    return TracerError(
        f"the curvature of {name!r} is singular to rounding with a damping of {damping:g}: give "
        f"more damping, as {max(10 * damping, 1e-3):g}, a curvature of more samples, or, where the "
        f"loss grows, a smaller lr"
    )


def _is_finite(array: Array) -> bool:
    """Whether all elements are; of arrays on a device it is not asked, which would wait."""
    if type(array) is not np.ndarray:
        return True
    with np.errstate(all="ignore"):  # a sum is finite only where all are, and not always then
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def _has_rest(block: Block) -> bool:
    """Whether the parameter has more elements than its factors are of."""
    sizes = [len(b) * (1 if a is None else len(a)) for b, a in pairs_of(block.arrays)]
    return sum(sizes) < math.prod(block.shape)


def _natural(flat: Array, order: Array, size: int) -> Array:
    """The elements in the layout of the factors; those of no factor go where none is read."""
    places = backend.namespace(flat).zeros(size + 1, dtype=order.dtype)
    places[order] = backend.namespace(flat).arange(math.prod(flat.shape))
    return flat[places[:size]]
