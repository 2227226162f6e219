"""Which uses of a parameter are there, in padded sequences: masks `[N, T]`, or None for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tracer.arrays.types import Array, Present


class WithUses(Protocol):
    """A cotangent that knows each use of its parameter, and which of them are there."""

    present: Present

    @property
    def samples(self) -> int: ...
    @property
    def uses(self) -> int: ...
    @property
    def _source(self) -> Array | None: ...


def of_each_use(cotangent: WithUses, present: Present) -> Array:
    """`[N, T]` from `[N, S]`, or of all.

    Where S divides T, each position has as many uses; elsewhere a sample has all or none.
    """
    if present is None:
        shape = cotangent.samples, cotangent.uses
        return np.ones_like(cotangent._source, shape=shape, dtype=bool)
    if cotangent.uses % present.shape[1]:
        present = np.any(present, 1, keepdims=True)
    return np.repeat(present, cotangent.uses // present.shape[1], axis=1)


def side_by_side(cotangents: Sequence[WithUses], axis: int) -> Present:
    """Of several cotangents side by side along samples (axis 0) or uses (axis 1)."""
    if all(each.present is None for each in cotangents):
        return None
    return np.concatenate([of_each_use(each, each.present) for each in cotangents], axis)


def used(cotangent: WithUses, sharing: str) -> Array | int:
    """How many uses ("expand") or samples that have some ("reduce") a Kronecker factor averages."""
    present: Any = cotangent.present
    if present is None:
        count = cotangent.samples * (cotangent.uses if sharing == "expand" else 1)
        return max(count, 1)
    return np.maximum(present.sum() if sharing == "expand" else present.any(1).sum(), 1)
