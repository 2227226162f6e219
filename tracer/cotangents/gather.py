"""The cotangent of a table: rows that are added where an index says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Self

import numpy as np

from tracer import registry
from tracer.arrays import backend
from tracer.arrays.types import Array, Present, Shape, Signs, Some, Stack
from tracer.cotangents.base import Cotangent
from tracer.cotangents.contractions import indexed, picked, weighed
from tracer.cotangents.kronecker import Kronecker
from tracer.cotangents.present import of_each_use, side_by_side, used


class Gather(Cotangent):
    """A table's: `U[v, n, k] = sum over t with index[n, t] == k of right[v, n, t]`.

    `index [N, T]`, `right [V, N, T, D]`, `shape` is `(K, D)`, or another one whose elements in
    row-major order are those of K rows of D; `present` as of `Outer`.
    """

    def __init__(self, index: Array, right: Array, shape: Shape, present: Present = None):
        self.index = index.astype(np.int64, copy=False)  # positions are sums of multiples of it
        self.present = present
        self.right = right
        self.shape = tuple(shape)
        self.rows, self.samples, self.uses, self.width = right.shape
        self.entries = math.prod(self.shape) // max(1, self.width)
        self.row_width = self.width
        self.dtype = right.dtype

    @property
    def _source(self) -> Array | None:
        return self.right

    def kind(self) -> object:
        return Gather, self.shape, self.width

    def role(self) -> str:
        return "as a table of rows"

    def as_table(self, width: int | None = None) -> Gather | None:
        return self if width in (None, self.width) else None

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Gather:
        present = None if self.present is None else indexed(self.present, (), samples)
        index = indexed(self.index, (), samples)
        return Gather(index, picked(self.right, rows, samples), self.shape, present)

    def among(self, present: Present) -> Gather:
        return Gather(self.index, self.right, self.shape, of_each_use(self, present))

    def _stacked(self, other: Self) -> Gather:
        right = np.concatenate([self.right, other.right])
        return Gather(self.index, right, self.shape, self.present)

    def _merge(self, others: Sequence[Self]) -> Gather:
        index = np.concatenate([self.index, *(other.index for other in others)], 1)
        right = np.concatenate([self.right, *(other.right for other in others)], 2)
        return Gather(index, right, self.shape, side_by_side([self, *others], axis=1))

    def _flat(self) -> Array:
        """`[V, N * T, D]`."""
        return self.right.reshape(self.rows, self.samples * self.uses, self.width)

    def scaled(self, weights: Array | float) -> Gather:
        return Gather(self.index, weighed(self.right, weights), self.shape, self.present)

    def _summed_per_sample(self) -> tuple[Array, Array]:
        """Uses of the same entry by the same sample summed: values `[V, N, T, D]`, entry `[N, T]`.

        As many as there are uses, those that are left over being zero: on a device, how many are
        distinct is known only to it.
        """
        order = np.argsort(self.index, axis=1)
        sorted_index = np.take_along_axis(self.index, order, 1)
        starts = np.zeros_like(sorted_index)
        starts[:, 1:] = sorted_index[:, 1:] != sorted_index[:, :-1]
        place = np.take_along_axis(np.cumsum(starts, axis=1), np.argsort(order, axis=1), 1)
        place = (place + self.uses * _arange(place, self.samples)[:, None]).reshape(-1)
        entry = np.zeros_like(self.index.reshape(-1))
        entry[place] = self.index.reshape(-1)
        values = _sum_at(place, self._flat(), self.samples * self.uses)
        return values.reshape(self.right.shape), entry.reshape(self.index.shape)

    def per_sample(self) -> Array:
        dense = _sum_at(self._keys(), self._flat(), self.samples * self.entries)
        return dense.reshape(self.rows, self.samples, *self.shape)

    def _keys(self) -> Array:
        """`[N * T]`: positions in `[N, K]`."""
        first = self.entries * _arange(self.index, self.samples)[:, None]
        return (self.index + first).reshape(-1)

    def _total(self) -> Stack:
        total = _sum_at(self.index.reshape(-1), self._flat(), self.entries)
        return total.reshape(self.rows, *self.shape)

    def _sum_of_squares(self, signs: Signs) -> Array:
        values, entry = self._summed_per_sample()
        squares = weighed(values * values, signs).sum(0).reshape(-1, self.width)
        return _sum_at(entry.reshape(-1), squares, self.entries).reshape(self.shape)

    def _squared_norms(self) -> Array:
        values, _ = self._summed_per_sample()
        return np.einsum("vntd,vntd->vn", values, values)

    def _project(self, direction: Array) -> Array:
        rows = direction.reshape(self.entries, self.width)
        return np.einsum("vntd,ntd->vn", self.right, rows[self.index])

    def _kronecker(self, sharing: str) -> Kronecker:
        """The inputs are one-hot vectors; the factors refer to the weight as `[D, K]`."""
        entries, there = self.entries, self.present
        if there is None:
            there = np.ones_like(self.index, dtype=bool)
        if sharing == "expand":
            b = self._flat().reshape(self.rows * self.samples * self.uses, self.width)
            uses = there.astype(float).reshape(1, there.size)
            counts = _scatter(uses, self.index.reshape(-1), entries)[0]
            counts = counts / used(self, sharing)
            inputs = np.diag(counts)
        else:
            b = self.right.sum(2).reshape(self.rows * self.samples, self.width)
            share = there / np.maximum(there.sum(1, keepdims=True), 1)
            hot = _scatter(share.reshape(1, share.size), self._keys(), self.samples * entries)
            hot = hot.reshape(self.samples, entries)
            inputs = hot.T @ hot / used(self, sharing)
        return Kronecker(
            (b.T @ b, inputs.astype(self.dtype)),
            self.shape,
            pull=partial(_rows_first, entries=entries, shape=self.shape),
        )


def _rows_first(stack: Stack, entries: int, shape: Shape) -> Stack:
    """`[S, D * K]`, the weight as `[D, K]`, to `[S, *shape]` (no rows of the sweep are held)."""
    rows = np.swapaxes(stack.reshape(len(stack), -1, entries), 1, 2)
    return rows.reshape(len(stack), *shape)


def _arange(like: Array, count: int) -> Array:
    return backend.namespace(like).arange(count)


def _sum_at(positions: Array, values: Array, count: int) -> Array:
    """`[..., count, D]`: rows `values [..., M, D]` added where `positions [M]` say."""
    *lead, rows, width = values.shape
    places = positions[:, None] * width + _arange(positions, width)
    added = _scatter(
        values.reshape(math.prod(lead), rows * width), places.reshape(-1), count * width
    )
    return added.reshape(*lead, count, width)


def _scatter(values: Array, positions: Array, size: int) -> Array:
    """`[V, size]` with `values [V, K]` added at positions that may repeat (recorded if traced)."""
    if not len(values):
        return np.zeros_like(values, shape=(0, size))
    scatter = registry.operations["scatter_add"]
    return scatter(values, positions=positions, shape=(size,))
