"""Statistics of values and cotangents, which watched tapes keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from tracer.arrays import backend
from tracer.record.node import Node


def watch(tape: Any, node: Node, value: Any) -> None:
    """Keep statistics of a value for the graph."""
    tape.watched[id(node)] = statistics(value)


def statistics(value: Any) -> dict[str, Any]:
    """Norm, extremes and counts of non-finite elements of an array, as Python numbers."""
    data = value if isinstance(value, ndarray) else backend.to_host(value)
    if data.dtype.kind not in "fiub" or data.size == 0:
        return {}
    data = data.astype(np.float64)
    finite = np.isfinite(data)
    kept = data[finite]
    return {
        "norm": float(np.linalg.norm(data)) if finite.all() else float("nan"),
        "min": float(kept.min()) if kept.size else None,
        "max": float(kept.max()) if kept.size else None,
        "nan": int(np.isnan(data).sum()),
        "inf": int(np.isinf(data).sum()),
    }
