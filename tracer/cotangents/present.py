"""Which uses of a parameter are there, in padded sequences: masks `[N, T]`, or None for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def aligned(cotangent: Any, present: Any) -> Any:
    """`[N, T]` from `[N, S]` (S a divisor of the T uses: the others go with them), or of all."""
    if present is None:
        return np.ones_like(cotangent.right, shape=(cotangent.samples, cotangent.uses), dtype=bool)
    return np.repeat(present, cotangent.uses // present.shape[1], axis=1)


def joined(cotangents: Sequence[Any], axis: int) -> Any:
    """Of several cotangents side by side along samples (axis 0) or uses (axis 1)."""
    if all(each.present is None for each in cotangents):
        return None
    return np.concatenate([aligned(each, each.present) for each in cotangents], axis)
