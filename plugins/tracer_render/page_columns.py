"""What boxes and groups of the page say, in columns: their names, texts and attributes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import NoneType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tracer_render.identifiers import Identifiers, identifier
from tracer_render.packing import MISSING, Words, distinct, floats, indices
from tracer_render.scopes import Attributes, attribute_names

#: A value for each box or group, None where there is none.
Column: TypeAlias = list[Any]

#: What is written in boxes, and how they look; the title of calls is their scope and `class`.
TEXTS = ("title", "class", "notes", "rows", "marks", "kind", "module")
#: Attributes that are a number of its own in each node.
NUMBERS = ("norm", "min", "max", "flops", "seconds")
#: Attributes that are told elsewhere, or are no use to a reader of details.
UNTOLD = frozenset(
    ("call", "of", "kind", "scopes", "members", "class", "module", "weights", "first", "stride")
)
#: Attributes that a cotangent does not share with its value, though they may be equal.
OWN = frozenset(("norm", "min", "max", "nan", "inf", "reached", "seconds", "flops", "values"))
#: Of more boxes than this, smallest and largest elements are kept to two digits.
MANY = 50_000
#: Lists in the details of a node are cut to this many entries.
LONGEST_LIST = 100


class Encoded(NamedTuple):
    """A column of few values: which of them is where. Each is somewhere, the first one first."""

    values: Column
    places: np.ndarray


def told(nodes: Sequence[Attributes | None]) -> dict[str, Column]:
    """By name, the attributes that are told of nodes."""
    given: list[Attributes] = [{} if data is None else data for data in nodes]
    names = sorted(attribute_names(given) - UNTOLD)
    return {name: _told([data.get(name) for data in given]) for name in names}


def told_of_kinds(
    shared: Sequence[Attributes], individual: Sequence[Attributes]
) -> dict[str, Column | Encoded]:
    """By name, the attributes that are told of groups; what groups share is one object for them."""
    few, places = distinct(shared)
    columns: dict[str, Column | Encoded] = {
        name: Encoded(values, places) for name, values in told(few).items()
    }
    for name, values in told(individual).items():
        if name in columns:
            others = _plain(columns[name])
            values = [b if a is None else a for a, b in zip(values, others, strict=True)]
        columns[name] = values
    return columns


def _told(values: Column) -> Column:
    """The values without empty ones, and with few entries of long lists."""
    kinds = set(map(type, values))
    if str in kinds:
        values = [None if value == "" else value for value in values]
    if list in kinds:
        values = [_short(value) if type(value) is list else value for value in values]
    return values


def _short(entries: list[Any]) -> list[Any] | None:
    if len(entries) <= LONGEST_LIST:
        return entries or None
    return [*entries[:LONGEST_LIST], f"… {len(entries):,} in all"]


def _plain(column: Column | Encoded) -> Column:
    """A value for each box or group."""
    if isinstance(column, Encoded):
        return [column.values[place] for place in column.places.tolist()]
    return column


def _is_empty(values: Column) -> bool:
    return set(map(type, values)) <= {NoneType}


class Columns:
    """The columns of a view. Its boxes and groups have names and words in common."""

    def __init__(self) -> None:
        self.words = Words()
        self._identifiers = Identifiers()

    def of(
        self,
        names: Sequence[Hashable],
        texts: Sequence[Mapping[str, Any]],
        attributes: Mapping[str, Column | Encoded],
        prefix: str = "",
    ) -> dict[str, Any]:
        """The columns of boxes whose names begin with `prefix`, or of groups: those have none.

        A name is None, and its texts say nothing, where there is no box.
        """
        few, places = distinct(texts)
        scopes = attributes.get("scope")
        return {
            "id": self._names(names, _plain(scopes) if scopes else None, prefix),
            **{key: self.words.column([text.get(key) for text in few], places) for key in TEXTS},
            "attributes": {
                key: self._attribute(key, values)
                for key, values in sorted(attributes.items())
                if not _is_empty(values.values if isinstance(values, Encoded) else values)
            },
        }

    def _names(
        self, names: Sequence[Hashable], scopes: Column | None, prefix: str
    ) -> dict[str, Any]:
        """Names in columns: what each begins with, and its `copy` among equal ones behind that.

        A box's begins with `prefix` and `number`, -1 where there is no box, or else is in `others`,
        by place. A group's begins with what its scope is spelled like, or else with `stem`.
        """
        numbers: list[int] = []
        copies: list[int] = []
        others: dict[int, str] = {}
        stems: Column = [None] * len(names)
        for place, given in enumerate(names):
            if given is None:
                numbers.append(MISSING)
                copies.append(0)
                continue
            stem = identifier(given)
            copies.append(int(self._identifiers.new(stem)[len(stem) + 1 :] or 0))
            number = stem.removeprefix(prefix)
            if prefix and _is_plain(number) and len(number) < len(stem):
                numbers.append(int(number))
                continue
            numbers.append(0)
            if prefix:
                others[place] = stem
            elif not _is_of_scope(given, stem, scopes[place] if scopes else None):
                stems[place] = stem
        return {
            "prefix": prefix,
            "number": indices(numbers),
            "copy": indices(copies),
            "others": others,
            "stem": self.words.column(stems),
        }

    def _attribute(self, key: str, column: Column | Encoded) -> dict[str, Any]:
        values, places = column if isinstance(column, Encoded) else (column, None)
        kinds = set(map(type, values)) - {NoneType}
        if key in NUMBERS and all(issubclass(kind, int | float) for kind in kinds):
            numbers = _plain(column)
            return floats(numbers, short=key in ("min", "max") and len(numbers) > MANY)
        return self.words.column(values, places)


def _is_of_scope(given: Hashable, stem: str, scope: str | None) -> bool:
    """Whether a group's name is its scope's, as assets/data.js makes it."""
    by_scope = f"{'∇' if str(given).startswith('∇') else ''}module {scope}"
    return given == by_scope or stem == identifier(by_scope)


def _is_plain(number: str) -> bool:
    """Whether a whole number is as `str` writes it, and fits into a column."""
    return number.isdecimal() and len(number) < 10 and (number[0] != "0" or number == "0")
