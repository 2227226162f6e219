"""Values of quantities as arrays: an array is itself, a Kronecker product is its factors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def arrays(value: Any) -> dict[str, np.ndarray]:
    """Host arrays in a value by suffix: `""` for an array, `factor0` ... for what has factors.

    Values of other types have none.
    """
    factors = getattr(value, "factors", None)
    if factors is not None:
        return {f"factor{i}": to_host(factor) for i, factor in enumerate(factors)}
    if isinstance(value, tuple | list):
        return {f"{i}": to_host(part) for i, part in enumerate(value)}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return {"": to_host(value)}
    return {}


def norm(value: Any) -> float:
    """Euclidean norm; that of a Kronecker product is the product of its factors' norms."""
    norms = [float(np.linalg.norm(part.ravel())) for part in arrays(value).values()]
    return math.prod(norms) if hasattr(value, "factors") else math.hypot(*norms)


def to_host(array: Any) -> np.ndarray:
    """A NumPy array from a NumPy or a CuPy one."""
    return array.get() if hasattr(array, "get") else np.asarray(array)
