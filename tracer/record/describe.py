"""Values in messages, and the messages for options of the wrong kind."""

from __future__ import annotations

import numpy as np

from tracer.errors import TracingError


def describe(value: object) -> str:
    """`float32[3, 4]`, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return repr(value) if isinstance(value, int | float | complex | bool) else type(value).__name__


def check_flags(owner: str, **flags: object) -> None:
    """Raise `TracingError` for options that are neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise TracingError(f"{owner} takes True or False as {name}, got {value!r}")


def check_name(owner: str, name: object) -> None:
    """Raise `TracingError` for a name that is neither a string nor None."""
    if name is not None and not isinstance(name, str):
        raise TracingError(f"{owner} takes its name as a string, got {name!r}")
