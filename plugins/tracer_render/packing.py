"""Columns of many numbers in few characters: what a page with 100,000 operations is made of.

`unpack` in assets/data.js reads them back.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Hashable, Sequence
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np

from tracer_render.node_link import plain

#: The types that a column of whole numbers may have, the narrowest first.
WHOLE = ("uint8", "uint16", "int32")
#: One number of so many, at most, is kept beside its column.
FEW = 8
#: A missing number. In columns of indices every number is one more, and 0 is for those without.
MISSING = -1


def indices(numbers: Sequence[int]) -> dict[str, Any]:
    """A column of whole numbers from -1 (missing) on."""
    column = np.asarray(numbers, np.int64) + 1
    if column.size and (column == column[0]).all():
        return {"type": "same", "data": int(column[0])}
    most = int(column.max(initial=0))
    kind = next(kind for kind in WHOLE if most <= np.iinfo(kind).max)
    return {"type": kind, "data": _text(column.astype(f"<{np.dtype(kind).str[1:]}"))}


def floats(numbers: Sequence[float | None], short: bool = False) -> dict[str, Any]:
    """A column of numbers in single precision; a missing one is NaN, and `nan` lists the others.

    `exact` has the few numbers, by their place, that single precision has not; of many, the column
    is in double precision. A short column has the upper half of each (bfloat16), which is right to
    two digits.
    """
    column = np.array([math.nan if n is None else n for n in numbers], np.float64)
    given = [i for i in np.flatnonzero(np.isnan(column)).tolist() if numbers[i] is not None]
    bounds = np.finfo(np.float32)
    beyond = np.isfinite(column) & (column != 0)
    beyond &= (abs(column) > bounds.max) | (abs(column) < bounds.tiny)
    if beyond.sum() * FEW > len(column):
        return {"type": "float64", "data": _text(column.astype("<f8")), "nan": given, "exact": {}}
    exact = {int(i): float(column[i]) for i in np.flatnonzero(beyond)}
    column[beyond] = 0
    single = column.astype("<f4")
    if short:
        halves = ((single.view("<u4").astype(np.uint64) + 0x7FFF) >> 16).astype("<u2")
        halves[np.isnan(single)] = 0x7FC0
        return {"type": "bfloat16", "data": _text(halves), "nan": given, "exact": exact}
    return {"type": "float32", "data": _text(single), "nan": given, "exact": exact}


class Words:
    """Values that come again and again: `table` has each once, and columns their places."""

    def __init__(self) -> None:
        self.table: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def place(self, value: Any) -> int:
        """The place of a value in the table, -1 of None."""
        if value is None:
            return MISSING
        key = value if type(value) is str else _key(value)
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = len(self.table)
            self.table.append(plain(value))
        return found

    def column(self, values: Sequence[Any]) -> dict[str, Any]:
        """The places of values."""
        keys = _keys(values)
        if keys is None:
            return indices([self.place(value) for value in values])
        firsts = dict(zip(reversed(keys), reversed(values), strict=True))
        places = {key: self.place(firsts[key]) for key in dict.fromkeys(keys)}
        return indices([places[key] for key in keys])


def _keys(values: Sequence[Any]) -> Sequence[Hashable] | None:
    """What tells values of one type apart, as quickly as Python can; None where types differ."""
    kinds = set(map(type, values)) - {NoneType}
    if kinds <= {str} or kinds == {int}:
        return values
    if kinds == {list}:
        inside = set(map(type, chain.from_iterable(value for value in values if value)))
        if inside <= {int} or inside <= {str}:
            return [None if value is None else tuple(value) for value in values]
    return None


def _key(value: Any) -> Hashable:
    """What equal values of one type have in common; of no text, which is its own."""
    if type(value) is list:
        return ("list", *map(_key, value))
    try:
        hash(value)
    except TypeError:
        return "json", json.dumps(plain(value), sort_keys=True)
    return type(value), value


def _text(column: np.ndarray) -> str:
    return base64.b64encode(column.tobytes()).decode("ascii")
