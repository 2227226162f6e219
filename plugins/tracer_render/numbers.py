"""The numbers of a small value as rows of text, as wide as each other in a fixed-width font."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from tracer_render.scopes import Attributes

#: Spaces that no format drops, nor breaks lines at.
SPACE = "\N{NO-BREAK SPACE}"
BETWEEN = 2 * SPACE
#: Numbers from here on have no digits after the point,
THOUSAND = 1000.0
#: and from here on an exponent.
LARGE = 1e6
#: What stands for a tensor among the operands of an operation.
TENSOR = "\N{MIDDLE DOT}"

_PARTS = re.compile(r"(-?\w+?)((?:\..*|e.*)?)")


def rows(data: Attributes) -> tuple[str, ...]:
    """A line for each row of a node's `values`, columns aligned at the decimal point.

    All axes but the last are one.
    """
    if "values" not in data:
        return ()
    table = [[number_text(value) for value in row] for row in _as_rows(data["values"])]
    columns = [_aligned(column) for column in zip_longest(*table, fillvalue="")]
    return tuple(BETWEEN.join(row) for row in zip(*columns, strict=True))


def operands(data: Attributes) -> str:
    """The plain numbers that an operation was given, in their places, as in `(·, 2)`."""
    given = data.get("operands") or ()
    if all(number is None for number in given):
        return ""
    return f"({', '.join(TENSOR if v is None else number_text(v) for v in given)})"


def number_text(value: float) -> str:
    """Four significant digits of a float, or all before its point; integers as they are."""
    if isinstance(value, str):  # of a graph that was read from JSON: NaN and infinities
        return {"Infinity": "Inf", "-Infinity": "-Inf"}.get(value, value)
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    whole = value.is_integer() or abs(value) >= THOUSAND
    return f"{value + 0.0:.0f}" if whole and abs(value) < LARGE else f"{value:.4g}"


def _as_rows(values: object) -> list[list[float]]:
    """Nested lists with all levels but the last as one; a number is one row."""
    if not isinstance(values, list):
        return [[values]]  # type: ignore[list-item]  # a number then
    if not values or not isinstance(values[0], list):
        return [values]
    return [row for part in values for row in _as_rows(part)]


def _aligned(column: Sequence[str]) -> Iterable[str]:
    """The texts, as wide as each other, with their points (or ends of whole numbers) in a line."""
    parts = [match.groups() if (match := _PARTS.fullmatch(text)) else ("", "") for text in column]
    before, after = (max(map(len, side)) for side in zip(*parts, strict=True))
    return [a.rjust(before, SPACE) + b.ljust(after, SPACE) for a, b in parts]
