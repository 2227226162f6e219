"""Values in messages."""

from __future__ import annotations


def describe(value: object) -> str:
    """`float32[3, 4]`, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return repr(value) if isinstance(value, int | float | complex | bool) else type(value).__name__
