"""The groups of the page: which boxes each holds, and what it says while it is closed."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any, NamedTuple

from tracer_render import page_columns
from tracer_render.calls import Level
from tracer_render.outline import Box, Group
from tracer_render.packing import MISSING, indices
from tracer_render.page_calls import NOTHING, ClosedCalls, Told
from tracer_render.page_columns import Columns
from tracer_render.page_sides import Side
from tracer_render.page_texts import Texts, Writer
from tracer_render.scopes import Attributes
from tracer_render.summaries import Summaries


class Range(NamedTuple):
    """A group, the number of the one around it, and its boxes: from `begin` up to `end`."""

    group: Group
    parent: int
    begin: int
    end: int


def ranges(root: Group) -> list[Range]:
    """Each group after the one around it; boxes are numbered in the order of the outline."""
    found: list[Range] = []
    begin = 0
    waiting: list[tuple[Group | Box | None, int]] = [(root, MISSING)]
    while waiting:
        child, number = waiting.pop()
        if isinstance(child, Group):
            waiting.append((None, len(found)))
            waiting.extend((each, len(found)) for each in reversed(child.children))
            found.append(Range(child, number, begin, begin))
        elif child is None:
            found[number] = found[number]._replace(end=begin)
        else:
            begin += 1
    return found


class Groups:
    """What the groups of an outline say, of their values and of the cotangents of these."""

    def __init__(self, root: Group, summaries: Summaries, writer: Writer, columns: Columns):
        self._ranges = ranges(root)
        self._summaries = summaries
        self._writer = writer
        self._columns = columns

    @property
    def has_rows(self) -> bool:
        """Whether something has so many children that they are in rows."""
        return any(group.sort == "row" for group, *_ in self._ranges)

    def told(self, values: Side, cotangents: Side, opened: Collection[Group]) -> dict[str, Any]:
        """The groups and which are open, in columns."""
        groups, parents, begins, ends = zip(*self._ranges, strict=True)
        return {
            "count": len(groups),
            "parent": indices(parents),
            "begin": indices(begins),
            "end": indices(ends),
            "open": [number for number, group in enumerate(groups) if group in opened],
            "values": self._side(values, ""),
            "back": self._side(cotangents, "∇") if cotangents.any else None,
        }

    def _side(self, side: Side, sign: str) -> dict[str, Any]:
        calls = ClosedCalls(self._summaries, side, self._writer)
        names: list[Hashable] = []
        told: list[Told] = []
        for group, _, begin, end in self._ranges:
            level, ends = group.level, side.ends(begin, end)
            if ends is None or group.sort == "root":
                name, each = None, NOTHING
            elif level is not None:
                name = f"{sign}module {level.scope or level.kind}"
                each = calls.told(name, level, group.steps, begin, end)
            else:
                name = f"{sign}{group.sort}"
                data = _of_members(group, side, begin, end, *ends)
                each = Told(self._texts(name, group, data), data, {})
            names.append(name)
            told.append(each)
        texts, shared, individual = zip(*told, strict=True)
        return self._columns.of(names, texts, page_columns.told_of_kinds(shared, individual))

    def _texts(self, name: str, group: Group, data: Attributes) -> Texts:
        """The texts of a group that is no call."""
        texts = self._writer.of(name, data)
        texts["class"] = data.get("class")
        if group.sort != "steps" and group.first is None:
            count = data["operations"]
            told = f"{count:,} operation{'s' * (count != 1)}"
            texts["notes"] = list(dict.fromkeys((*(texts["notes"] or ()), told)))
        return texts


def _of_members(
    group: Group, side: Side, begin: int, end: int, first: Attributes, last: Attributes
) -> Attributes:
    """The attributes of a closed group that is no call, of its first node to its last."""
    back = first.get("kind") == "cotangent"
    return {
        "kind": "cotangent" if back else "elided" if group.first is None else "operation",
        "op": "",
        **_named(group, "∇ " if back else "", first, last),
        "operations": side.operations(begin, end),
        **{count: 0 for count in ("nan", "inf") if count in last},
        **_alarms(side, begin, end),
    }


def _named(group: Group, sign: str, first: Attributes, last: Attributes) -> dict[str, Any]:
    """What a group that is no call is called, by its first node and its last."""
    times = _times(group)
    if group.sort == "step":
        return {"label": f"{sign}t = {group.steps[-1].time:,}"}
    if group.sort == "steps":
        label = f"{sign}… {len(times):,} steps …"
        return {"elided": len(times), "between": [times[0], times[-1]], "label": label}
    if times:
        return {"label": f"{sign}t = {times[0]:,} … {times[-1]:,}"}
    if group.sort in ("alike", "abreast"):
        return _of_equal(group, sign)
    begin, end = (str(data.get("label") or "").removeprefix("∇ ") for data in (first, last))
    return {"label": f"{sign}{begin} … {end}"}


def _of_equal(group: Group, sign: str) -> dict[str, Any]:
    """What a group of equal calls or operations is called, and how many these are."""
    how = {"abreast": True} if group.sort == "abreast" else {}
    if group.first is not None:
        label = group.first.get("label") or group.first.get("op")
        told = {key: group.first.get(key) for key in ("op", "shape", "dtype")}
        return {
            **told,
            "label": f"{sign}{label}",
            "repeats": group.times,
            **how,
        }
    levels = _levels(group)
    one, other = levels[0], levels[-1]
    named = {"class": one.kind, "scope": one.scope, "last": other.scope}
    return {**named, "repeats": len(levels), **how}


def _alarms(side: Side, begin: int, end: int) -> dict[str, Any]:
    """What few nodes have and nobody should overlook."""
    found: dict[str, Any] = {}
    for count in ("nan", "inf"):
        entries = sum(data[count] for data in side.having(count, begin, end))
        if entries:
            found[count] = entries
    failed = next(side.having("failed", begin, end), None)
    if failed is not None:
        found |= {"failed": True, "error": failed.get("error", "")}
    changed = list(side.having("change", begin, end))
    if changed:
        changes = {data["change"] for data in changed}
        every = len(changed) == len(side.members(begin, end))
        found["change"] = changes.pop() if len(changes) == 1 and every else "changed"
    return found


def _levels(group: Group) -> list[Level]:
    """The calls that a group of equal ones holds, also in rows."""
    found: list[Level] = []
    for child in group.groups:
        found += _levels(child) if child.level is None else [child.level]
    return found


def _times(group: Group) -> list[int]:
    """The steps that a group of nothing but steps holds, also in rows."""
    found: list[int] = []
    for child in group.children:
        if not isinstance(child, Group) or child.sort not in ("step", "row"):
            return []
        inside = [child.steps[-1].time] if child.sort == "step" else _times(child)
        if not inside:
            return []
        found += inside
    return found
