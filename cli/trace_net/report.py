"""Tables for people and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trace_net import streams

SCHEMA_VERSION = 1


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, total: Sequence[Any] = ()):
    """A rich table. A column whose name starts with `>` is aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_footer=bool(total), pad_edge=False)
    footers = [cell(value) for value in total] or [""] * len(columns)
    for name, footer in zip(columns, footers, strict=True):
        right = name.startswith(">")
        made.add_column(
            name.removeprefix(">"),
            footer,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
        )
    for row in rows:
        made.add_row(*map(cell, row))
    return made


def cell(value: Any) -> str:
    """A table cell: integers with thousands separated, floats with four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return streams.printable(str(value))


def shape(sizes: Iterable[int]) -> str:
    """A shape as in `[32, 10]`."""
    return f"[{', '.join(map(str, sizes))}]"


def print_json(command: str, payload: Mapping[str, Any]) -> None:
    """`payload` as JSON on stdout, with the version of its schema and the command's name."""
    document = {"schema_version": SCHEMA_VERSION, "command": command, **payload}
    print(json.dumps(_json_able(document), indent=2, allow_nan=False))


def _json_able(value: Any) -> Any:
    """The value with floats that JSON has no form for as "NaN", "Infinity" and "-Infinity"."""
    if isinstance(value, Mapping):
        return {str(key): _json_able(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
