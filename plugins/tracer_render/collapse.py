"""Calls nested too deeply to be shown become one node each."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from functools import cached_property
from typing import Any

import networkx as nx

from tracer.errors import GraphError
from tracer_render import loops
from tracer_render.calls import Calls, Level
from tracer_render.measures import euclidean
from tracer_render.scopes import Attributes, class_names, computed

Steps = tuple[loops.Step, ...]


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
                    result.add_node(name, **self._module(name, members[name]))
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

    def _module(self, name: str, members: list[Hashable]) -> dict[str, Any]:
        level, around = self._levels[name]
        nodes = [self._graph.nodes[member] for member in members]
        own = [n for n in nodes if computed(n)] or nodes
        first, last = own[0], own[-1]
        cotangents = first.get("kind") == "cotangent"
        parameters = [n for n in nodes if is_parameter(n)]
        operations = [n for n in nodes if n.get("op")]
        output = self._output(members, cotangents) or last
        module: dict[str, Any] = {
            "kind": "cotangent" if cotangents else "module",
            "op": "",
            "label": f"∇ {level.kind}" if cotangents else level.kind,
            "scope": level.scope,
            "scopes": list(class_names(first)[: len(level.scope.split("."))]),
            "call": level.key if isinstance(level.key, int) else None,
            "class": level.kind,
            "module": level.module,
            "hyperparameters": level.hyperparameters,
            "shape": output.get("shape"),
            "dtype": output.get("dtype"),
            "nbytes": sum(n.get("nbytes") or 0 for n in nodes),
            "time": around[-1].time if around else None,
            "source": first.get("source"),
            "operations": len(operations),
            "parameters": len(parameters),
            "parameter_values": sum(math.prod(n.get("shape") or ()) for n in parameters),
            "members": list(members),
        }
        if level.module is not None:
            module["number"], module["count"] = level.number, level.calls
        if self._calls.is_whole(level):
            module["weights"] = [
                {"name": _short(n, level.scope), "shape": n.get("shape"), "frozen": _frozen(n)}
                for n in parameters
            ]
        if around:
            module["times"], module["loop"] = [step.time for step in around], around[-1].loop
        times = {tuple(n.get("times", ())[len(around) :]) for n in nodes} - {()}
        steps = max([len(times), *(n.get("steps") or 0 for n in nodes)])
        if steps:
            module["steps"] = steps
        if cotangents:
            module["of"] = name.removeprefix("∇")
        norms = [n["norm"] for n in parameters or nodes if n.get("norm") is not None]
        if norms:
            module["norm"] = euclidean(norms)
        for count in ("nan", "inf"):
            if any(count in n for n in nodes):
                passing = self._swallowed if count == "inf" else ()
                counted = (m for m in members if m not in passing)
                module[count] = sum(self._graph.nodes[m].get(count) or 0 for m in counted)
        if any(n.get("reached") is False for n in nodes):
            module["reached"] = any(n.get("reached") is True or "norm" in n for n in nodes)
        changes = {n.get("change") for n in own}  # parameters may be those of other calls, too
        if changes not in ({"added"}, {"removed"}):
            changes = {n.get("change") for n in nodes}
        if changes != {None}:
            module["change"] = changes.pop() if len(changes) == 1 else "changed"
        failed = next((n for n in nodes if n.get("failed")), None)
        if failed is not None:
            module |= {"failed": True, "error": failed.get("error", "")}
        return module

    @cached_property
    def _swallowed(self) -> set[Hashable]:
        """Values whose infinities no later value has, as a mask's before a softmax."""
        graph = self._graph
        swallowed: set[Hashable] = set()
        for node in reversed(list(graph)):
            data = graph.nodes[node]
            if data.get("kind") == "operation" and data.get("inf") and not data.get("nan"):
                users = list(graph.succ[node])
                ill = {user for user in users if _is_ill(graph.nodes[user])}
                if users and ill <= swallowed:
                    swallowed.add(node)
        return swallowed

    def _output(self, members: list[Hashable], cotangents: bool) -> Attributes | None:
        """What leaves a call: its last value that others use, or its first cotangent from them."""
        graph, inside = self._graph, set(members)
        own = [m for m in members if computed(graph.nodes[m])]
        if cotangents:
            leaving = (m for m in reversed(own) if any(n not in inside for n in graph.pred[m]))
        else:
            leaving = (m for m in reversed(own) if any(n not in inside for n in graph.succ[m]))
        found = next(leaving, None)
        return graph.nodes[found if found is not None else own[-1]] if own else None


def _is_ill(data: Attributes) -> bool:
    return bool(data.get("inf") or data.get("nan"))


def _short(data: Attributes, scope: str) -> str:
    """The name of a parameter in the module that it is of."""
    label = str(data.get("label") or "parameter").removeprefix("∇ ")
    return label.removeprefix(f"{scope}.") if scope else label


def _frozen(data: Attributes) -> bool:
    return bool(data.get("frozen"))


def is_parameter(data: Attributes) -> bool:
    """Whether a node is a parameter or the gradient of a leaf, which no operation made."""
    return data.get("kind") == "parameter" or (
        data.get("kind") == "cotangent" and not data.get("op") and "operations" not in data
    )
