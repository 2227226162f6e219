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
        self.index = index
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

    def _sum_at(self, positions: Any, values: Any, count: int) -> Any:
        """`[..., count, D]`: rows `values [..., M, D]` added where `positions [M]` say."""
        lead = values.shape[:-2]
        places = positions[:, None] * self.width + np.arange(self.width)
        flat = values.reshape(-1, len(positions) * self.width)
        added = _scatter(flat, places.reshape(-1), count * self.width)
        return added.reshape(*lead, count, self.width)

    def _segments(self) -> tuple[Any, Any, Any]:
        """Uses of the same entry by the same sample summed: values `[V, S, D]`, sample, entry."""
        index = backend.to_host(self.index)
        keys = index + self.shape[0] * np.arange(self.samples)[:, None]
        distinct, inverse = np.unique(keys.reshape(-1), return_inverse=True)
        right = self._flat()
        values = self._sum_at(inverse.reshape(-1), right, len(distinct))
        return values, distinct // self.shape[0], distinct % self.shape[0]

    def per_sample(self) -> Any:
        entries, width = self.shape
        index = backend.to_host(self.index)
        keys = (index + entries * np.arange(self.samples)[:, None]).reshape(-1)
        right = self._flat()
        dense = self._sum_at(keys, right, self.samples * entries)
        return dense.reshape(self.rows, self.samples, entries, width)

    def _total(self) -> Any:
        right = self._flat()
        return self._sum_at(backend.to_host(self.index).reshape(-1), right, self.shape[0])

    def _sum_of_squares(self, signs: Any) -> Any:
        values, sample, entry = self._segments()
        if signs is not None and signs.shape[1] > 1:
            signs = signs[:, sample]
        return self._sum_at(entry, weighed(values * values, signs).sum(0), self.shape[0])

    def _squared_norms(self) -> Any:
        values, sample, _ = self._segments()
        return _scatter(np.sum(values * values, -1), sample, self.samples)

    def _project(self, direction: Any) -> Any:
        return np.einsum("vntd,ntd->vn", self.right, direction[self.index])

    def _kronecker(self, sharing: str) -> Kronecker:
        """The inputs are one-hot vectors; the factors refer to the weight as `[D, K]`."""
        entries = self.shape[0]
        index = backend.to_host(self.index)
        there = np.ones(index.shape, dtype=bool)
        if self.present is not None:
            there = backend.to_host(self.present)
        if sharing == "expand":
            b = self.right.reshape(-1, self.width)
            counts = np.bincount(index[there], minlength=entries) / there.sum()
            inputs = np.diag(counts)
        else:
            b = self.right.sum(2).reshape(-1, self.width)
            hot = np.zeros((self.samples, entries))
            share = there / np.maximum(there.sum(1, keepdims=True), 1)
            np.add.at(hot, (np.arange(self.samples)[:, None], index), share)
            inputs = hot.T @ hot / self.samples
        inputs = backend.of(b).from_host(inputs.astype(self.dtype))
        return Kronecker(
            (b.T @ b, inputs),
            self.shape,
            pull=lambda stack: np.swapaxes(stack.reshape(len(stack), self.width, entries), 1, 2),
        )


def _scatter(values: Any, positions: Any, size: int) -> Any:
    """`[V, size]` with `values [V, K]` added at positions that may repeat (recorded if traced)."""
    if not len(values):
        return np.zeros_like(values, shape=(0, size))
    scatter = registry.operations["scatter_add"]
    return scatter(values, positions=positions, shape=(size,))
