"""Values of quantities as arrays: an array is itself, a Kronecker product is its factors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def by_parameter(results: Mapping[str, Any], quantity: str) -> Mapping[str, Any]:
    """A quantity's values by parameter; empty for one that is of the objective as a whole."""
    values = results.get(quantity)
    return values if isinstance(values, Mapping) else {}


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
    """Euclidean norm of an array, Frobenius norm of a Kronecker product with one or more blocks."""
    if hasattr(value, "pairs"):
        return math.hypot(*(_norm(b) * (1.0 if a is None else _norm(a)) for b, a in value.pairs))
    return math.hypot(*map(_norm, arrays(value).values()))


def _norm(array: Any) -> float:
    return float(np.linalg.norm(to_host(array).ravel()))


def to_host(array: Any) -> np.ndarray:
    """A NumPy array from a NumPy or a CuPy one."""
    return array.get() if hasattr(array, "get") else np.asarray(array)
