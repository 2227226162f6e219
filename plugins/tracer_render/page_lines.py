"""The lines of the page: between which boxes, in which directions, and what is written on them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx

from tracer_render import words
from tracer_render.outline import Box
from tracer_render.packing import Words, indices
from tracer_render.scopes import Attributes

#: Of a line: it is drawn among the values, among the cotangents, it comes from another step, and
#: its ends are no leaves.
FORWARD, BACK, DELAYED, SPINE = 1, 2, 4, 8

#: what the legend calls lines with these
SORTS = {FORWARD: "data", BACK: "cotangent", DELAYED: "delayed"}


class Lines(NamedTuple):
    """The lines in columns, and what the legend explains of them, as kind and name."""

    columns: dict[str, Any]
    signs: set[tuple[str, str]]


class Places:
    """The numbers of the boxes that show nodes to their neighbours."""

    def __init__(self, boxes: Sequence[Box]):
        self._of_node: dict[Hashable, int] = {}
        self._of_copy: dict[Box, int] = {}
        for place, box in enumerate(boxes):
            if box.user is None:
                self._of_node[box.node] = place
            else:
                self._of_copy[box] = place

    def of(self, pairs: Iterable[tuple[Hashable, Hashable]]) -> list[int]:
        """For each node and neighbour, the number of the box that shows it to that one."""
        known, copies = self._of_node, self._of_copy
        return [known[node] if node in known else copies[Box(node, by)] for node, by in pairs]


def told(
    graph: nx.MultiDiGraph,
    value_of: Mapping[Hashable, Hashable],
    own: Collection[Hashable],
    places: Places,
    table: Words,
) -> Lines:
    """The lines; `value_of` has the cotangents that stand beside a value.

    `own` are the nodes that are no leaves. Each line between values has the way back of its
    cotangents beside it, where there is one.
    """
    forward: list[tuple[Hashable, Hashable, Attributes]] = []
    back: dict[tuple[Hashable, Hashable], int] = {}
    for tail, heads in graph.adjacency():
        value = value_of.get(tail)
        for head, edges in heads.items():
            if value is None and head not in value_of:
                forward += [(tail, head, data) for data in edges.values()]
            elif value is not None and head in value_of:
                back[value_of[head], value] = len(edges)
    lines: list[tuple[Hashable, Hashable, int, str | None, str | None]] = []
    for tail, head, data in forward:
        flag, label = FORWARD, None
        if data.get("delay"):
            flag, label = FORWARD | DELAYED, words.flow(graph, tail, head, data) or None
        if back.get((tail, head)):
            back[tail, head] -= 1
            flag |= BACK
        lines.append((tail, head, flag, label, data.get("change")))
    lines += [(*ends, BACK, None, None) for ends, count in back.items() for _ in range(count)]
    flags = {flag for _, _, flag, *_ in lines}
    signs = {("line", sort) for bit, sort in SORTS.items() if any(flag & bit for flag in flags)}
    signs |= {("mark", change) for *_, change in lines if change}
    columns = {
        "count": len(lines),
        "tail": indices(places.of([(tail, head) for tail, head, *_ in lines])),
        "head": indices(places.of([(head, tail) for tail, head, *_ in lines])),
        "flags": indices(
            [flag | (SPINE if t in own and h in own else 0) for t, h, flag, *_ in lines]
        ),
        "label": table.column([label for *_, label, _ in lines]),
        "change": table.column([change for *_, change in lines]),
    }
    return Lines(columns, signs)
