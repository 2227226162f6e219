"""The plugin: registers every operation that the modules of this package define."""

from __future__ import annotations

from tracer import Operation, hookimpl
from tracer_layers import (
    activations,
    attention,
    classification,
    convolution,
    embedding_layer,
    linear_layers,
    pooling,
    positions,
    recurrent_steps,
    regression,
    resampling,
    standardisation,
    windows,
)

MODULES = (
    activations,
    attention,
    classification,
    convolution,
    embedding_layer,
    linear_layers,
    pooling,
    positions,
    recurrent_steps,
    regression,
    resampling,
    standardisation,
    windows,
)


@hookimpl
def register_operations() -> list[Operation]:
    """Operations of layers and losses, each where it is defined."""
    return [
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, Operation) and type(value).__module__ == module.__name__
    ]
