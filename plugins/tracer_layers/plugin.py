"""The plugin: registers every operation that the rooms of this package define."""

from __future__ import annotations

from tracer import Operation, hookimpl
from tracer_layers import ROOMS


@hookimpl
def register_operations() -> list[Operation]:
    """Operations of layers and losses, each where it is defined."""
    return [
        value
        for room in ROOMS
        for module in room.OPERATIONS
        for value in vars(module).values()
        if isinstance(value, Operation) and type(value).__module__ == module.__name__
    ]
