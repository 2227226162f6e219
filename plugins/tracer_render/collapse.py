"""Calls nested too deeply to be shown become one node each."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from functools import cached_property

import networkx as nx

from tracer.errors import GraphError
from tracer_render import loops
from tracer_render.calls import Calls, Level
from tracer_render.scopes import Attributes, computed
from tracer_render.summaries import Steps, Summaries, is_parameter


def collapse(
    graph: nx.MultiDiGraph, depth: int | None, opened: Collection[str] = ()
) -> nx.MultiDiGraph:
    """The graph in which each call nested deeper than `depth` levels is one node.

    Depth 0 leaves one node per call of an outermost module, and one for its cotangents; both for
    each step of a loop that calls it. A module that calls no other is one node at any depth. Such a
    node has the kind `module` (`cotangent` for its cotangents), the counts `operations`,
    `parameters` and `parameter_values`, its `members`, and as `norm` the Euclidean norm over its
    parameters, or over all members where it has none. Modules whose paths are `opened` are open.
    None leaves the graph as it is. Raises `GraphError` for a negative depth.
    """
    if depth is None:
        return graph
    if depth < 0:
        raise GraphError(f"depth counts levels of modules from 0, and {depth} came: use 0 or more")
    return Closed(graph, Calls(graph), loops.find(graph), depth, opened=opened).graph()


class Closed:
    """A graph with some of its calls closed: which nodes each of them holds.

    Where it is `thin`, a call that holds nothing but another one is closed with that. Modules whose
    paths are `opened`, and those around them, are not closed.
    """

    def __init__(
        self,
        graph: nx.MultiDiGraph,
        calls: Calls,
        steps: Mapping[Hashable, Steps],
        depth: int,
        thin: bool = False,
        opened: Collection[str] = (),
    ):
        self._graph = graph
        self._calls = calls
        self._steps = steps
        self._thin = thin
        self._opened = opened
        #: node -> the closed call that it is in, of those that operations made
        self.owner: dict[Hashable, str] = {}
        #: leaf -> the closed calls that it is in
        self.inside: dict[Hashable, set[str]] = {}
        self._summaries = Summaries(graph, calls)
        self._levels: dict[str, tuple[Level, Steps]] = {}
        self._names: dict[Hashable, str] = {}
        self._taken: set[str] = set(map(str, graph))
        for node, data in graph.nodes(data=True):
            if computed(data):
                self._own(node, data, depth)
        for node, data in graph.nodes(data=True):
            if not computed(data):
                self._take_leaf(node, data)

    def _own(self, node: Hashable, data: Attributes, depth: int) -> None:
        chain = self._calls.around(node)
        at = depth
        if len(chain) <= depth:
            if not chain or not self._calls.is_whole(chain[-1]):
                return
            at = len(chain) - 1
        while self._thin and at and self._calls.holds_one(chain[at - 1]):
            at -= 1
        while any(self._is_around(chain[at].scope, path) for path in self._opened):
            at += 1
            if at == len(chain):
                return
        self.owner[node] = self._name(chain[at], self._steps.get(node, ()), data)

    @staticmethod
    def _is_around(scope: str, path: str) -> bool:
        return path == scope or path.startswith(f"{scope}.")

    def _name(self, level: Level, steps: Steps, data: Attributes) -> str:
        """The name of the node that a call becomes, or its cotangents do."""
        around = tuple(step for step in steps if step.depth <= level.outside)
        if level.times is not None:
            around = steps[: level.times]
        name = self._names.get((level.key, around))
        if name is None:
            name = f"module {level.scope or level.kind}"
            when = ", ".join(f"t = {step.time} of loop {step.loop}" for step in around)
            name = stem = f"{name} ({when})" if when else name
            number = 1
            while name in self._taken or f"∇{name}" in self._taken:
                number += 1
                name = f"{stem}, call {number}"
            self._taken.add(name)
            self._names[level.key, around] = name
        if data.get("kind") == "cotangent":
            name = f"∇{name}"
        self._levels[name] = level, around
        return name

    def _take_leaf(self, leaf: Hashable, data: Attributes) -> None:
        """Leaves that closed calls alone use are inside of them; parameters, of each that does."""
        graph = self._graph
        users = {self.owner.get(user) for user in (*graph.succ[leaf], *graph.pred[leaf])}
        within = bool(self._calls.around(leaf))
        held = is_parameter(data) and (within or data.get("kind") == "parameter")
        if held or (within and users and None not in users):
            self.inside[leaf] = {user for user in users if user is not None}

    def count(self) -> int:
        """How many boxes there are at least, in the direction that has more of them."""
        own: tuple[set[Hashable], set[Hashable]] = (set(), set())
        for node, data in self._graph.nodes(data=True):
            if computed(data):
                own[data.get("kind") == "cotangent"].add(self.owner.get(node, node))
        return max(map(len, own))

    @cached_property
    def shown_leaves(self) -> list[Hashable]:
        """The leaves that are not inside of closed calls alone."""
        graph = self._graph
        return [
            leaf
            for leaf, data in graph.nodes(data=True)
            if not computed(data)
            and (
                not self.inside.get(leaf)
                or any(n not in self.owner for n in (*graph.succ[leaf], *graph.pred[leaf]))
            )
        ]

    def graph(self) -> nx.MultiDiGraph:
        """The graph with a node for each closed call."""
        graph, result = self._graph, nx.MultiDiGraph(**self._graph.graph)
        members: dict[str, list[Hashable]] = {}
        for node in graph:
            for name in self._owners(node):
                members.setdefault(name, []).append(node)
        shown = set(self.shown_leaves)
        for node, data in graph.nodes(data=True):
            for name in self._owners(node):
                if name not in result:
                    level, around = self._levels[name]
                    found = self._summaries.of(level, around, members[name])
                    if found["kind"] == "cotangent":
                        found["of"] = name.removeprefix("∇")
                    result.add_node(name, **found)
            if node in shown or (computed(data) and node not in self.owner):
                kept = dict(data)
                if kept.get("of") in self.owner:
                    kept["of"] = self.owner[kept["of"]]
                if self.inside.get(node):  # it stands in closed calls, and here for other users
                    kept |= {"held": True, "scope": "", "scopes": [], "call": None}
                result.add_node(node, **kept)

        merged: dict[tuple[Hashable, ...], list[Attributes]] = {}
        for tail, head, data in graph.edges(data=True):
            ends = self._end(tail, head), self._end(head, tail)
            if ends == (tail, head):
                result.add_edge(tail, head, **data)
            elif ends[0] != ends[1] or data.get("delay"):
                key = (*ends, data.get("kind", "data"), data.get("delay", 0))
                merged.setdefault(key, []).append(data)
        for (tail, head, *_), edges in merged.items():
            shapes = {tuple(edge.get("shape") or ()) for edge in edges}
            shape = edges[0].get("shape") if len(shapes) == 1 else None
            merged_into = {**edges[0], "shape": shape, "merged": len(edges)}
            if len({edge.get("change") for edge in edges}) > 1:
                merged_into["change"] = None
            result.add_edge(tail, head, **merged_into)
        return result

    def _owners(self, node: Hashable) -> list[str]:
        if node in self.owner:
            return [self.owner[node]]
        return sorted(self.inside.get(node, ()))

    def _end(self, node: Hashable, other: Hashable) -> Hashable:
        """The node that shows one end of an edge: a leaf inside of the call that uses it is it."""
        user = self.owner.get(other)
        if user is not None and user in self.inside.get(node, ()):
            return user
        return self.owner.get(node, node)
