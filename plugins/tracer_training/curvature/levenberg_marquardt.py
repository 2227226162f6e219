"""Damping that follows how well the quadratic model told what a step would do.

Levenberg and Marquardt's rule, as in Martens (2010) and Martens and Grosse (2015).
"""

from __future__ import annotations

import math

#: below and above these parts of what was predicted, the damping is changed
POOR, GOOD = 0.25, 0.75


def reduction_ratio(change: float, predicted: float) -> float:
    """The change of the objective over that of the model, `(h(p + d) - h(p)) / (M(d) - M(0))`.

    Minus infinity where the model does not fall, or a number is not finite: such a step tells that
    the model is not to be trusted.
    """
    ratio = change / predicted if predicted < 0 else -math.inf
    return ratio if math.isfinite(ratio) else -math.inf


def adapted(damping: float, ratio: float, factor: float, least: float, most: float) -> float:
    """The damping of the next steps: times `factor`, below 1, after a good one, over it after a
    poor one, from `least` to `most`."""
    if ratio > GOOD:
        damping *= factor
    elif ratio < POOR:
        damping /= factor
    return min(max(damping, least), most)
