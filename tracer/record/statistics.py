"""Statistics of values and cotangents, which watched tapes keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray

from tracer.arrays import backend
from tracer.arrays.types import Array
from tracer.record.node import Node

#: rows and columns of the largest array whose numbers are kept
LARGEST = 6


def watch(tape: Any, node: Node, value: Array) -> None:
    """Keep statistics of a value for the graph, and its numbers where the tape is to have them."""
    tape.watched[id(node)] = statistics(value, values=tape.keeps_values)


def statistics(value: Array, *, values: bool = False) -> dict[str, object]:
    """Norm, extremes and counts of non-finite elements of an array, as Python numbers.

    Of complex numbers, those of their sizes. With `values` also those of `small_values`.
    """
    data = value if isinstance(value, ndarray) else backend.to_host(value)
    if data.dtype.kind == "c":
        data = abs(data)
    if data.dtype.kind not in "fiub" or data.size == 0:
        return {}
    found = small_values(data) if values else {}
    data = data.astype(np.float64)
    finite = np.isfinite(data)
    kept = data[finite]
    return found | {
        "norm": float(np.linalg.norm(data)) if finite.all() else float("nan"),
        "min": float(kept.min()) if kept.size else None,
        "max": float(kept.max()) if kept.size else None,
        "nan": int(np.isnan(data).sum()),
        "inf": int(np.isinf(data).sum()),
    }


def small_values(value: Array) -> dict[str, object]:
    """`values`: the elements of a small array, as nested lists of Python numbers.

    Small are those that have at most `LARGEST` rows and columns once all axes but the last are one.
    Nothing of others.
    """
    *lead, columns = value.shape or (1,)
    if value.dtype.kind not in "fiub" or max(math.prod(lead), columns) > LARGEST:
        return {}
    return {"values": backend.to_host(value).tolist()} if value.size else {}
