"""The recorded graph as a `networkx.MultiDiGraph`: forward, backward, unrolled or folded in time.

It is built on demand; recording itself touches no networkx object. Node and edge attributes are
listed in docs/reference/graph.md.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import networkx as nx

from tracer.arrays import backend
from tracer.arrays.collection import no_collection
from tracer.arrays.types import Array, Convertible, DType, Shape
from tracer.errors import GraphError
from tracer.graph.argument_names import argument_name, indices
from tracer.graph.calls import Attributes, Calls
from tracer.graph.folding import fold
from tracer.graph.index_text import array_text, index_text
from tracer.graph.precision import widenings
from tracer.graph.shown import Graph
from tracer.record.composite import recorded
from tracer.record.frames import DRIVER_FILES
from tracer.record.leaf_kinds import CONSTANT, INPUT, PARAMETER, VARIABLE
from tracer.record.names import first_uses, parameter_names
from tracer.record.node import Node
from tracer.record.place import Loop, Place
from tracer.record.raising import Failure
from tracer.record.recorder import Recorder
from tracer.record.statistics import small_values, statistics

DIRECTIONS = ("forward", "backward", "both")
TIMES = ("unrolled", "folded")
#: the operation that selects by an array that is its input
LOOKUP = "lookup"
#: what a node tells of its value, and not of the cotangent
OF_VALUES = (
    "norm", "nan", "inf", "min", "max", "values", "operands", "reached", "widened", "widened_by",
    "flops", "seconds",
)  # fmt: skip


def build(tape: Recorder, direction: str = "forward", time: str = "unrolled") -> nx.MultiDiGraph:
    """The graph of what `tape` recorded.

    `direction` is "forward", "backward" (cotangents only) or "both"; `time` is "unrolled" (acyclic)
    or "folded" (the time copies of an operation are one node with `steps`, and edges from one
    step to the next have `delay=1`).
    """
    if direction not in DIRECTIONS:
        raise GraphError(f"direction is one of {', '.join(DIRECTIONS)}; got {direction!r}")
    if time not in TIMES:
        raise GraphError(f"time is one of {', '.join(TIMES)}; got {time!r}")
    with no_collection():
        graph = Graph(direction=direction, time="unrolled", name="trace")
        if tape.failure is not None:
            source = tape.failure.source
            where = f" ({source})" if source else ""
            graph.graph["error"] = f"{tape.failure.error}{where}"
        forward = _Forward(tape)
        graph.graph["loops"] = forward.loops.table
        graph.graph["calls"] = forward.calls.table
        graph.graph["files"] = {name: path for name, path in forward.files.items() if path}
        if direction != "backward":
            graph.add_nodes_from(forward.nodes.items())
            graph.add_edges_from(forward.edges)
        if direction != "forward":
            _add_cotangents(graph, forward, tape)
        return fold(graph, forward.origins) if time == "folded" else graph


#: a code object's id, and where in its file an expression begins and ends
Expression = tuple[int, Any]


def _expression(code: Any, lasti: int) -> Expression:
    """The expression that an instruction is of.

    One call is several instructions, and the interpreter changes which of them is the last while
    it runs.
    """
    return id(code), next(itertools.islice(code.co_positions(), lasti // 2, None), None)


class _Loops:
    """Numbers of the loops on a tape, and what is known of each.

    A loop inside of another is entered once per step of that one; it is the same loop each time.
    So a loop is told by the loop around it, where it is entered, and how many it entered there
    before in the same step.
    """

    def __init__(self) -> None:
        self.table: list[Attributes] = []
        self._numbers: dict[Loop, int] = {}
        self._known: dict[Any, int] = {}
        self._entered: Counter[Any] = Counter()
        self._last: tuple[Place | None, int | None] = (None, None)

    def innermost(self, place: Place) -> int | None:
        """The number of the loop that a place is in; None outside of all."""
        if place is not self._last[0]:
            number = None
            for loop, time in zip(place.loops, place.times, strict=True):
                number = self._number(loop, number, place)
                self.table[number]["steps"] = max(self.table[number]["steps"], time + 1)
            self._last = place, number
        return self._last[1]

    def _number(self, loop: Loop, parent: int | None, place: Place) -> int:
        number = self._numbers.get(loop)
        if number is None:
            depth = place.loops.index(loop)
            site = (parent, loop.scope, _expression(loop.code, loop.lasti))
            step = (place.loops[:depth], place.times[:depth], site)
            key = (site, self._entered[step])
            self._entered[step] += 1
            number = self._numbers[loop] = self._known.setdefault(key, len(self.table))
            if number == len(self.table):
                self.table.append({
                    "parent": parent, "scope": loop.scope, "source": loop.source,
                    "reverse": loop.reverse, "steps": 0,
                })  # fmt: skip
        return number


class _Forward:
    """Ids, attributes and edges of the forward graph."""

    def __init__(self, tape: Recorder):
        self.nodes: dict[str, Attributes] = {}
        self.edges: list[tuple[str, str, int, Attributes]] = []
        self.ids: dict[Hashable, str] = {}
        self.loops = _Loops()
        self.calls = Calls()
        #: by id, the expression that recorded an operation; cotangents have that of their node
        self.origins: dict[str, Any] = {}
        #: where the files are whose lines recorded something; None of two that have one name
        self.files: dict[str, str | None] = {}
        self.recorded: list[Node] = recorded(tape)
        self.leaves: list[Node] = []
        self._watched = tape.watched or {}
        self._values = tape.keeps_values
        self._seconds = tape.seconds
        self._names = parameter_names(tape, first_uses(self.recorded))
        self._instructions: dict[tuple[int, int], tuple[str | None, Expression]] = {}
        self._dtypes: dict[DType, str] = {}
        for node in self.recorded:
            sources = [
                self._source_of(parent, node.inputs[slot], node, slot)
                for slot, parent in enumerate(node.parents)
            ]
            if "index" in node.params:
                sources += [self._index(*each, node) for each in indices(node)]
            name = self._operation(node)
            if "index" in node.params or node.op.name == LOOKUP:
                self.nodes[name]["index"] = self._index_text(node, sources[1:])
            self._connect(sources, name)
        for change in widenings(self.recorded):
            self.nodes[self.ids[change.node]] |= {
                "widened": change.before, "widened_by": change.by,
            }  # fmt: skip
        if tape.failure is not None:
            self._failed(tape)

    def _connect(self, sources: list[str | None], target: str) -> None:
        for slot, source in enumerate(sources):
            if source is not None:
                self.edges.append((source, target, slot, {
                    "kind": "data", "slot": slot, "shape": self.nodes[source]["shape"], "delay": 0,
                }))  # fmt: skip

    def _new(
        self, key: Hashable, kind: str, op: str, label: str, shape: Shape, dtype: DType
    ) -> str:
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
            "call": None,
            "time": None,
            "times": [],
            "loop": None,
            "source": None,
        }
        return name

    def _operation(self, node: Node) -> str:
        name = self._new(node, "operation", node.op.name, node.op.name, node.shape, node.dtype)
        self._place(name, node)
        attributes = self.nodes[name]
        attributes["flops"] = node.flops
        if node in self._seconds:
            attributes["seconds"] = self._seconds[node]
        attributes.update(self._watched.get(id(node), {}))
        if self._values:
            attributes["operands"] = [
                _number(value) if parent is None else None
                for parent, value in zip(node.parents, node.inputs, strict=True)
            ]
        return name

    def _place(self, name: str, recorded: Node | Failure) -> None:
        place, instruction = recorded.place, (id(recorded.code), recorded.lasti)
        attributes = self.nodes[name]
        self._set_scope(attributes, place)
        attributes["time"], attributes["times"] = place.time, list(place.times)
        attributes["loop"] = self.loops.innermost(place)
        known = self._instructions.get(instruction)
        if known is None:
            known = recorded.source, _expression(recorded.code, recorded.lasti)
            self._instructions[instruction] = known
            if recorded.code is not None:
                self._note_file(recorded.code.co_filename)
        attributes["source"], origin = known
        self.origins[name] = self.origins[f"d{name[1:]}"] = origin

    def _note_file(self, path: str) -> None:
        if os.path.isabs(path) and path not in DRIVER_FILES:
            name = os.path.basename(path)
            self.files[name] = path if self.files.get(name, path) == path else None

    def _set_scope(self, attributes: Attributes, place: Place) -> None:
        attributes["scope"], attributes["scopes"] = place.scope, list(place.scopes)
        attributes["call"] = self.calls.number(place.call)

    def _source_of(
        self, parent: Node | None, value: Any, consumer: Node | Failure, slot: int = 0
    ) -> str | None:
        """The id of an input, made when it is first met; None for a plain number."""
        if parent is None:
            return self._constant(value, consumer, slot) if backend.is_array(value) else None
        name = self.ids.get(parent)
        if name is None:
            kind = "parameter" if parent.op is PARAMETER else "input"
            unnamed = parent.op is VARIABLE and not parent.params["name"]
            if not parent.op.leaf or parent.op is CONSTANT or unnamed:
                kind = "constant"
            label = self._names.of(parent) or parent.params.get("name")
            if not label and parent.op in (CONSTANT, INPUT):
                label = argument_name(consumer, slot)
            label = label or parent.label
            name = self._new(parent, kind, "", label, parent.shape, parent.dtype)
            attributes = self.nodes[name]
            if kind == "parameter":
                if not parent.wants:
                    attributes["frozen"] = True
                self._set_scope(attributes, consumer.place)
            elif parent.op is INPUT:
                self._set_scope(attributes, parent.place)
            attributes.update(self._watched.get(id(parent), {}))
            if self._values and backend.is_array(value):
                attributes.update(small_values(value))
            self.leaves.append(parent)
        return name

    def _index_text(self, node: Node, arrays: list[str | None]) -> list[str]:
        """How the index of an operation that selects is written; `arrays` are the ids of some."""
        known = [self.nodes[each] for each in arrays if each is not None]
        index = node.params.get("index")
        if (offset := node.params.get("diagonal")) is not None:
            return [f"diagonal {offset}" if offset else "diagonal"]
        if isinstance(index, tuple):
            return index_text(index, known)
        return [array_text(each) for each in known]

    def _index(self, label: str, array: Array, consumer: Node) -> str:
        return self._array(array, consumer, lambda: label or "index")

    def _constant(self, value: Any, consumer: Node | Failure, slot: int) -> str | None:
        if value.ndim == 0:
            return None
        return self._array(
            value, consumer, lambda: argument_name(consumer, slot, value) or "constant"
        )

    def _array(self, value: Array, consumer: Node | Failure, called: Callable[[], str]) -> str:
        """The id of an array that is a constant, made and called so when it is first met."""
        key = ("constant", id(value))
        name = self.ids.get(key)
        if name is None:
            label = called()
            name = self._new(key, "constant", "", label, value.shape, value.dtype)
            self._set_scope(self.nodes[name], consumer.place)
            if self._watched:
                found = statistics(value, values=self._values)
                found.pop("inf", None)  # masks hold infinities on purpose
                self.nodes[name].update(found)
        return name

    def _failed(self, tape: Recorder) -> None:
        failure = tape.failure
        assert failure is not None
        sources = [self._source_of(p, None, failure) for p in failure.parents]
        name = f"n{len(self.nodes)}"
        self.nodes[name] = {
            "kind": "operation",
            "op": failure.op.name,
            "label": failure.label,
            "shape": [],
            "dtype": "",
            "nbytes": 0,
            "failed": True,
            "error": failure.error,
        }
        self._place(name, failure)
        self._connect(sources, name)


def _number(value: Convertible) -> float | None:
    """A plain number, or None: that of an array without axes is one."""
    if isinstance(value, int | float):
        return value
    plain = backend.is_array(value) and value.ndim == 0 and value.dtype.kind in "fiub"
    return value.item() if plain else None


def _add_cotangents(graph: nx.MultiDiGraph, forward: _Forward, tape: Recorder) -> None:
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
        attributes = {k: v for k, v in original.items() if k not in OF_VALUES}
        attributes.update(kind="cotangent", of=name, label=f"∇ {original['label']}")
        if (node, "cotangent") in tape.seconds:
            attributes["seconds"] = tape.seconds[node, "cotangent"]
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
