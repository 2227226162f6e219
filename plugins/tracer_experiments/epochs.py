"""Epochs as an axis: where steps stand in them."""

from __future__ import annotations

import numpy as np

__all__ = ["epochs_of"]


def epochs_of(steps: np.ndarray, ends: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Epochs at steps, in parts: `epochs` were over at the steps `ends`; beyond as before."""
    at, over = np.append(0, ends), np.append(0.0, epochs)
    found = np.interp(steps, at, over)
    if len(at) > 1 and at[-1] > at[-2]:
        rate = (over[-1] - over[-2]) / (at[-1] - at[-2])
        found = np.where(steps > at[-1], over[-1] + rate * (steps - at[-1]), found)
    return found
