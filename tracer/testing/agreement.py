"""Whether two arrays are the same, and what to say if not."""

from __future__ import annotations

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array


def agree(what: str, got: Array, expected: Array, rtol: float, atol: float) -> None:
    """Raise `AssertionError` unless two arrays agree; `rtol` is relative to the largest element."""
    got, expected = np.asarray(backend.to_host(got)), np.asarray(expected)
    if got.shape != expected.shape:
        raise AssertionError(f"{what} has the shape {list(got.shape)}, not {list(expected.shape)}")
    if not expected.size:
        return
    error = np.abs(got - expected)
    bound = atol + rtol * np.abs(expected).max()
    if not (error <= bound).all():
        worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
        raise AssertionError(
            f"{what} is {got[worst]:.10g} at {tuple(map(int, worst))}, not "
            f"{expected[worst]:.10g} (off by {error[worst]:.3g}, at most {bound:.3g} is allowed)"
        )
