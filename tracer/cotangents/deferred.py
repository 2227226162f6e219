"""The cotangent of what a rule gives one sample at a time, made where it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.arrays.types import Array, DType, Shape, Some
from tracer.cotangents.base import Cotangent


class Deferred(Cotangent):
    """`make(rows, samples) -> [v, n, *shape]` for a slice of rows and indices of samples.

    `each` is what a sample takes while it is made, in bytes per row. Nothing is kept of it.
    """

    def __init__(
        self,
        make: Callable[[slice, np.ndarray], Array],
        rows: range,
        chosen: np.ndarray,
        shape: Shape,
        dtype: DType,
        each: int,
    ):
        self.make = make
        self.spans, self.chosen = rows, chosen
        self.rows, self.samples = len(rows), len(chosen)
        self.shape, self.dtype, self.each = shape, dtype, each

    def _bytes_per_sample(self) -> int:
        return self.rows * self.each

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Deferred:
        some: Any = self.spans[rows]
        chosen = self.chosen[samples]
        return Deferred(self.make, some, chosen, self.shape, self.dtype, self.each)

    def per_sample(self) -> Array:
        rows = slice(self.spans.start, self.spans.stop)
        parts = [self.make(rows, self.chosen[some]) for some in self._sample_slices()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)
