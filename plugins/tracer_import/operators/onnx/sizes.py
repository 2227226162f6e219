"""Sizes and axes as ONNX has them: attributes, or arrays."""

from __future__ import annotations

from typing import Any

from tracer.extend import backend


def ints(value: Any) -> tuple[int, ...] | None:
    """Sizes or axes, an attribute or an array; None where there are none."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return tuple(map(int, value))
    return tuple(int(n) for n in backend.to_host(value).reshape(-1))
