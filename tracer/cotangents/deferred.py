"""The cotangent of what a rule gives one sample at a time, made where it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.arrays.types import Array, DType, Shape, Some
from tracer.cotangents.base import Cotangent


class Deferred(Cotangent):
    """`make(rows, samples) -> [v, n, *shape]` for some of `rows` and of the `chosen` samples.

    Rows come as a slice, or as the host's indices where a selection left them in no order; samples
    come as indices. `each` is what a sample takes while it is made, in bytes per row. Nothing is
    kept of it.
    """

    def __init__(
        self,
        make: Callable[[Some, np.ndarray], Array],
        rows: range | np.ndarray,
        chosen: np.ndarray,
        shape: Shape,
        dtype: DType,
        each: int,
    ):
        self.make = make
        self.chosen_rows, self.chosen = rows, chosen
        self.rows, self.samples = len(rows), len(chosen)
        self.shape, self.dtype, self.each = shape, dtype, each

    def _bytes_per_sample(self) -> int:
        return self.rows * self.each

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Deferred:
        every = self.chosen_rows
        some = every[rows] if isinstance(rows, slice) else np.asarray(every)[rows]
        chosen = self.chosen[samples]
        return Deferred(self.make, some, chosen, self.shape, self.dtype, self.each)

    def per_sample(self) -> Array:
        rows: Any = self.chosen_rows
        in_turn = isinstance(rows, range) and rows.step == 1
        rows = slice(rows.start, rows.stop) if in_turn else np.asarray(rows)
        parts = [self.make(rows, self.chosen[some]) for some in self._sample_slices()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)
