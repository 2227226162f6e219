"""What is told of a call that is drawn as one box: what its members add up to."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import networkx as nx

from tracer_render import loops
from tracer_render.calls import Calls, Level
from tracer_render.measures import euclidean
from tracer_render.scopes import Attributes, attribute_names, class_names, computed

Steps = tuple[loops.Step, ...]


class Members(NamedTuple):
    """The nodes of a call, in their order.

    `own` are those that operations made (all if there are none), `leaving` is what leaves the call:
    its last value that others use, or its first cotangent from them; None where no operation is.
    """

    nodes: list[Hashable]
    own: list[Hashable]
    parameters: list[Hashable]
    leaving: Hashable | None
    back: bool


class Summaries:
    """Attributes of closed calls: their kind is `module`, or `cotangent` for their cotangents."""

    def __init__(self, graph: nx.MultiDiGraph, calls: Calls):
        self._graph = graph
        self._calls = calls
        self._data: dict[Hashable, Attributes] = dict(graph.nodes(data=True))
        self._own = {node for node, data in self._data.items() if computed(data)}
        self._parameters = {node for node, data in self._data.items() if is_parameter(data)}
        self._users = dict(graph.adjacency())
        self._used = dict(graph.reverse(copy=False).adjacency())

    def of(self, level: Level, around: Steps, nodes: list[Hashable]) -> dict[str, Any]:
        """The attributes of the node that stands for `nodes` of a call, in steps `around` it."""
        members = self.members(nodes)
        first = self._data[members.own[0]]
        return {
            **self.shared(level, members),
            **self.individual(level, around, members),
            "scopes": list(class_names(first)[: len(level.scope.split("."))]),
            "call": level.key if isinstance(level.key, int) else None,
        }

    def members(self, nodes: list[Hashable]) -> Members:
        """What is to be known of the nodes of a call to say what it is."""
        own = [node for node in nodes if node in self._own]
        parameters = [node for node in nodes if node in self._parameters]
        back = self._data[own[0] if own else nodes[0]].get("kind") == "cotangent"
        return Members(nodes, own or nodes, parameters, self._leaving(nodes, own, back), back)

    def _leaving(self, nodes: list[Hashable], own: list[Hashable], back: bool) -> Hashable | None:
        inside = set(nodes)
        beyond = self._used if back else self._users
        for node in reversed(own):
            if not inside.issuperset(beyond[node]):
                return node
        return own[-1] if own else None

    def kind(self, level: Level, members: Members) -> Hashable:
        """What calls have in common that share their attributes, if their nodes are alike, too.

        Nodes that are alike differ only in where they are in the model and in time, and in what was
        measured of them.
        """
        output = self._data[members.leaving] if members.leaving is not None else {}
        shape = output.get("shape")
        names: tuple[str, ...] = ()
        if not members.back and self._calls.is_whole(level):
            names = tuple([_short(self._data[node], level.scope) for node in members.parameters])
        return (
            *(level.kind, level.hyperparameters, level.module, names),
            *(None if shape is None else tuple(shape), output.get("dtype")),
            self._data[members.own[0]].get("source"),
        )

    def shared(self, level: Level, members: Members) -> dict[str, Any]:
        """The attributes that calls of the same `kind` share."""
        nodes = [self._data[node] for node in members.nodes]
        own = [self._data[node] for node in members.own]
        parameters = [self._data[node] for node in members.parameters]
        output = own[-1] if members.leaving is None else self._data[members.leaving]
        module: dict[str, Any] = {
            "kind": "cotangent" if members.back else "module",
            "op": "",
            "label": f"∇ {level.kind}" if members.back else level.kind,
            "class": level.kind,
            "module": level.module,
            "hyperparameters": level.hyperparameters,
            "shape": output.get("shape"),
            "dtype": output.get("dtype"),
            "nbytes": sum([n.get("nbytes") or 0 for n in nodes]),
            "source": own[0].get("source"),
            "operations": len([n for n in own if n.get("op")]),
            "parameters": len(parameters),
            "parameter_values": sum(math.prod(n.get("shape") or ()) for n in parameters),
        }
        if not members.back and self._calls.is_whole(level):
            module["weights"] = [
                {
                    "name": _short(n, level.scope),
                    "shape": n.get("shape"),
                    "frozen": _frozen(n),
                    "change": n.get("change", ""),
                    "before": _shape_before(n),
                }
                for n in parameters
            ]
        leaving = {} if members.leaving is None else output
        return module | self._marks(level, members, nodes, own, leaving)

    def individual(self, level: Level, around: Steps, members: Members) -> dict[str, Any]:
        """What a call does not share with others: where it is, and what was measured in it."""
        found: dict[str, Any] = {
            "scope": level.scope,
            "time": around[-1].time if around else None,
            "members": members.nodes,
        }
        if level.module is not None:
            found["number"], found["count"] = level.number, level.calls
        if around:
            found["times"], found["loop"] = [step.time for step in around], around[-1].loop
        if {"times", "steps"} & self._there and (steps := self._steps(around, members.nodes)):
            found["steps"] = steps
        measured = members.parameters or members.nodes
        norms = [norm for n in measured if (norm := self._data[n].get("norm")) is not None]
        if norms:
            found["norm"] = euclidean(norms)
        return found | self._entries_that_are_no_numbers(members.nodes, members.leaving)

    def _steps(self, around: Steps, members: list[Hashable]) -> int:
        """How many steps of loops within a call its members are of."""
        nodes = [self._data[member] for member in members]
        times = {tuple(n.get("times", ())[len(around) :]) for n in nodes} - {()}
        return max([len(times), *(n.get("steps") or 0 for n in nodes)])

    def _entries_that_are_no_numbers(
        self, members: list[Hashable], leaving: Hashable | None
    ) -> dict[str, int]:
        """How many entries of the box's own value are NaN or infinite, as its shape is of that.

        Where none is, and members have some, `nan_inside` and `inf_inside` count those of these.
        """
        found: dict[str, int] = {}
        for count in ("nan", "inf"):
            if count not in self._everywhere and not any(count in self._data[m] for m in members):
                continue
            if count not in self._there:
                found[count] = 0
                continue
            passing = self._swallowed if count == "inf" else ()
            counts = {m: self._data[m].get(count) or 0 for m in members if m not in passing}
            found[count] = counts.get(leaving, 0)
            if not found[count] and (inside := sum(counts.values())):
                found[f"{count}_inside"] = inside
        return found

    def _marks(
        self,
        level: Level,
        members: Members,
        nodes: list[Attributes],
        own: list[Attributes],
        leaving: Attributes,
    ) -> dict[str, Any]:
        """What nodes of few graphs alone tell."""
        there = self._there
        found: dict[str, Any] = {}
        if "reached" in there and any(n.get("reached") is False for n in nodes):
            found["reached"] = any(m in self._reached for m in members.own if m in self._own)
        if "change" in there:
            changes = {n.get("change") for n in own}  # parameters may be those of other calls, too
            if changes not in ({"added"}, {"removed"}):
                changes = {n.get("change") for n in nodes}
            if changes != {None}:
                found["change"] = changes.pop() if len(changes) == 1 else "changed"
            if told := list(_changes(level, own, leaving)):
                found["changes"] = told
        if "widened" in there and (widened := next((n for n in nodes if n.get("widened")), None)):
            found |= {key: widened[key] for key in ("widened", "widened_by")}
        if "failed" in there and (failed := next((n for n in nodes if n.get("failed")), None)):
            found |= {"failed": True, "error": failed.get("error", "")}
        return found

    @cached_property
    def _everywhere(self) -> set[str]:
        """The attributes that all nodes have."""
        return set.intersection(*map(set, {tuple(data) for data in self._data.values()}))

    @cached_property
    def _there(self) -> set[str]:
        """Of the attributes that few nodes have, those that say something in this graph."""
        names = attribute_names(self._data.values())
        few = names & {"times", "steps", "nan", "inf", "change", "widened", "failed"}
        there = {key for data in self._data.values() for key in few if data.get(key)}
        if "reached" in names and any(d.get("reached") is False for d in self._data.values()):
            there.add("reached")
        return there

    @cached_property
    def _reached(self) -> set[Hashable]:
        """The values that have a cotangent."""
        return {of for data in self._data.values() if (of := data.get("of")) is not None}

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


def _changes(
    level: Level, own: list[Attributes], leaving: Attributes
) -> Iterator[tuple[object, ...]]:
    """What differs in a call from that of a first graph: its arguments, and what leaves it.

    Of calls inside, each with its path from here.
    """
    for data in own:
        inside = str(data.get("scope") or "").removeprefix(level.scope).removeprefix(".")
        for of, *sides in data.get("changes") or ():
            if of == "hyperparameters" or (of != "inputs" and data is leaving):
                yield of, *sides, inside if of == "hyperparameters" else ""


def _shape_before(data: Attributes) -> list[int] | None:
    """The shape that a parameter had in a first graph, where it was another."""
    return next((was for of, was, _ in data.get("changes") or () if of == "shape"), None)


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
