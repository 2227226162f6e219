"""The cotangent of what is added, scaled or moved, element by element: a bias, a position table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from tracer.arrays import backend
from tracer.arrays.compiled import compiled
from tracer.arrays.types import Array, Present, Shape, Signs, Some, Stack
from tracer.cotangents.base import Cotangent, Dense
from tracer.cotangents.contractions import indexed, picked, second_moment, squared_norms_of
from tracer.cotangents.gather import Gather
from tracer.cotangents.kronecker import Kronecker
from tracer.cotangents.present import of_each_use, side_by_side


class Summed(Cotangent):
    """`U[v, n] = sum_t terms[v, n, t]`: a bias, used T times by each sample.

    `terms [V, N, T, *p]`. A parameter with several axes longer than one is a table of K rows, which
    lie on the last of those: for Kronecker factors, each of the T looks up all of its rows in turn.
    `present [N, T * K]` says which of these uses are there, where sequences are padded; None: all.
    """

    def __init__(self, terms: Stack, present: Present = None):
        self.terms = terms
        self.present = present
        self.rows, self.samples = terms.shape[:2]
        self.shape = tuple(terms.shape[3:])
        self.dtype = terms.dtype
        self._dense: Array | None = None

    @property
    def _source(self) -> Array | None:
        return self.terms

    def kind(self) -> object:
        return Summed, self.shape

    def per_sample(self) -> Array:
        if self._dense is None:
            self._dense = self.terms[:, :, 0] if self.terms.shape[2] == 1 else self._added_up()
        return self._dense

    def _added_up(self) -> Array:
        """The sum over uses, of a layer's channels by a compiled kernel if one runs."""
        if len(self.shape) == 1 and type(self.terms) is np.ndarray:
            lines = self.terms.reshape(-1, *self.terms.shape[2:])
            sums = compiled().sum_channels(lines.swapaxes(1, 2), 1)
            if sums is not None:
                return sums.reshape(self.rows, self.samples, *self.shape)
        return self.terms.sum(2)

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Summed:
        present = None if self.present is None else indexed(self.present, (), samples)
        return Summed(picked(self.terms, rows, samples), present)

    def among(self, present: Present) -> Summed:
        return Summed(self.terms, of_each_use(self, present))

    def _stacked(self, other: Self) -> Summed:
        return Summed(np.concatenate([self.terms, other.terms]), self.present)

    def _merge(self, others: Sequence[Self]) -> Summed:
        terms = np.concatenate([self.terms, *(other.terms for other in others)], 2)
        return Summed(terms, side_by_side([self, *others], axis=1))

    def _total(self) -> Stack:
        return self.terms.sum((1, 2))

    def _squared_norms(self) -> Array:
        return squared_norms_of(self.per_sample())

    def _sum_of_squares(self, signs: Signs) -> Array:
        return Dense(self.per_sample())._sum_of_squares(signs)

    # -- moved elements -------------------------------------------------------------------------

    def moved(self, pull: Callable[[Stack], Stack], shape: Shape) -> Summed:
        """What an input of `shape` has of an operation whose output has this.

        `pull` takes stacks `[K, *p]` to `[K, *shape]`, or to a shape that `shape` broadcasts to:
        then each place on the axes of that is one more use. It adds no two elements.
        """
        terms = _pulled(self.terms, self.shape, pull, shape)
        if self.present is None:
            return Summed(terms)
        lead = self.samples, self.terms.shape[2]
        there = self.present.reshape(*lead, -1, 1)
        there = np.broadcast_to(there, (*there.shape[:-1], self._width)).reshape(*lead, *self.shape)
        there = _pulled(there[None].astype(self.dtype), self.shape, pull, shape)[0] != 0
        moved = Summed(terms)
        moved.present = there.reshape(self.samples, moved.uses, -1).any(-1)
        return moved

    # -- Kronecker factors ----------------------------------------------------------------------

    def role(self) -> str:
        return "as a sum or scale"

    def use_terms(self) -> Summed:
        return self

    @property
    def _long_axes(self) -> list[int]:
        return [n for n in self.shape if n != 1]

    @property
    def _width(self) -> int:
        """Length of a row."""
        return self._long_axes[-1] if self._long_axes else 1

    @property
    def uses(self) -> int:
        """Rows that a sample looks up, T * K."""
        return self.terms.shape[2] * (math.prod(self.shape) // max(1, self._width))

    def as_table(self, width: int | None = None) -> Gather | None:
        width = width or self._width
        entries, left = divmod(math.prod(self.shape), max(1, width))
        if left or not entries:
            return None
        uses = self.terms.shape[2] * entries
        right = self.terms.reshape(self.rows, self.samples, uses, width)
        index = backend.namespace(self.terms).arange(right.shape[2]) % entries
        table = Gather(np.broadcast_to(index, right.shape[1:3]), right, self.shape)
        return table if self.present is None else table.among(self.present)

    def _kronecker(self, sharing: str) -> Kronecker:
        """One factor where one axis is longer than one; else those of a table."""
        if len(self._long_axes) > 1:
            table = self.as_table()
            return super()._kronecker(sharing) if table is None else table._kronecker(sharing)
        b = self.terms if sharing == "expand" else self.per_sample()
        width = math.prod(self.shape)
        b = b.reshape(b.size // width if width else 0, width)
        return Kronecker((second_moment(b),), self.shape)


def _pulled(
    terms: Stack, old: tuple[int, ...], pull: Callable[[Stack], Stack], shape: Shape
) -> Stack:
    """`terms [V, N, T, *old]` pulled to `[V, N, T', *shape]`."""
    rows, samples, uses = terms.shape[:3]
    pulled = pull(terms.reshape(rows * samples * uses, *old))
    pulled = pulled.reshape(rows, samples, uses, *pulled.shape[1:])
    return pulled if pulled.shape[3:] == shape else _with_uses(pulled, shape)


def broadcast_uses(stack: Stack, axis: int, shape: Shape) -> Summed:
    """What an input of `shape` has that was broadcast over samples: a use for each other place.

    `stack [V, *output]` is what reaches it, before it is summed, with the samples on `axis`.
    """
    own = axis + len(shape) - (stack.ndim - 1)
    rest = tuple(n for i, n in enumerate(shape) if i != own)
    terms = _with_uses(np.moveaxis(stack, 1 + axis, 1)[:, :, None], rest)
    return Summed(terms.reshape(*terms.shape[:3], *shape))


def _with_uses(terms: Stack, shape: Shape) -> Array:
    """`[V, N, T, *output]` as `[V, N, T', *shape]`: places that this was broadcast to are uses."""
    *first, uses = terms.shape[:3]
    output = terms.shape[3:]
    lead = len(output) - len(shape)
    along = [i for i, n in enumerate(output) if i < lead or shape[i - lead] == 1 != n]
    kept = [i for i in range(len(output)) if i not in along]
    moved = np.transpose(terms, [0, 1, 2, *(3 + i for i in along), *(3 + i for i in kept)])
    return moved.reshape(*first, uses * math.prod(output[i] for i in along), *shape)


def looked_up(cotangent: Cotangent, rows: Array, shape: Shape) -> Gather | None:
    """What a table of `shape [*K, D]` has, where `cotangent` is of rows of it, or None.

    `rows` are ints, the rows' places in `[K]`, of the shape of the output but for its last axis. It
    is not None where each use of the output is one of the table.
    """
    if isinstance(cotangent, Gather):  # rows of rows
        table = Gather(rows.reshape(-1)[cotangent.index], cotangent.right, shape)
        table.present = cotangent.present
        return table
    terms = cotangent.use_terms()
    if terms is None:
        return None
    count = terms.terms.shape[2] * rows.size
    right = terms.terms.reshape(terms.rows, terms.samples, count, shape[-1])
    index = np.broadcast_to(rows.reshape(-1), (terms.terms.shape[2], rows.size)).reshape(-1)
    table = Gather(np.broadcast_to(index, (terms.samples, count)), right, shape)
    return table if terms.present is None else table.among(terms.present)
