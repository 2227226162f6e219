"""What constants are called: buffers of modules, and arguments of operations."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

from tracer.record.rules import Rules

#: names of arguments that tell nothing
PLAIN = frozenset(("value", "values", "args", "parts", "operands", "arrays"))


def argument_name(consumer: Any, slot: int, value: Any = None) -> str:
    """The buffer that a constant is of, else the argument that it is given as, as in `target`.

    Empty where the name would tell nothing.
    """
    return _buffer(consumer, value) or _argument(consumer.op, slot)


def _buffer(consumer: Any, value: Any) -> str:
    """The name of a buffer of the calling module with this value."""
    call = consumer.place.call
    module: Any = None if call is None or call.module is None else call.module()
    if value is None or not hasattr(module, "named_buffers"):
        return ""
    for name, array in module.named_buffers(recurse=False):
        same = getattr(array, "shape", None) == value.shape and array.dtype == value.dtype
        if same and type(array) is type(value) and bool((array == value).all()):
            return str(name)
    return ""


@lru_cache(maxsize=1024)
def _argument(op: Rules, slot: int) -> str:
    forward = vars(type(op)).get("forward")
    if forward is None:
        return ""
    try:
        arguments = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        return ""
    positional = [a for a in arguments if a.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if slot >= len(positional) or not slot:
        return ""
    name = positional[slot].name
    return name if len(name) > 1 and name not in PLAIN else ""
