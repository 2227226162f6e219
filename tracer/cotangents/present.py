"""Which uses of a parameter are there, in padded sequences: masks `[N, T]`, or None for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def aligned(cotangent: Any, present: Any) -> Any:
    """`[N, T]` from `[N, S]`, or of all.

    Where S divides T, each position has as many uses; elsewhere a sample has all or none.
    """
    if present is None:
        return np.ones_like(cotangent.right, shape=(cotangent.samples, cotangent.uses), dtype=bool)
    if cotangent.uses % present.shape[1]:
        present = present.any(1, keepdims=True)
    return np.repeat(present, cotangent.uses // present.shape[1], axis=1)


def joined(cotangents: Sequence[Any], axis: int) -> Any:
    """Of several cotangents side by side along samples (axis 0) or uses (axis 1)."""
    if all(each.present is None for each in cotangents):
        return None
    return np.concatenate([aligned(each, each.present) for each in cotangents], axis)
