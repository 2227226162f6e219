"""Cotangents where samples have none of their own, or none that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from tracer.arrays.types import Array, Signs, Some, Stack
from tracer.cotangents.base import Cotangent, Dense
from tracer.cotangents.contractions import accumulate, picked
from tracer.cotangents.kronecker import Kronecker, NoFactors


class Coupled(Cotangent):
    """Masked rows, where samples are coupled: each sample's cotangent is a total over all samples.

    `inner` has `V * slots` rows, a row per sample after each other.
    Its own structure survives, so that Kronecker factors do: of rows at all samples and uses.
    """

    def __init__(self, inner: Cotangent, slots: int):
        self.inner = inner
        self.rows, self.samples = inner.rows // slots, slots
        self.shape, self.dtype = inner.shape, inner.dtype

    @property
    def _source(self) -> Array | None:
        return self.inner._source

    def kind(self) -> object:
        return Coupled, self.samples, self.inner.kind()

    def within(self, budget: int | None) -> Coupled:
        self.budget = budget
        self.inner.within(budget)
        return self

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Coupled:
        every = np.arange(self.rows * self.samples).reshape(self.rows, self.samples)
        chosen = every[rows][:, samples]
        return Coupled(self.inner.select(chosen.reshape(-1)), chosen.shape[1]).within(self.budget)

    def _stacked(self, other: Self) -> Coupled:
        return Coupled(self.inner.stacked(other.inner), self.samples)

    def _merge(self, others: Sequence[Self]) -> Coupled:
        return Coupled(self.inner.combine([other.inner for other in others]), self.samples)

    def per_sample(self) -> Array:
        return self.inner.total().reshape(self.rows, self.samples, *self.shape)

    def _sum_of_squares(self, signs: Signs) -> Array:
        return Dense(self.per_sample())._sum_of_squares(signs)

    def role(self) -> str:
        return self.inner.role()

    def _kronecker(self, sharing: str) -> Kronecker:
        return self.inner._kronecker(sharing)


class Unfollowed(Dense):
    """The array of what is used where no axis of samples is known, whatever it is used for.

    `where` says so, as the end of a sentence on the parameter that "is used".
    """

    def __init__(self, array: Stack, where: str):
        super().__init__(array)
        self.where = where

    def role(self) -> str:
        return self.where

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Unfollowed:
        return Unfollowed(picked(self.array, rows, samples), self.where)

    def _merge(self, others: Sequence[Self]) -> Unfollowed:
        return Unfollowed(accumulate([self.array, *(other.array for other in others)]), self.where)

    def _kronecker(self, sharing: str) -> Kronecker:
        if len(self.shape) > 1:
            raise NoFactors(self.shape, f"is used {self.where}")
        return self._whole_block()
