"""The random generator of initialisation, dropout and sampled quantities."""

from __future__ import annotations

import numpy as np

_generator = np.random.default_rng()


def seed(n: int) -> None:
    """Start the shared generator again from `n`, for every thread."""
    global _generator
    _generator = np.random.default_rng(n)


def generator() -> np.random.Generator:
    """The shared generator. Its draws lock it, so that threads may use it at once."""
    return _generator
