"""The recorded graph as a `networkx.MultiDiGraph`: forward, backward, unrolled and folded in time.

It is built on demand; recording itself touches no networkx object. Node and edge attributes are
listed in docs/reference/graph.md.
"""

from __future__ import annotations

import gc
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import networkx as nx

from tracer import backend
from tracer.errors import GraphError
from tracer.names import parameter_names
from tracer.operation import statistics
from tracer.tape import Node, Tape

DIRECTIONS = ("forward", "backward", "both")
TIMES = ("unrolled", "folded")


def build(tape: Tape, direction: str = "forward", time: str = "unrolled") -> nx.MultiDiGraph:
    """The graph of what `tape` recorded.

    `direction` is "forward", "backward" (cotangents only) or "both"; `time` is "unrolled" (acyclic)
    or "folded" (the time copies of an operation are one node with `steps`, and edges from one
    step to the next have `delay=1`).
    """
    if direction not in DIRECTIONS:
        raise GraphError(f"direction is one of {', '.join(DIRECTIONS)}; got {direction!r}")
    if time not in TIMES:
        raise GraphError(f"time is one of {', '.join(TIMES)}; got {time!r}")
    with _no_collection():
        graph = nx.MultiDiGraph(direction=direction, time="unrolled", name="trace")
        if tape.failure is not None:
            graph.graph["error"] = tape.failure.error
        forward = _Forward(tape)
        if direction != "backward":
            graph.add_nodes_from(forward.nodes.items())
            graph.add_edges_from(forward.edges)
        if direction != "forward":
            _add_cotangents(graph, forward, tape)
        return fold(graph) if time == "folded" else graph


@contextmanager
def _no_collection() -> Iterator[None]:
    """Suspend the cyclic garbage collector: a graph is many new objects and no garbage.

    Measured on 100,000 operations, its repeated walks over the new objects take half the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Forward:
    """Ids, attributes and edges of the forward graph."""

    def __init__(self, tape: Tape):
        self.nodes: dict[str, dict[str, Any]] = {}
        self.edges: list[tuple[str, str, int, dict[str, Any]]] = []
        self.ids: dict[Any, str] = {}
        self.recorded: list[Node] = tape.recorded()
        self.leaves: list[Node] = []
        self._watched = tape.watched or {}
        self._names = parameter_names(tape, self.recorded)
        self._sources: dict[tuple[Any, int], str | None] = {}
        self._dtypes: dict[Any, str] = {}
        for node in self.recorded:
            inputs = node.inputs or (None,) * len(node.parents)
            sources = [
                self._source_of(parent, inputs[slot], node)
                for slot, parent in enumerate(node.parents)
            ]
            self._connect(sources, self._operation(node))
        if tape.failure is not None:
            self._failed(tape)

    def _connect(self, sources: list[str | None], target: str) -> None:
        for slot, source in enumerate(sources):
            if source is not None:
                self.edges.append((source, target, slot, {
                    "kind": "data", "slot": slot, "shape": self.nodes[source]["shape"], "delay": 0,
                }))  # fmt: skip

    def _new(self, key: Any, kind: str, op: str, label: str, shape: Any, dtype: Any) -> str:
        name = self.ids[key] = f"n{len(self.nodes)}"
        text = self._dtypes.get(dtype)
        if text is None:
            text = self._dtypes[dtype] = str(dtype)
        self.nodes[name] = {
            "kind": kind,
            "op": op,
            "label": label,
            "shape": list(shape),
            "dtype": text,
            "nbytes": math.prod(shape) * dtype.itemsize,
            "scope": "",
            "scopes": [],
            "time": None,
            "source": None,
        }
        return name

    def _operation(self, node: Node) -> str:
        name = self._new(node, "operation", node.op.name, node.op.name, node.shape, node.dtype)
        attributes = self.nodes[name]
        self._place(attributes, node)
        attributes.update(self._watched.get(id(node), {}))
        return name

    def _place(self, attributes: dict[str, Any], node: Any) -> None:
        place = node.place
        attributes["scope"], attributes["scopes"] = place.scope, list(place.scopes)
        attributes["time"] = place.time
        key = node.code, node.lasti
        if key not in self._sources:
            self._sources[key] = node.source
        attributes["source"] = self._sources[key]

    def _source_of(self, parent: Node | None, value: Any, consumer: Any) -> str | None:
        """The id of an input, made when it is first met; None for a plain number."""
        if parent is None:
            return self._constant(value, consumer) if backend.is_array(value) else None
        name = self.ids.get(parent)
        if name is None:
            kind = "parameter" if parent.wants else "input"
            if not parent.op.leaf:
                kind = "constant"
            label = self._names.get(parent) or parent.params.get("name") or parent.label
            name = self._new(parent, kind, "", label, parent.shape, parent.dtype)
            attributes = self.nodes[name]
            if kind == "parameter":
                attributes["scope"] = consumer.place.scope
                attributes["scopes"] = list(consumer.place.scopes)
            attributes.update(self._watched.get(id(parent), {}))
            self.leaves.append(parent)
        return name

    def _constant(self, value: Any, consumer: Any) -> str | None:
        if value.ndim == 0:
            return None
        key = ("constant", id(value))
        name = self.ids.get(key)
        if name is None:
            name = self._new(key, "constant", "", "constant", value.shape, value.dtype)
            self.nodes[name]["scope"] = consumer.place.scope
            self.nodes[name]["scopes"] = list(consumer.place.scopes)
            if self._watched:
                self.nodes[name].update(statistics(value))
        return name

    def _failed(self, tape: Tape) -> None:
        failure = tape.failure
        assert failure is not None
        name = f"n{len(self.nodes)}"
        sources = [self._source_of(p, None, failure) for p in failure.parents]
        name = f"n{len(self.nodes)}"
        self.nodes[name] = {
            "kind": "operation",
            "op": failure.op.name,
            "label": failure.op.name,
            "shape": [],
            "dtype": "",
            "nbytes": 0,
            "scope": failure.place.scope,
            "scopes": list(failure.place.scopes),
            "time": failure.place.time,
            "source": _source(failure),
            "failed": True,
            "error": failure.error,
        }
        self._connect(sources, name)


def _source(failure: Any) -> str | None:
    for start, stop, line in failure.code.co_lines():
        if start <= failure.lasti < stop and line is not None:
            return f"{os.path.basename(failure.code.co_filename)}:{line}"
    return None


def _add_cotangents(graph: nx.MultiDiGraph, forward: _Forward, tape: Tape) -> None:
    """A cotangent `d12` for each node `n12` that the gradient reaches, with edges back."""
    reached = _reached(forward.recorded, tape.loss)
    watched: dict[Any, Any] = tape.watched or {}
    for node in [*forward.leaves, *forward.recorded]:
        if not node.wants or node not in forward.ids:
            continue
        name = forward.ids[node]
        if node not in reached:
            if name in graph:
                graph.nodes[name]["reached"] = False
            continue
        original = forward.nodes[name]
        skipped = ("norm", "nan", "inf", "min", "max", "reached")
        attributes = {k: v for k, v in original.items() if k not in skipped}
        attributes.update(kind="cotangent", of=name, label=f"∇ {original['label']}")
        attributes.update(watched.get((id(node), "cotangent"), {}))
        graph.add_node(f"d{name[1:]}", **attributes)
    edges = []
    for source, target, slot, attributes in forward.edges:
        first, second = f"d{target[1:]}", f"d{source[1:]}"
        if first in graph and second in graph:
            edges.append((first, second, slot, {**attributes, "kind": "cotangent"}))
    graph.add_edges_from(edges)


def _reached(nodes: list[Node], loss: Node | None) -> set[Node]:
    """What a gradient from the loss reaches; before any sweep, from every last result."""
    consumed = {p for node in nodes for p in node.parents if p is not None}
    reached = {loss} if loss is not None else {n for n in nodes if n.wants and n not in consumed}
    for node in reversed(nodes):
        if node in reached:
            reached.update(p for p in node.parents if p is not None and p.wants)
    return reached


def fold(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The cyclic graph of an unrolled one: copies of an operation at different times merge.

    Copies are the operations that the same line of the same scope recorded in different steps, in
    their order there. The merged node has `steps`; an edge from step t to step t+k has `delay=k`.
    """
    copies: dict[Any, list[str]] = defaultdict(list)
    position: dict[Any, int] = defaultdict(int)
    target: dict[str, str] = {}
    for name, attributes in graph.nodes(data=True):
        if attributes["time"] is None:
            target[name] = name
            continue
        line = tuple(attributes[k] for k in ("scope", "kind", "op", "source"))
        step = (line, attributes["time"])
        copies[line, position[step]].append(name)
        position[step] += 1
    for members in copies.values():
        target.update((name, members[0]) for name in members)
    folded = nx.MultiDiGraph(**{**graph.graph, "time": "folded"})
    for name, attributes in graph.nodes(data=True):
        if target[name] == name:
            folded.add_node(name, **attributes)
    for members in copies.values():
        kept = members[0]
        merged = folded.nodes[kept]
        merged["steps"], merged["time"] = len(members), None
        for key in ("nan", "inf"):
            if key in merged:
                merged[key] = sum(graph.nodes[m].get(key, 0) for m in members)
        if "norm" in merged:
            merged["norm"] = math.hypot(*(graph.nodes[m].get("norm", 0.0) for m in members))
        if "of" in merged:
            merged["of"] = target.get(merged["of"], merged["of"])
    seen = set()
    for source, sink, attributes in graph.edges(data=True):
        times = graph.nodes[source]["time"], graph.nodes[sink]["time"]
        delay = abs(times[1] - times[0]) if None not in times else 0
        many = None in times and times != (None, None)
        slot = 0 if many and times[1] is None else attributes["slot"]
        ends = target[source], target[sink]
        if (*ends, slot, delay) not in seen:
            seen.add((*ends, slot, delay))
            folded.add_edge(*ends, **{**attributes, "slot": slot, "delay": delay})
    return folded
