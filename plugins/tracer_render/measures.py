"""Numbers of several nodes together."""

from __future__ import annotations

import math
from collections.abc import Iterable


def euclidean(values: Iterable[float]) -> float:
    """The Euclidean norm; NaN if any value is NaN (`math.hypot` would let infinity win)."""
    numbers = [float(value) for value in values]
    return math.nan if any(map(math.isnan, numbers)) else math.hypot(*numbers)
