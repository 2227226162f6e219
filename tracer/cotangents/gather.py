"""The cotangent of a table: rows that are added where an index says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer import backend, registry
from tracer.cotangents.base import Cotangent, indexed, picked, weighed
from tracer.cotangents.present import aligned, joined
from tracer.kronecker import Kronecker


class Gather(Cotangent):
    """A table's: `U[v, n, k] = sum over t with index[n, t] == k of right[v, n, t]`.

    `index [N, T]`, `right [V, N, T, D]`, `shape` is `(K, D)`; `present` as of `Outer`.
    """

    def __init__(self, index: Any, right: Any, shape: tuple[int, ...], present: Any = None):
        self.index = index.astype(np.int64, copy=False)  # positions are sums of multiples of it
        self.present = present
        self.right = right
        self.shape = tuple(shape)
        self.rows, self.samples, self.uses, self.width = right.shape
        self.dtype = right.dtype

    @property
    def _source(self) -> Any:
        return self.right

    def kind(self) -> Any:
        return Gather, self.shape

    def select(self, rows: slice = slice(None), samples: Any = slice(None)) -> Gather:
        present = None if self.present is None else indexed(self.present, (), samples)
        index = indexed(self.index, (), samples)
        return Gather(index, picked(self.right, rows, samples), self.shape, present)

    def among(self, present: Any) -> Gather:
        return Gather(self.index, self.right, self.shape, aligned(self, present))

    def _merge(self, others: Sequence[Any]) -> Gather:
        index = np.concatenate([self.index, *(other.index for other in others)], 1)
        right = np.concatenate([self.right, *(other.right for other in others)], 2)
        return Gather(index, right, self.shape, joined([self, *others], axis=1))

    def _flat(self) -> Any:
        """`[V, N * T, D]`."""
        return self.right.reshape(self.rows, self.samples * self.uses, self.width)

    def scaled(self, weights: Any) -> Gather:
        return Gather(self.index, weighed(self.right, weights), self.shape, self.present)

    def _summed_per_sample(self) -> tuple[Any, Any]:
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

    def per_sample(self) -> Any:
        entries, width = self.shape
        dense = _sum_at(self._keys(), self._flat(), self.samples * entries)
        return dense.reshape(self.rows, self.samples, entries, width)

    def _keys(self) -> Any:
        """`[N * T]`: positions in `[N, K]`."""
        first = self.shape[0] * _arange(self.index, self.samples)[:, None]
        return (self.index + first).reshape(-1)

    def _total(self) -> Any:
        return _sum_at(self.index.reshape(-1), self._flat(), self.shape[0])

    def _sum_of_squares(self, signs: Any) -> Any:
        values, entry = self._summed_per_sample()
        squares = weighed(values * values, signs).sum(0).reshape(-1, self.width)
        return _sum_at(entry.reshape(-1), squares, self.shape[0])

    def _squared_norms(self) -> Any:
        values, _ = self._summed_per_sample()
        return np.einsum("vntd,vntd->vn", values, values)

    def _project(self, direction: Any) -> Any:
        return np.einsum("vntd,ntd->vn", self.right, direction[self.index])

    def _kronecker(self, sharing: str) -> Kronecker:
        """The inputs are one-hot vectors; the factors refer to the weight as `[D, K]`."""
        entries, there = self.shape[0], self.present
        if there is None:
            there = np.ones_like(self.index, dtype=bool)
        if sharing == "expand":
            b = self.right.reshape(-1, self.width)
            uses = there.astype(float).reshape(1, -1)
            counts = _scatter(uses, self.index.reshape(-1), entries)[0] / there.sum()
            inputs = np.diag(counts)
        else:
            b = self.right.sum(2).reshape(-1, self.width)
            share = there / np.maximum(there.sum(1, keepdims=True), 1)
            hot = _scatter(share.reshape(1, -1), self._keys(), self.samples * entries)
            hot = hot.reshape(self.samples, entries)
            inputs = hot.T @ hot / self.samples
        return Kronecker(
            (b.T @ b, inputs.astype(self.dtype)),
            self.shape,
            pull=lambda stack: np.swapaxes(stack.reshape(len(stack), self.width, entries), 1, 2),
        )


def _arange(like: Any, count: int) -> Any:
    return backend.namespace(like).arange(count)


def _sum_at(positions: Any, values: Any, count: int) -> Any:
    """`[..., count, D]`: rows `values [..., M, D]` added where `positions [M]` say."""
    *lead, rows, width = values.shape
    places = positions[:, None] * width + _arange(positions, width)
    added = _scatter(values.reshape(-1, rows * width), places.reshape(-1), count * width)
    return added.reshape(*lead, count, width)


def _scatter(values: Any, positions: Any, size: int) -> Any:
    """`[V, size]` with `values [V, K]` added at positions that may repeat (recorded if traced)."""
    if not len(values):
        return np.zeros_like(values, shape=(0, size))
    scatter = registry.operations["scatter_add"]
    return scatter(values, positions=positions, shape=(size,))
