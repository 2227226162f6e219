"""What is told of a call that is drawn as one box: what its members add up to."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import Any

import networkx as nx

from tracer_render import loops
from tracer_render.calls import Calls, Level
from tracer_render.measures import euclidean
from tracer_render.scopes import Attributes, class_names, computed

Steps = tuple[loops.Step, ...]


class Summaries:
    """Attributes of closed calls: their kind is `module`, or `cotangent` for their cotangents."""

    def __init__(self, graph: nx.MultiDiGraph, calls: Calls):
        self._graph = graph
        self._calls = calls
        self._data: dict[Hashable, Attributes] = dict(graph.nodes(data=True))
        self._own = {node for node, data in self._data.items() if computed(data)}
        self._parameters = {node for node, data in self._data.items() if is_parameter(data)}

    def of(self, level: Level, around: Steps, members: list[Hashable]) -> dict[str, Any]:
        """The attributes of the node that stands for `members` of a call, in steps `around` it."""
        nodes = [self._data[member] for member in members]
        own = [self._data[member] for member in members if member in self._own] or nodes
        first, last = own[0], own[-1]
        cotangents = first.get("kind") == "cotangent"
        parameters = [self._data[member] for member in members if member in self._parameters]
        leaving = self._output(members, cotangents)
        output = last if leaving is None else self._data[leaving]
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
            "nbytes": sum([n.get("nbytes") or 0 for n in nodes]),
            "time": around[-1].time if around else None,
            "source": first.get("source"),
            "operations": len([n for n in own if n.get("op")]),
            "parameters": len(parameters),
            "parameter_values": sum(math.prod(n.get("shape") or ()) for n in parameters),
            "members": list(members),
        }
        if level.module is not None:
            module["number"], module["count"] = level.number, level.calls
        if not cotangents and self._calls.is_whole(level):
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
        if around:
            module["times"], module["loop"] = [step.time for step in around], around[-1].loop
        norms = [n["norm"] for n in parameters or nodes if n.get("norm") is not None]
        if norms:
            module["norm"] = euclidean(norms)
        ill = self._entries_that_are_no_numbers(members, leaving)
        leaves = self._data[leaving] if leaving is not None else {}
        return module | ill | self._of_few(level, around, members, nodes, own, leaves)

    def _entries_that_are_no_numbers(
        self, members: list[Hashable], leaving: Hashable | None
    ) -> dict[str, int]:
        """How many entries of the box's own value are NaN or infinite, as its shape is of that.

        Where none is, and members have some, `nan_inside` and `inf_inside` count those of these.
        """
        found: dict[str, int] = {}
        for count in ("nan", "inf"):
            if not any(count in self._data[m] for m in members):
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

    def _of_few(
        self,
        level: Level,
        around: Steps,
        members: list[Hashable],
        nodes: list[Attributes],
        own: list[Attributes],
        leaving: Attributes,
    ) -> dict[str, Any]:
        """What nodes of some graphs alone tell: steps and marks."""
        there, found = self._there, {}
        if {"times", "steps"} & there:
            times = {tuple(n.get("times", ())[len(around) :]) for n in nodes} - {()}
            steps = max([len(times), *(n.get("steps") or 0 for n in nodes)])
            if steps:
                found["steps"] = steps
        if "reached" in there and any(n.get("reached") is False for n in nodes):
            found["reached"] = any(m in self._reached for m in members if m in self._own)
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
    def _there(self) -> set[str]:
        """Of the attributes that few nodes have, those that say something in this graph."""
        few = ("times", "steps", "nan", "inf", "change", "widened", "failed")
        there = {key for data in self._data.values() for key in few if data.get(key)}
        if any(data.get("reached") is False for data in self._data.values()):
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

    def _output(self, members: list[Hashable], cotangents: bool) -> Hashable | None:
        """What leaves a call: its last value that others use, or its first cotangent from them."""
        inside = set(members)
        beyond = self._graph.pred if cotangents else self._graph.succ
        last = None
        for member in reversed(members):
            if member in self._own:
                last = member if last is None else last
                if not inside.issuperset(beyond[member]):
                    return member
        return last


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
