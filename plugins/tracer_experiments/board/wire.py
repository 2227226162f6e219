"""What the page is sent: JSON that any browser reads, and columns of numbers as bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["dumps", "packed", "plain"]


def plain(value: Any) -> Any:
    """The value in JSON's types; numbers that JSON has not are "NaN", "Infinity", "-Infinity"."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value)


def dumps(value: Any) -> str:
    """JSON text; `<` is written such that no text in it can end an element of a page."""
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def packed(
    heads: Sequence[Mapping[str, Any]],
    columns: Sequence[Mapping[str, np.ndarray]],
    dtype: str = "<f8",
) -> bytes:
    """Tables of numbers as bytes: the length of a JSON text, that text, then each column.

    The length is 4 bytes, little-endian; the text has `dtype` and `tables`: of each what its head
    holds, `rows` and the names of its `columns`. Numbers follow in that order, at a multiple of 8.
    """
    tables = []
    for head, table in zip(heads, columns, strict=True):
        rows = len(next(iter(table.values()), ()))
        tables.append({**head, "rows": rows, "columns": list(table)})
    text = dumps({"dtype": dtype, "tables": tables}).encode()
    text += b" " * (-(len(text) + 4) % 8)
    with np.errstate(over="ignore"):  # what float32 does not hold is infinite
        numbers = [
            np.asarray(column, dtype).tobytes() for table in columns for column in table.values()
        ]
    return b"".join([len(text).to_bytes(4, "little"), text, *numbers])
