"""Columns of many numbers in few characters: what a page with 100,000 operations is made of.

`unpack` in assets/data.js reads them back.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain, groupby
from types import NoneType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from tracer_render.node_link import plain
from tracer_render.series import FEWEST, Series, forms, series

T = TypeVar("T")

#: A column, or a series of words, in JSON's types.
Packed: TypeAlias = dict[str, Any]

#: The types that a column of whole numbers may have, the narrowest first.
WHOLE = ("uint8", "uint16", "int32")
#: The types of differences between whole numbers.
DIFFERENCES = ("int8", "int16")
#: Differences are to the number so many places before, at most.
FARTHEST = 8
#: Characters of a number that is kept beside its column.
ENTRY = 16
#: One number of so many, at most, is kept beside its column.
FEW = 8
#: A missing number. In columns of indices every number is one more, and 0 is for those without.
MISSING = -1


def indices(numbers: Sequence[int] | np.ndarray) -> Packed:
    """A column of whole numbers from -1 (missing) on: they, or what they differ by, if shorter.

    Differences are to the number `stride` places before; `exact` has the few, by their place, that
    are not in their range, as they are.
    """
    column = np.asarray(numbers, np.int64) + 1
    if column.size and (column == column[0]).all():
        return {"type": "same", "data": int(column[0])}
    most = int(column.max(initial=0))
    kind = next(kind for kind in WHOLE if most <= np.iinfo(kind).max)
    return _differences(column, kind) or {"type": kind, "data": _text(_little(column, kind))}


def _differences(column: np.ndarray, plainly: str) -> Packed | None:
    """The shortest column of differences; None where `plainly` is shorter."""
    best, least = None, _characters(column, plainly)
    for stride in range(1, min(FARTHEST, len(column) - 1) + 1):
        steps = column.copy()
        steps[stride:] -= column[:-stride]
        for kind in DIFFERENCES:
            bound = np.iinfo(kind)
            beyond = np.flatnonzero((steps < bound.min) | (steps > bound.max))
            characters = _characters(column, kind) + ENTRY * (2 + len(beyond))
            if characters < least:
                best, least = (stride, kind, steps, beyond), characters
    if best is None:
        return None
    stride, kind, steps, beyond = best
    steps[beyond] = 0
    exact = dict(zip(beyond.tolist(), column[beyond].tolist(), strict=True))
    return {"type": kind, "data": _text(_little(steps, kind)), "stride": stride, "exact": exact}


def _characters(column: np.ndarray, kind: str) -> int:
    """How long a column of this type is, as text."""
    return -(-len(column) * np.dtype(kind).itemsize * 4 // 3)


def _little(column: np.ndarray, kind: str) -> np.ndarray:
    return column.astype(f"<{np.dtype(kind).str[1:]}")


def floats(numbers: Sequence[float | None], short: bool = False) -> Packed:
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


class Table(NamedTuple):
    """Values by their places: `words`, but for those that are in a series, by its first place."""

    words: list[Any]
    series: list[Packed]


class Words:
    """Values that come again and again: a table has each once, and columns their places.

    Columns are filled in by `finish`, which gives the table. It begins with the values of columns
    that have few, whose places are narrow then; those of a series follow each other.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}
        self._columns: list[tuple[Packed, np.ndarray]] = []

    def column(self, values: Sequence[Any], places: np.ndarray | None = None) -> Packed:
        """The places of values, once `finish` was called; those of `values[places]` if given.

        `places` have each of the values at least once, and begin with the first, in their order.
        """
        keys = _keys(values)
        if keys is None:
            numbers = np.array([self._number(value) for value in values], np.int64)
        else:
            number_of = {key: self._number(_value(key)) for key in dict.fromkeys(keys)}
            numbers = np.array([number_of[key] for key in keys], np.int64)
        made: Packed = {}
        self._columns.append((made, numbers if places is None else numbers[places]))
        return made

    def finish(self) -> Table:
        """The table, in the order in which the columns have it from now on."""
        narrowest = np.full(len(self._values), len(self._values))
        for _, numbers in self._columns:
            inside = np.unique(numbers[numbers != MISSING])
            narrowest[inside] = np.minimum(narrowest[inside], len(inside))
        found = forms(self._values)
        firsts: dict[Hashable, int] = {}
        ranks = [
            number if form is None else firsts.setdefault(form.pieces, number)
            for number, form in enumerate(found)
        ]
        order = np.lexsort((np.array(ranks, np.int64), narrowest))
        places = np.full(len(order) + 1, MISSING)  # the last is that of a missing one
        places[order] = np.arange(len(order))
        for made, numbers in self._columns:
            made.update(indices(places[numbers]))
        table, place = Table([], []), 0
        for _, run in groupby(order.tolist(), lambda number: (narrowest[number], ranks[number])):
            members = list(run)
            alike = [form for number in members if (form := found[number]) is not None]
            if len(alike) >= FEWEST:
                table.series.append(_packed(place, series(alike)))
            else:
                table.words.extend(self._values[number] for number in members)
            place += len(members)
        return table

    def _number(self, value: Any) -> int:
        if value is None:
            return MISSING
        key = value if type(value) is str else _key(value)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self._values)
            self._values.append(plain(value))
        return found


def _packed(place: int, one: Series) -> Packed:
    """A series whose first word is at this place."""
    return {
        "at": place,
        "count": len(one.numbers),
        "text": list(one.pieces),
        "numbers": [indices(column) for column in zip(*one.numbers, strict=True)],
        "commas": one.commas,
    }


def _keys(values: Sequence[Any]) -> Sequence[Hashable] | None:
    """What tells values of one type apart, as quickly as Python can; None where types differ."""
    kinds = set(map(type, values)) - {NoneType}
    if not kinds:
        return [None] * len(values)
    if kinds == {str} or kinds == {int}:
        return values
    if kinds == {list}:
        inside = set(map(type, chain.from_iterable(value for value in values if value)))
        if inside <= {int} or inside <= {str, NoneType}:
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
