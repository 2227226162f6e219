"""What the page knows of a graph: its outline, what each box says, and the lines, in columns.

A box stands for a value and its cotangent, which are drawn side by side. assets/data.js reads this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import networkx as nx

from tracer.extend import DrawOptions
from tracer_render import numbers, style, words
from tracer_render.calls import Level
from tracer_render.identifiers import Identifiers, identifier
from tracer_render.opening import opened
from tracer_render.outline import Box, Group, Outline
from tracer_render.packing import MISSING, Words, floats, indices
from tracer_render.scopes import Attributes, computed, scope_path
from tracer_render.summaries import Summaries

#: A node or the name of a group, its texts, and the attributes that are told of it.
Told: TypeAlias = tuple[Hashable, dict[str, Any], dict[str, Any]]

#: What is written in boxes, and how they look; the title of calls is their scope and `class`.
TEXTS = ("title", "class", "notes", "rows", "marks", "kind", "module")
#: Attributes that are a number of its own in each node.
NUMBERS = ("norm", "min", "max", "flops", "seconds")
#: Attributes that are told elsewhere, or are no use to a reader of details.
UNTOLD = frozenset(
    ("call", "of", "kind", "scopes", "members", "class", "module", "weights", "first", "stride")
)
#: What says nothing in a box but by the label, the shape and the dtype.
PLAIN = frozenset(
    "kind op label shape dtype nbytes scope scopes call time times loop source norm min max nan inf"
    " of flops seconds".split()
)
TOLD_BY = frozenset(("kind", "label", "shape", "dtype", "scope"))
#: Of more boxes than this, smallest and largest elements are kept to two digits.
MANY = 50_000
#: Lists in the details of a node are cut to this many entries.
LONGEST_LIST = 100
#: Of a line: it is drawn among the values, among the cotangents, it comes from another step, and
#: its ends are no leaves.
FORWARD, BACK, DELAYED, SPINE = 1, 2, 4, 8

#: what the legend calls lines with these
SORTS = {FORWARD: "data", BACK: "cotangent", DELAYED: "delayed"}


def view(graph: nx.MultiDiGraph, options: DrawOptions) -> dict[str, Any]:
    """A graph for the page, with what is open at first."""
    return _View(graph, options).data()


class _View:
    def __init__(self, graph: nx.MultiDiGraph, options: DrawOptions):
        self._graph = graph
        self._data: dict[Hashable, Attributes] = dict(graph.nodes(data=True))
        self._outline = Outline(graph, options.steps)
        self._open = opened(self._outline, options)
        self._summaries = Summaries(graph, self._outline.calls)
        self._values: Mapping[Any, float] = options.values or {}
        self._words = Words()
        #: what the legend explains: kinds of boxes, marks, and kinds of lines
        self._signs: set[tuple[str, str]] = set()
        #: whether something has so many children that they are in rows
        self._has_rows = False
        self._known_texts: dict[Hashable, dict[str, Any]] = {}
        self._identifiers = Identifiers()
        self._partners: dict[Hashable, Hashable] = {
            data["of"]: node
            for node, data in graph.nodes(data=True)
            if data.get("kind") == "cotangent" and data.get("of") in graph
        }
        self._boxes = list(self._outline.root.boxes())
        self._places = {box: place for place, box in enumerate(self._boxes)}
        self._nodes = [box.node for box in self._boxes]
        self._cotangents = [self._cotangent(box) for box in self._boxes]

    def data(self) -> dict[str, Any]:
        backward = any(node is not None for node in self._cotangents)
        boxes = self._boxes_told(self._nodes)
        boxes["repeated"] = [i for i, box in enumerate(self._boxes) if box.user is not None]
        if boxes["repeated"]:
            self._signs.add(("mark", "repeated"))
        boxes["step"] = indices(self._steps())
        return {
            "count": len(self._boxes),
            "boxes": boxes,
            "back": self._boxes_told(self._cotangents) if backward else None,
            "groups": self._groups(),
            "lines": self._lines(),
            "words": self._words.table,
            "signs": sorted(self._signs),
            "has_rows": self._has_rows,
        }

    def _cotangent(self, box: Box) -> Hashable:
        """The node of a box's cotangent, if it is drawn beside it."""
        cotangent = self._partners.get(box.node)
        if cotangent is None or box.user is None:
            return cotangent
        user = self._partners.get(box.user)
        beside = user is not None and self._graph.has_edge(user, cotangent)
        return cotangent if beside else None

    def _steps(self) -> list[int]:
        """The step of the outermost loop that each box is in."""
        found = [MISSING] * len(self._boxes)
        waiting = [self._outline.root]
        for group in waiting:
            for child in group.children:
                if isinstance(child, Group):
                    waiting.append(child)
                elif group.steps:
                    found[self._places[child]] = group.steps[0].time
        return found

    # -- boxes ------------------------------------------------------------------------------------

    def _boxes_told(self, nodes: Sequence[Hashable]) -> dict[str, Any]:
        """What boxes of these nodes say; of a cotangent, only what its value does not say too."""
        told: list[Told | None] = []
        for box, node in zip(self._boxes, nodes, strict=True):
            if node is None:
                told.append(None)
                continue
            data = self._data[node]
            found = dict(_told(data))
            if node != box.node:
                value = self._data[box.node]
                found = {k: v for k, v in found.items() if k not in value or v != value[k]}
            texts = self._texts_of_node(node, data)
            _drop_label(texts, found, data)
            told.append((node, texts, found))
        given = [self._values.get(each) if each is not None else None for each in nodes]
        prefix = "n" if nodes is self._nodes else "d"
        return {**self._columns(told, prefix), "values": floats(given) if self._values else None}

    def _columns(self, told: Sequence[Told | None], prefix: str = "") -> dict[str, Any]:
        """What boxes say whose names begin with this, or groups: those have no prefix."""
        texts = [{} if each is None else each[1] for each in told]
        attributes = [{} if each is None else each[2] for each in told]
        keys = dict.fromkeys(key for found in attributes for key in found)
        return {
            "id": self._names(told, prefix),
            **{key: self._words.column(text.get(key) for text in texts) for key in TEXTS},
            "attributes": {
                key: self._attribute(key, [found.get(key) for found in attributes])
                for key in sorted(keys)
            },
        }

    def _names(self, told: Sequence[Told | None], prefix: str) -> dict[str, Any]:
        """Names as numbers after a prefix, -1 where there is no box.

        `others` are those that are made otherwise, by place; names of calls come from their scope.
        """
        numbers: list[int] = []
        others: dict[int, str] = {}
        for place, each in enumerate(told):
            if each is None:
                numbers.append(MISSING)
                continue
            node, _, found = each
            name = self._identifiers.new(node)
            number = name.removeprefix(prefix)
            if prefix and number.isdecimal() and f"{prefix}{int(number)}" == name:
                numbers.append(int(number))
                continue
            numbers.append(0)
            sign = "∇" if str(node).startswith("∇") else ""
            if prefix or name != identifier(f"{sign}module {found.get('scope')}"):
                others[place] = name
        return {"prefix": prefix, "number": indices(numbers), "others": others}

    def _attribute(self, key: str, values: list[Any]) -> dict[str, Any]:
        if key in NUMBERS and all(v is None or isinstance(v, int | float) for v in values):
            return floats(values, short=key in ("min", "max") and len(values) > MANY)
        return self._words.column(values)

    def _texts_of_node(self, node: Hashable, data: Attributes) -> dict[str, Any]:
        """The texts of a node; those of a plain one are the same for all that are like it."""
        if not TOLD_BY <= data.keys() <= PLAIN or data.get("nan") or data.get("inf"):
            return self._texts(node, data)
        label = data["label"]
        key = (
            *(data["kind"], label, data["dtype"], tuple(data["shape"] or ())),
            *(data["scope"] if "." in label else "", math.isfinite(data.get("norm") or 0.0)),
        )
        found = self._known_texts.get(key)
        if found is None:
            found = self._known_texts[key] = self._texts(node, data)
        return found

    def _texts(self, node: Hashable, data: Attributes) -> dict[str, Any]:
        marks = list(words.marks(data, None))
        kind = data.get("kind") or "operation"
        self._signs |= {("box", kind), *(("mark", mark) for mark in marks)}
        if data.get("module") is not None:
            self._signs.add(("mark", "shared"))
        return {
            "title": style.elide(words.title(node, data, scope_path(data))) or "(no name)",
            "notes": list(words.notes(data, None)) or None,
            "rows": list(numbers.rows(data)) or None,
            "marks": " ".join(marks) or None,
            "kind": kind,
            "module": data.get("module"),
        }

    # -- groups -----------------------------------------------------------------------------------

    def _groups(self) -> dict[str, Any]:
        """Each group after the one around it; its boxes are those from `begin` up to `end`."""
        groups: list[Group] = []
        parents: list[int] = []
        begins: list[int] = []
        ends: list[int] = []
        begin = 0
        waiting: list[tuple[Group | Box | None, int]] = [(self._outline.root, MISSING)]
        while waiting:
            child, number = waiting.pop()
            if isinstance(child, Group):
                parents.append(number)
                number = len(groups)
                groups.append(child)
                begins.append(begin)
                ends.append(begin)
                waiting.append((None, number))
                waiting.extend((each, number) for each in reversed(child.children))
            elif child is None:
                ends[number] = begin
            else:
                begin += 1
        self._has_rows = any(group.sort == "row" for group in groups)
        values, back = [], []
        for group, start, end in zip(groups, begins, ends, strict=True):
            values.append(self._of_members(group, self._nodes[start:end]))
            back.append(self._of_members(group, self._cotangents[start:end]))
        return {
            "count": len(groups),
            "parent": indices(parents),
            "begin": indices(begins),
            "end": indices(ends),
            "open": [number for number, group in enumerate(groups) if group in self._open],
            "values": self._columns(values),
            "back": self._columns(back) if any(back) else None,
        }

    def _of_members(self, group: Group, nodes: Sequence[Hashable]) -> Told | None:
        """What a closed group says, of its values or of their cotangents; None without any."""
        members = list(dict.fromkeys(node for node in nodes if node is not None))
        if not members or group.sort == "root":
            return None
        level, first = group.level, self._data[members[0]]
        if level is not None:
            data = self._summaries.of(level, group.steps, members)
            name = f"module {level.scope or level.kind}"
        else:
            data = self._of_many(group, members)
            name = group.sort
        if first.get("kind") == "cotangent" and first.get("of") in self._data:
            name = f"∇{name}"
        texts = self._texts(name, data)
        texts["class"] = data.get("class")
        back = "∇ " if texts["kind"] == "cotangent" else ""
        if texts["title"] == f"{back}{data.get('scope')}  {data.get('class')}":
            texts["title"] = None
        if group.sort in ("step", "alike", "row"):
            count = data["operations"]
            texts["notes"] = [*(texts["notes"] or ()), f"{count:,} operation{'s' * (count != 1)}"]
        return name, texts, dict(_told(data))

    def _of_many(self, group: Group, members: list[Hashable]) -> dict[str, Any]:
        """The attributes of a group that is no call."""
        nodes = [self._data[member] for member in members]
        back = nodes[0].get("kind") == "cotangent"
        sign = "∇ " if back else ""
        operations = sum(bool(data.get("op")) for data in nodes)
        data: dict[str, Any] = {"kind": "cotangent" if back else "elided", "op": ""}
        times = _times(group)
        if group.sort == "step":
            data["label"] = f"{sign}t = {group.steps[-1].time:,}"
        elif group.sort == "steps":
            data |= {"elided": len(times), "between": [times[0], times[-1]]}
            data["label"] = f"{sign}… {len(times):,} steps …"
        elif times:
            data["label"] = f"{sign}t = {times[0]:,} … {times[-1]:,}"
        elif group.sort == "alike":
            levels = _levels(group)
            data |= {"class": levels[0].kind, "scope": levels[0].scope, "last": levels[-1].scope}
            data["repeats"] = len(levels)
        else:
            titles = [str(each.get("label") or "").removeprefix("∇ ") for each in nodes]
            data["label"] = f"{sign}{titles[0]} … {titles[-1]}"
        data["operations"] = operations
        for count in ("nan", "inf"):
            if any(count in each for each in nodes):
                data[count] = sum(each.get(count) or 0 for each in nodes)
        failed = next((each for each in nodes if each.get("failed")), None)
        if failed is not None:
            data |= {"failed": True, "error": failed.get("error", "")}
        changes = {each.get("change") for each in nodes}
        if changes != {None}:
            data["change"] = changes.pop() if len(changes) == 1 else "changed"
        return data

    # -- lines ------------------------------------------------------------------------------------

    def _lines(self) -> dict[str, Any]:
        """Each line between values has the way back of its cotangents beside it, where there is."""
        graph, value_of = self._graph, {c: v for v, c in self._partners.items()}
        back: Counter[tuple[Hashable, Hashable]] = Counter(
            (value_of[tail], value_of[head])
            for tail, head in graph.edges()
            if tail in value_of and head in value_of
        )
        tails, heads, flags, labels, changes = [], [], [], [], []

        def add(tail: Hashable, head: Hashable, flag: int, label: str, change: str | None) -> None:
            own = computed(graph.nodes[tail]) and computed(graph.nodes[head])
            tails.append(self._place(tail, head))
            heads.append(self._place(head, tail))
            flags.append(flag | (SPINE if own else 0))
            labels.append(label or None)
            changes.append(change)

        for tail, head, data in graph.edges(data=True):
            if tail in value_of or head in value_of:
                continue
            flag = FORWARD | (DELAYED if data.get("delay") else 0)
            if back[head, tail] > 0:
                back[head, tail] -= 1
                flag |= BACK
            label = words.flow(graph, tail, head, data) if data.get("delay") else ""
            add(tail, head, flag, label, data.get("change"))
        for (tail, head), count in back.items():
            for _ in range(count):
                add(head, tail, BACK, "", None)
        seen = {sort for flag in set(flags) for bit, sort in SORTS.items() if flag & bit}
        if any(c is not None and computed(self._data[b.node])
               for b, c in zip(self._boxes, self._cotangents, strict=True)):  # fmt: skip
            seen.add("pair")
        self._signs |= {("line", sort) for sort in seen}
        self._signs |= {("mark", change) for change in changes if change}
        return {
            "count": len(tails),
            "tail": indices(tails),
            "head": indices(heads),
            "flags": indices(flags),
            "label": self._words.column(labels),
            "change": self._words.column(changes),
        }

    def _place(self, node: Hashable, other: Hashable) -> int:
        """The place of the box that shows a node to another one."""
        found = self._places.get(Box(node, other))
        return self._places[Box(node)] if found is None else found


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


def _drop_label(texts: Attributes, found: dict[str, Any], data: Attributes) -> None:
    """Leave out a label that is the title, or the title of something in its module."""
    mark, name = (
        ("∇ ", texts["title"][2:]) if data.get("kind") == "cotangent" else ("", texts["title"])
    )
    if found.get("label") in (f"{mark}{name}", f"{mark}{data.get('scope')}.{name}"):
        del found["label"]


def _told(data: Attributes) -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        if value is None or key in UNTOLD:
            continue
        if isinstance(value, str | list):
            if not value:
                continue
            if len(value) > LONGEST_LIST and isinstance(value, list):
                value = [*value[:LONGEST_LIST], f"… {len(value):,} in all"]
        yield key, value
