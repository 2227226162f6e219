"""What boxes and groups of the page say, in columns: their names, texts and attributes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias

from tracer_render.identifiers import Identifiers, identifier
from tracer_render.packing import MISSING, Words, floats, indices
from tracer_render.scopes import Attributes

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


def told(nodes: Sequence[Attributes | None]) -> dict[str, Column]:
    """By name, the attributes that are told of nodes."""
    given: list[Attributes] = [{} if data is None else data for data in nodes]
    names = {name for data in given for name in data} - UNTOLD
    return {name: _told([data.get(name) for data in given]) for name in sorted(names)}


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


class Columns:
    """The columns of a view. Its boxes and groups have names and words in common."""

    def __init__(self) -> None:
        self.words = Words()
        self._identifiers = Identifiers()

    def of(
        self,
        names: Sequence[Hashable],
        texts: Sequence[Mapping[str, Any]],
        attributes: Mapping[str, Column],
        prefix: str = "",
    ) -> dict[str, Any]:
        """The columns of boxes whose names begin with `prefix`, or of groups: those have none.

        A name is None, and its texts say nothing, where there is no box.
        """
        return {
            "id": self._names(names, attributes.get("scope"), prefix),
            **{key: self.words.column([text.get(key) for text in texts]) for key in TEXTS},
            "attributes": {
                key: self._attribute(key, values)
                for key, values in sorted(attributes.items())
                if any(value is not None for value in values)
            },
        }

    def _names(
        self, names: Sequence[Hashable], scopes: Column | None, prefix: str
    ) -> dict[str, Any]:
        """Names as numbers after a prefix, -1 where there is no box.

        `others` are those that are made otherwise, by place; names of calls come from their scope.
        """
        numbers: list[int] = []
        others: dict[int, str] = {}
        for place, given in enumerate(names):
            if given is None:
                numbers.append(MISSING)
                continue
            name = self._identifiers.new(given)
            number = name.removeprefix(prefix)
            if prefix and _is_plain(number) and len(number) < len(name):
                numbers.append(int(number))
                continue
            numbers.append(0)
            sign = "∇" if str(given).startswith("∇") else ""
            scope = scopes[place] if scopes else None
            if prefix or name != identifier(f"{sign}module {scope}"):
                others[place] = name
        return {"prefix": prefix, "number": indices(numbers), "others": others}

    def _attribute(self, key: str, values: Column) -> dict[str, Any]:
        kinds = set(map(type, values)) - {NoneType}
        if key in NUMBERS and all(issubclass(kind, int | float) for kind in kinds):
            return floats(values, short=key in ("min", "max") and len(values) > MANY)
        return self.words.column(values)


def _is_plain(number: str) -> bool:
    """Whether a whole number is as `str` writes it, and fits into a column."""
    return number.isdecimal() and len(number) < 10 and (number[0] != "0" or number == "0")
