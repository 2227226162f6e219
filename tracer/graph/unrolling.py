"""Cyclic graphs of modules, unrolled in time into acyclic ones that run on the tape."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from tracer.arrays.collection import no_collection
from tracer.errors import GraphError
from tracer.graph.folding import unfold
from tracer.record.describe import describe
from tracer.record.frames import DRIVER_FILES, INTERNAL_FILES
from tracer.record.recorder import current_tape
from tracer.record.scopes import scope
from tracer.record.scopes import steps as marked
from tracer.record.tensor import Tensor

#: in place of the `initial` of an edge that has none
_MISSING = object()


class Unrolled(nx.MultiDiGraph):
    """What a cyclic graph is in a number of steps: acyclic, with nodes called `(name, t)`.

    Calling it computes; see `tracer.unroll`.
    """

    program: Program | None = None

    def __call__(self, inputs: Any = None) -> Any:
        """Run all steps, on the current tape if there is one.

        `inputs` is the sequence of the input, `[steps, ...]` or a list of as many, or a dict of
        them by name if there are several. Arrays go to the modules as they are: mark samples with
        `tracer.batch(x, axis=1)`. Returns what the output is in all steps, stacked: `[steps, ...]`
        for each array that its module returns; a dict by name of several outputs.
        """
        return self._runnable()(inputs)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """`"node.name"` and parameter, each once, of all modules that name theirs."""
        return self._runnable().named_parameters()

    def parameters(self) -> Iterator[Tensor]:
        """Every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def _runnable(self) -> Program:
        if self.program is None:
            raise GraphError(
                "an unrolled graph runs if its nodes have modules, got the structure of a trace: "
                "unroll a graph whose nodes have `module`, or trace the model again"
            )
        return self.program


def unroll(graph: nx.DiGraph | nx.MultiDiGraph, steps: int) -> Unrolled:
    """The acyclic graph of `steps` steps of a cyclic graph; calling it runs them on the tape.

    A node has `module`, a callable of arrays or tensors, or it is an input: a node without
    `module` and without edges into it. An edge hands a module the value of its source, `delay`
    steps ago (0). Further edge attributes: `slot`, which argument it is (in the order of
    `graph.in_edges`); `output`, an index into what the source returns, if that is a tuple;
    `initial`, what a delayed edge carries before there is a value: an array or tensor, a function
    of the step (-delay, ..., -1), or None for a module that takes None as its first state.

    Outputs are the nodes with `output=True`; without any, those that no module reads in the same
    step. A module is called in a scope of its node's name, and its parameters are called
    `"node.name"`.

    A folded graph of a trace (`tape.graph(time="folded")`) gives the structure alone.

    Raises `GraphError` for a cycle without delay, and for what does not fit together.
    """
    if not isinstance(graph, nx.DiGraph):
        raise GraphError(f"unroll expects a directed networkx graph, got {type(graph).__name__}")
    if not _is_count(steps) or steps < 1:
        raise GraphError(f"unroll expects a number of steps of at least 1, got {steps!r}")
    steps = operator.index(steps)
    if graph.graph.get("time") == "folded" and "loops" in graph.graph:
        structure = Unrolled()
        with no_collection():
            unfold(graph, steps, structure)
        return structure
    unrolled = Unrolled(name=graph.graph.get("name") or "unrolled", time="unrolled")
    unrolled.program = program = Program(graph, steps)
    with no_collection():
        for t in range(steps):
            for name in (*program.inputs, *program.order):
                unrolled.add_node((name, t), **_node(graph.nodes[name], name, t))
            for name in program.order:
                for edge in program.arguments[name]:
                    _add_edge(unrolled, edge, name, t)
    return unrolled


def _add_edge(unrolled: Unrolled, edge: _Edge, name: Hashable, t: int) -> None:
    source: Any = (edge.source, t - edge.delay)
    if t < edge.delay:
        if edge.initial is None:
            return
        source = ((edge.source, name, edge.key), t - edge.delay)
        label = f"initial {edge.source}"
        unrolled.add_node(source, **_node({"kind": "constant", "label": label}, "", t - edge.delay))
    unrolled.add_edge(source, (name, t), kind="data", slot=edge.slot, output=edge.output, delay=0)


def _node(given: Mapping[str, Any], name: Hashable, t: int) -> dict[str, Any]:
    module = given.get("module")
    return {
        "kind": "input" if module is None else "operation",
        "op": "" if module is None else _kind(module),
        "label": str(name),
        "scope": "" if module is None else str(name),
        "scopes": [] if module is None else [_kind(module)],
        **{key: value for key, value in given.items() if key != "module"},
        "time": t,
        "times": [t],
    }


def _kind(module: object) -> str:
    return getattr(module, "__name__", None) or type(module).__name__


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0


class _Edge(NamedTuple):
    """What one argument of a module is."""

    source: Hashable
    key: Hashable
    delay: int
    slot: int
    output: Any
    initial: Any


class Program:
    """A cyclic graph, checked, in the order of one step."""

    def __init__(self, graph: nx.MultiDiGraph, steps: int):
        self.steps = steps
        self.modules: dict[Hashable, Callable[..., Any]] = {
            name: a["module"] for name, a in graph.nodes(data=True) if a.get("module") is not None
        }
        self.inputs = [name for name in graph if name not in self.modules]
        for name in self.inputs:
            if graph.in_degree(name):
                raise GraphError(
                    f"node {name!r} has edges into it and no module: give it `module`, a callable, "
                    f"or remove the edges if it is an input"
                )
        for name, module in self.modules.items():
            if not callable(module):
                raise GraphError(
                    f"the module of node {name!r} is a callable, got {describe(module)}"
                )
        if not self.modules:
            raise GraphError(
                "unroll expects nodes with `module`, a callable, or the folded graph of a trace: "
                f"none of the {len(graph)} nodes has one"
            )
        self.arguments = {name: _arguments(graph, name) for name in self.modules}
        now = nx.DiGraph()
        now.add_nodes_from(graph)
        now.add_edges_from(
            (edge.source, name)
            for name, edges in self.arguments.items()
            for edge in edges
            if not edge.delay
        )
        self.order = [name for name in _sorted(now) if name in self.modules]
        chosen = [name for name in self.order if graph.nodes[name].get("output")]
        self.outputs = chosen or [name for name in self.order if not now.out_degree(name)]

    def __call__(self, inputs: Any) -> Any:
        """See `Unrolled.__call__`."""
        sequences = self._sequences(inputs)
        self._name_parameters()
        values: dict[Hashable, list[Any]] = {name: [] for name in (*self.inputs, *self.order)}
        for t in marked(self.steps):
            for name, sequence in sequences.items():
                values[name].append(sequence[t])
            for name in self.order:
                arguments = [_argument(edge, name, values, t) for edge in self.arguments[name]]
                module = self.modules[name]
                with scope(str(name), _kind(module)):
                    values[name].append(module(*arguments))
        results = {name: _stacked(values[name]) for name in self.outputs}
        return results if len(results) > 1 else results[self.outputs[0]]

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """See `Unrolled.named_parameters`."""
        seen: set[int] = set()
        for node, module in self.modules.items():
            for name, parameter in getattr(module, "named_parameters", tuple)():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{node}.{name}", parameter

    def _name_parameters(self) -> None:
        """Tell the tape, and those that it is nested in, what the parameters are called."""
        tape = current_tape()
        while tape is not None:
            if not any(root is self for root in tape.roots):
                tape.roots.append(self)
            tape = tape.parent

    def _sequences(self, inputs: Any) -> dict[Hashable, Any]:
        """The sequence of each input, of the right length."""
        names = ", ".join(map(repr, self.inputs)) or "none"
        if inputs is None:
            inputs = {}
        elif not isinstance(inputs, Mapping):
            if len(self.inputs) != 1:
                raise GraphError(
                    f"a graph with {len(self.inputs)} inputs takes a dict of sequences, got "
                    f"{describe(inputs)}: give one for each of {names}"
                )
            inputs = {self.inputs[0]: inputs}
        if set(inputs) != set(self.inputs):
            given = ", ".join(map(repr, inputs)) or "none"
            raise GraphError(f"the graph has the inputs {names}, got {given}: give one for each")
        for name, sequence in inputs.items():
            counted = hasattr(sequence, "__len__") and getattr(sequence, "shape", None) != ()
            length = len(sequence) if counted else None
            if length != self.steps:
                raise GraphError(
                    f"input {name!r} is a sequence of {self.steps} steps, got "
                    f"{describe(sequence) if length is None else length}: put the steps on the "
                    f"first axis, or unroll for as many steps"
                )
        return {name: inputs[name] for name in self.inputs}


def _arguments(graph: nx.MultiDiGraph, name: Hashable) -> list[_Edge]:
    """The edges into a node in the order of its module's arguments."""
    edges = []
    keyed = {"keys": True} if graph.is_multigraph() else {}
    for source, _, *key, a in graph.in_edges(name, data=True, **keyed):
        delay, initial = a.get("delay", 0), a.get("initial", _MISSING)
        between = f"the edge from {source!r} to {name!r}"
        if not _is_count(delay):
            raise GraphError(f"{between} expects a delay of 0, 1, 2, ... steps, got {delay!r}")
        if delay and initial is _MISSING:
            raise GraphError(
                f"{between} has a delay of {delay} and no value for the steps before the first: "
                f"give `initial`, an array or a function of the step, or None if the module takes "
                f"None for its first state"
            )
        slot = a.get("slot")
        number = key[0] if key else 0
        edges.append(_Edge(source, number, delay, slot, a.get("output"), initial))
        if slot is not None and not _is_count(slot):
            raise GraphError(f"{between} expects a slot of 0, 1, 2, ..., got {slot!r}")
    slots = [edge.slot for edge in edges]
    if all(slot is None for slot in slots):
        return [edge._replace(slot=position) for position, edge in enumerate(edges)]
    if None in slots or sorted(slots) != list(range(len(slots))):
        each = ", ".join(f"{edge.source!r}: {edge.slot}" for edge in edges)
        raise GraphError(
            f"the edges into {name!r} expect the slots 0 to {len(slots) - 1}, each once, or none "
            f"at all; got {each}"
        )
    return sorted(edges, key=operator.attrgetter("slot"))


def _argument(edge: _Edge, target: Hashable, values: Mapping[Hashable, list[Any]], t: int) -> Any:
    """What an edge carries to a module in step `t`."""
    step = t - edge.delay
    if step < 0:
        return edge.initial(step) if callable(edge.initial) else edge.initial
    value = values[edge.source][step]
    if edge.output is None:
        return value
    several = isinstance(value, tuple | list)
    if not several or not _is_count(edge.output) or edge.output >= len(value):
        got = f"{len(value)} values" if several else describe(value)
        raise GraphError(
            f"the edge from {edge.source!r} to {target!r} picks output {edge.output!r} of what "
            f"{edge.source!r} returns, got {got}: leave `output` out, or return a tuple"
        )
    return value[edge.output]


def _sorted(now: nx.DiGraph) -> list[Hashable]:
    """The nodes in the order of one step."""
    try:
        return list(nx.topological_sort(now))
    except nx.NetworkXUnfeasible:
        cycle = [source for source, _ in nx.find_cycle(now)]
        path = " -> ".join(repr(name) for name in (*cycle, cycle[0]))
        raise GraphError(
            f"a cycle needs an edge with a delay of at least 1, got one without: {path}"
        ) from None


def _stacked(values: list[Any]) -> Any:
    """`[steps, ...]` of what a node was in each step; entry by entry if it is a tuple."""
    if isinstance(values[0], tuple | list):
        return tuple(_stacked(list(each)) for each in zip(*values, strict=True))
    return np.stack(values)


INTERNAL_FILES.add(__file__)
DRIVER_FILES.add(__file__)
