"""`LazyLinear`: a linear map that finds out the width of its inputs in its first call."""

from __future__ import annotations

from collections.abc import Mapping

from tracer.extend import TensorLike
from tracer_layers.linear_maps.layers import Linear
from tracer_layers.module.lazy import Lazy, waiting

__all__ = ["LazyLinear"]


class LazyLinear(Lazy, Linear):
    """`Linear` with the last axis of its first input for `in_features`."""

    becomes, size = Linear, "in_features"
    __init__ = waiting(Linear, "in_features", "weight")

    def size_of_input(self, input: TensorLike) -> int:
        return input.shape[-1]

    def size_of_state(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][1] if "weight" in shapes else None
