"""First states of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import ShapeError
from tracer.operation import describe
from tracer_layers.rules import raw


def described(value: Any) -> str:
    """Shape and dtype of an array, or of each in a pair, for messages."""
    if isinstance(value, tuple | list):
        return f"({', '.join(described(v) for v in value)})"
    return describe(value)


def first_state(layer: str, given: Any, x: Any, size: int) -> Any:
    """A state `[N, size]` of the samples of `x [..., N, features]`: zeros if none is given.

    One for all samples, `[1, size]`, is broadcast. A tensor meets zeros of the batch, so that each
    sample has a state of its own below which a learned one collects its gradient.
    """
    count, like = x.shape[-2], raw(x)
    if given is None:
        return tracer.batch(np.zeros_like(like, shape=(count, size)))
    if given.ndim != 2 or given.shape[1] != size or given.shape[0] not in (1, count):
        raise ShapeError(
            f"{layer} expects a state [{count}, {size}] for {count} samples, or [1, {size}] for "
            f"all of them, got {described(given)}"
        )
    if given.dtype != x.dtype:
        raise ShapeError(
            f"{layer} expects a state of the input's dtype {x.dtype}, got {described(given)}: "
            f"convert it with astype"
        )
    if not isinstance(given, Tensor) or given.node is None:
        return tracer.batch(np.broadcast_to(raw(given), (count, size)))
    return given + tracer.batch(np.zeros_like(like, shape=(count, 1)))
