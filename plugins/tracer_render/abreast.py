"""Equal branches side by side among parts of a graph, such as the children of one of its calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import networkx as nx

from tracer_render import branches
from tracer_render.scopes import Attributes, computed


class Part(NamedTuple):
    """Something that is drawn as one: its `kind` is the same as that of all that may equal it.

    `nodes` and `data` are asked for where that is not enough. These attributes are what tells parts
    from others, as `runs.signature` reads it; of several nodes that is a `class`.
    """

    kind: Hashable
    nodes: Callable[[], Iterable[Hashable]]
    data: Callable[[], Attributes]


class Equal(NamedTuple):
    """By number, the parts of each set of equal branches, and of each row that adds one set up."""

    branches: list[list[int]]
    rows: list[list[int]]


class Branches:
    """Equal branches in a graph, whose operations and calls are its `own`."""

    def __init__(self, graph: nx.MultiDiGraph, own: Collection[Hashable]):
        self._graph = graph
        self._own = own

    def among(self, parts: Sequence[Part], most: int) -> Equal:
        """The sets of more than `most` equal branches among these parts, which share no node."""
        found = Equal([], [])
        many = {kind for kind, count in Counter([p.kind for p in parts]).items() if count > most}
        asked = [part for part in parts if part.kind in many]
        if not asked or self._are_chained(asked) or not self._may_be_equal(asked):
            return found
        small = _of_parts(self._graph, parts)
        branch_of: dict[Hashable, int] = {}
        for nodes in branches.equal(small):
            numbers = [node for node in nodes if isinstance(node, int)]
            if len(numbers) == len(nodes) > most:
                branch_of |= dict.fromkeys(numbers, len(found.branches))
                found.branches.append(sorted(numbers))
        for row, others in branches.rows(small):
            sets = {branch_of.get(node) for node in others}
            numbers = [node for node in row if isinstance(node, int)]
            if len(numbers) == len(row) >= most and len(sets) == 1 and None not in sets:
                found.rows.append(sorted(numbers))
        return found

    def _are_chained(self, parts: Sequence[Part]) -> bool:
        """Whether each part but one begins with what no other can read, as in a plain chain.

        Equal branches read the same: what the first operation of one reads, others read, too.
        """
        places, begins = self._places, 0
        for part in parts:
            own = [node for node in part.nodes() if node in places]
            first = min(own, key=places.__getitem__, default=None)
            used = [] if first is None else [n for n in self._graph.pred[first] if n in places]
            begins += all(
                len(self._graph.succ[node]) > 1 or places[node] > places[first] for node in used
            )
            if begins > 1:
                return False
        return True

    def _may_be_equal(self, parts: Sequence[Part]) -> bool:
        """Whether two parts of one kind are made of the same, which is seen soon."""
        seen = set()
        for part in parts:
            nodes = list(part.nodes())
            inputs = {before for node in nodes for before in self._inputs[node]}
            key = part.kind, frozenset(inputs.difference(nodes))
            if key in seen:
                return True
            seen.add(key)
        return False

    @cached_property
    def _places(self) -> dict[Hashable, int]:
        """Each operation's place in the graph."""
        return {node: place for place, node in enumerate(self._graph) if node in self._own}

    @cached_property
    def _inputs(self) -> dict[Hashable, list[Hashable]]:
        """What each node is made of, leaves left out."""
        before = self._graph.reverse(copy=False).adjacency()
        return {node: [each for each in used if each in self._own] for node, used in before}


def _of_parts(graph: nx.MultiDiGraph, parts: Sequence[Part]) -> nx.MultiDiGraph:
    """The graph of the parts, by number, with what they read and are read by, each like no other.

    Leaves are there where operations of parts read them.
    """
    small = nx.MultiDiGraph()
    small.add_nodes_from((number, dict(part.data())) for number, part in enumerate(parts))
    part_of: dict[Hashable, int] = {
        node: number
        for number, part in enumerate(parts)
        for node in part.nodes()
        if computed(graph.nodes[node])
    }

    def end(node: Hashable) -> Hashable:
        if node in part_of:
            return part_of[node]
        data: Mapping[str, object] = graph.nodes[node]
        outer = "around", node
        small.add_node(outer, **({"class": outer, "members": ()} if computed(data) else data))
        return outer

    for node in part_of:
        for before, edges in graph.pred[node].items():
            _join(small, end(before), part_of[node], edges)
        for after, edges in graph.succ[node].items():
            if after not in part_of and graph.nodes[after].get("kind") != "cotangent":
                _join(small, part_of[node], end(after), edges)
    return small


def _join(
    small: nx.MultiDiGraph, tail: Hashable, head: Hashable, edges: Mapping[int, Attributes]
) -> None:
    if tail != head:
        small.add_edges_from((tail, head, {"delay": e.get("delay", 0)}) for e in edges.values())
