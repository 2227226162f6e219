"""Initial values of whole networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tracer_layers as nn
from tracer import Tensor
from tracer.extend import Generator
from tracer_layers import Module, init

#: fills a weight with numbers of a generator
Fill: TypeAlias = Callable[[Tensor, Generator], object]


def fill(
    model: Module,
    weight: Fill,
    bias: float,
    rng: Generator,
    *,
    linear: Fill | None = None,
) -> Module:
    """Fill all weights and biases of maps and convolutions; `linear` those of maps, if it is given.

    Returns the model.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.ConvNd | nn.ConvTransposeNd):
            is_map = isinstance(module, nn.Linear) and linear is not None
            (linear if is_map else weight)(module.weight, rng)  # type: ignore[misc]
            init.constant_(module.bias, bias)
    return model


def truncated_normal(deviation: float) -> Fill:
    """Normal with this deviation, of what lies within two of them, as in TensorFlow."""

    def filled(parameter: Tensor, rng: Generator) -> None:
        bound = 2 * deviation
        init.trunc_normal_(parameter, 0.0, deviation, -bound, bound, generator=rng)

    return filled


def zeros(parameter: Tensor, rng: Generator) -> None:
    init.zeros_(parameter)


def xavier_normal(parameter: Tensor, rng: Generator) -> None:
    init.xavier_normal_(parameter, generator=rng)


def xavier_uniform(parameter: Tensor, rng: Generator) -> None:
    init.xavier_uniform_(parameter, generator=rng)
