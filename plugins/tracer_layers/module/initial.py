"""Initial values of parameters: the distributions of `torch.nn`, from NumPy's generators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer import Tensor
from tracer.extend import Generator, generator


def uniform(
    shape: Sequence[int], bound: float, dtype: DTypeLike, rng: Generator | None = None
) -> Tensor:
    """A parameter with elements uniform in `[-bound, bound]`."""
    values = (rng or generator()).uniform(-bound, bound, tuple(shape))
    return tracer.parameter(values.astype(dtype))


def normal(shape: Sequence[int], dtype: DTypeLike, rng: Generator | None = None) -> np.ndarray:
    """An array of standard normal elements."""
    return (rng or generator()).standard_normal(tuple(shape)).astype(dtype)


def fan_in_bound(fan_in: int) -> float:
    """`1 / sqrt(fan_in)`.

    The bound of `kaiming_uniform(a=sqrt(5))` (He et al. 2015), `sqrt(6 / ((1 + a^2) fan_in))`, and
    of the biases that go with it.
    """
    return 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
