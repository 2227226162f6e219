"""The cotangent of a parameter whose elements are put elsewhere before they are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Self

import numpy as np

from tracer.arrays.types import Array, Present, Shape, Signs, Some, Stack
from tracer.cotangents.base import Cotangent
from tracer.cotangents.kronecker import Factors, Kronecker


class Reindexed(Cotangent):
    """Another cotangent, its elements put elsewhere: what a transposed or sliced weight has.

    `pull` takes stacks `[K, *inner.shape]` to `[K, *shape]`, each element to one place; `push`
    takes a direction `[*shape]` back. Cotangents with equal `key` merge. Where `factors` is given,
    it takes the Kronecker factors of the inner one to those of `shape`.
    """

    def __init__(
        self,
        inner: Cotangent,
        shape: Shape,
        pull: Callable[[Stack], Stack],
        push: Callable[[Array], Array],
        key: Hashable,
        factors: Callable[[Factors], Factors] | None = None,
    ):
        self.inner = inner
        self.shape = tuple(shape)
        self.pull = pull
        self.push = push
        self.key = key
        self.factors = factors
        self.rows, self.samples, self.dtype = inner.rows, inner.samples, inner.dtype

    @property
    def _source(self) -> Array | None:
        return self.inner._source

    def kind(self) -> object:
        return Reindexed, self.key, self.shape, self.inner.kind()

    def within(self, budget: int | None) -> Cotangent:
        self.inner.within(budget)
        return super().within(budget)

    def scaled(self, weights: Array | float) -> Reindexed:
        return self.around(self.inner.scaled(weights))

    def places(self) -> Array:
        return self.pull(np.ones((1, *self.inner.shape)))[0]

    def around(self, inner: Cotangent) -> Reindexed:
        """The same around another cotangent."""
        like = self.shape, self.pull, self.push, self.key, self.factors
        return Reindexed(inner.within(self.budget), *like)

    def among(self, present: Present) -> Reindexed:
        return self.around(self.inner.among(present))

    def _stacked(self, other: Self) -> Reindexed:
        return self.around(self.inner.stacked(other.inner))

    def _joined(self, other: Self) -> Reindexed:
        return self.around(self.inner.beside(other.inner))

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Reindexed:
        return self.around(self.inner.select(rows, samples))

    def _merge(self, others: Sequence[Self]) -> Reindexed:
        return self.around(self.inner.combine([other.inner for other in others]))

    def per_sample(self) -> Array:
        inner = self.inner.per_sample()
        pulled = self.pull(inner.reshape(self.rows * self.samples, *self.inner.shape))
        return pulled.reshape(self.rows, self.samples, *self.shape)

    def _total(self) -> Stack:
        return self.pull(self.inner.total())

    def _squared_norms(self) -> Array:
        return self.inner.squared_norms()

    def _sum_of_squares(self, signs: Signs) -> Array:
        return self.pull(self.inner.sum_of_squares(signs)[None])[0]

    def _per_sample_squares(self, signs: Signs) -> Array:
        return self.pull(self.inner.per_sample_squares(signs))

    def _gram(self) -> Array:
        return self.inner.gram()

    def _project(self, direction: Array) -> Array:
        return self.inner.project(self.push(direction))

    def role(self) -> str:
        return self.inner.role()

    def use_terms(self) -> Any:
        inner = self.inner.use_terms()
        if inner is None:
            return None
        if math.prod(inner.shape) < math.prod(self.shape):
            inner = inner.among(inner.present)  # what lies beside a slice is not used
        return inner.moved(self.pull, self.shape)

    def as_table(self, width: int | None = None) -> Cotangent | None:
        terms = self.use_terms()
        return None if terms is None else terms.as_table(width)

    def _kronecker(self, sharing: str) -> Kronecker:
        inner = self.inner._kronecker(sharing)
        if self.factors is not None:
            return Kronecker(self.factors(inner.factors), self.shape)
        return Kronecker(inner.factors, self.shape, pull=lambda stack: self.pull(inner.pull(stack)))
