"""Columns of many numbers in few characters: what a page with 100,000 operations is made of.

`unpack` in assets/data.js reads them back.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from tracer_render.node_link import plain

T = TypeVar("T")

#: The types that a column of whole numbers may have, the narrowest first.
WHOLE = ("uint8", "uint16", "int32")
#: One number of so many, at most, is kept beside its column.
FEW = 8
#: A missing number. In columns of indices every number is one more, and 0 is for those without.
MISSING = -1


def indices(numbers: Sequence[int] | np.ndarray) -> dict[str, Any]:
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


def distinct(objects: Iterable[T]) -> tuple[list[T], np.ndarray]:
    """The objects that are not one another, in the order in which they come, and which is where."""
    found: dict[int, T] = {}
    numbers: dict[int, int] = {}
    places = []
    for each in objects:
        found[id(each)] = each  # which keeps it, so that no other is given its id
        places.append(numbers.setdefault(id(each), len(numbers)))
    return list(found.values()), np.array(places, np.int64)


class Words:
    """Values that come again and again: a table has each once, and columns their places.

    Columns are filled in by `finish`, which gives the table. It begins with the values of columns
    that have few, whose places are narrow then.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}
        self._columns: list[tuple[dict[str, Any], np.ndarray]] = []

    def column(self, values: Sequence[Any], places: np.ndarray | None = None) -> dict[str, Any]:
        """The places of values, once `finish` was called; those of `values[places]` if given.

        `places` have each of the values at least once, and begin with the first, in their order.
        """
        keys = _keys(values)
        if keys is None:
            numbers = np.array([self._number(value) for value in values], np.int64)
        else:
            number_of = {key: self._number(_value(key)) for key in dict.fromkeys(keys)}
            numbers = np.array([number_of[key] for key in keys], np.int64)
        made: dict[str, Any] = {}
        self._columns.append((made, numbers if places is None else numbers[places]))
        return made

    def finish(self) -> list[Any]:
        """The table, in the order in which the columns have it from now on."""
        narrowest = np.full(len(self._values), len(self._values))
        for _, numbers in self._columns:
            inside = np.unique(numbers[numbers != MISSING])
            narrowest[inside] = np.minimum(narrowest[inside], len(inside))
        order = np.argsort(narrowest, kind="stable")
        places = np.full(len(order) + 1, MISSING)  # the last is that of a missing one
        places[order] = np.arange(len(order))
        for made, numbers in self._columns:
            made.update(indices(places[numbers]))
        return [self._values[number] for number in order.tolist()]

    def _number(self, value: Any) -> int:
        if value is None:
            return MISSING
        key = value if type(value) is str else _key(value)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self._values)
            self._values.append(plain(value))
        return found


def _keys(values: Sequence[Any]) -> Sequence[Hashable] | None:
    """What tells values of one type apart, as quickly as Python can; None where types differ."""
    kinds = set(map(type, values)) - {NoneType}
    if not kinds:
        return [None] * len(values)
    if kinds == {str} or kinds == {int}:
        return values
    if kinds == {list}:
        inside = set(map(type, chain.from_iterable(value for value in values if value)))
        if inside <= {int} or inside <= {str}:
            return [None if value is None else tuple(value) for value in values]
    return None


def _value(key: Hashable) -> Any:
    """The value that `_keys` gave this key."""
    return list(key) if isinstance(key, tuple) else key


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
