"""Cotangents that are zero but at an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracer.arrays.types import Shape, Stack


class Placed:
    """An entry of a vjp that is zero but at a basic index: `values [V, ...]` at `index`.

    A sweep adds it in place to what has arrived already (or, while it is recorded, all of them in
    one operation), so that reading a sequence step by step costs its length and not its square.
    `embed(*values, indices=, shape=)` is the operation that makes the whole stack.
    """

    __slots__ = ("embed", "index", "shape", "values")

    def __init__(
        self,
        values: Stack,
        index: tuple[Any, ...],
        shape: Shape,
        embed: Callable[..., Stack],
    ):
        self.values = values
        self.index = index
        self.shape = shape
        self.embed = embed

    def dense(self) -> Stack:
        """The stack `[V, *shape]`."""
        return self.embed(self.values, indices=(self.index,), shape=self.shape)
