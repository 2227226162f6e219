"""Samples of categories that gradients go through: `gumbel_softmax`."""

from __future__ import annotations

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Generator, TensorLike, drawn, generator
from tracer_layers.activations.functions import softmax
from tracer_layers.module.dtypes import floats
from tracer_layers.module.rules import arange, raw

__all__ = ["gumbel_softmax"]


def gumbel_softmax(
    logits: TensorLike,
    tau: float = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`softmax((logits + G) / tau, dim)`, G from the Gumbel distribution (Jang et al. 2017).

    With `hard`, the value is one at the largest element and zero elsewhere, and the gradient that
    of the soft one. As in PyTorch, `eps` is not used.
    """
    if not tau > 0:
        raise TracerError(f"gumbel_softmax expects a positive tau, got {tau}")
    logits = floats(logits)
    data = raw(logits)
    waits = -np.log1p(-(rng or generator(data)).random(data.shape))  # of the exponential one
    gumbels = drawn(-np.log(np.maximum(waits, np.finfo(np.float64).tiny)).astype(data.dtype), data)
    soft = softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    values = np.moveaxis(raw(soft), dim, -1)
    largest = np.argmax(values, axis=-1)[..., None]
    chosen = (largest == arange(values, values.shape[-1])).astype(values.dtype)
    return soft + np.moveaxis(chosen - values, -1, dim)
