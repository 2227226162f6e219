"""Axes of values: as a chart asks for, where its values allow it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["scale_values"]


def scale_values(axes: Any, scale: str, values: np.ndarray) -> str:
    """Set the scale of an axis of values, and give it.

    It is `scale`, but linear in place of a logarithmic one where no value is positive, and
    logarithmic in place of a symmetric one where all are. A symmetric one is linear about zero up
    to the power of ten below the smaller of the values, as on the board.
    """
    finite = values[np.isfinite(values)]
    if scale == "log" and not (finite > 0).any():
        scale = "linear"
    if scale == "symlog" and finite.size and (finite > 0).all():
        scale = "log"
    if scale != "symlog":
        axes.set_yscale(scale)
        return scale
    sizes = np.abs(finite[finite != 0])
    unit = 10.0 ** np.floor(np.log10(np.quantile(sizes, 0.2))) if sizes.size else 1.0
    axes.set_yscale("symlog", linthresh=max(unit, np.finfo(float).tiny))
    return scale
