"""What differs between two graphs: of one model before and after a change, or of two models.

Nodes are the same that stand in the same place: under the same scope, in the same step, and there,
in the order of the record, as the same operation. Parameters are the same by their names.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, NamedTuple

from tracer.graph.calls import Attributes
from tracer.graph.totals import totals

if TYPE_CHECKING:
    import networkx as nx

#: numbers are the same up to this, relatively: what float32 rounds in a long sum
TOLERANCE = 1e-5
#: attributes of nodes that are compared as they are
EXACT = ("shape", "dtype", "frozen")
#: statistics of values and cotangents, of watched traces
MEASURED = ("norm", "min", "max", "nan", "inf")


class Change(NamedTuple):
    """Something in which a node differs from its partner.

    `of` is the name of an attribute, "inputs" with the names of what it is made of, where that is
    in both graphs, "hyperparameters" of the module that it is the first operation of, with those
    that differ by name (by place where they have none; None where one has it alone), or "value" or
    "gradient" with the statistics that differ; a gradient that did not arrive is None.
    """

    of: str
    before: Any
    after: Any


class Comparison(NamedTuple):
    """Which nodes of a first graph are which of a second one, and what differs.

    `pairs` maps ids of the first graph to ids of the second. `removed` are those of the first that
    have no partner, `added` those of the second, without the cotangents of such. `changed` maps
    nodes of the second to their changes, those of their gradients included.
    """

    pairs: dict[str, str]
    removed: list[str]
    added: list[str]
    changed: dict[str, list[Change]]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.removed or self.added or self.changed)


def compare_graphs(
    first: nx.MultiDiGraph, second: nx.MultiDiGraph, rtol: float | None = TOLERANCE
) -> Comparison:
    """What was removed, added and changed from the first graph to the second.

    Both are of `tape.graph`, or read from what `trace-net visualize -o FILE.json` wrote. Statistics
    are compared where both have them, up to `rtol` of the largest element; not if that is None.
    """
    here, there = _cotangents(first), _cotangents(second)
    pairs: dict[str, str] = {}
    changed: dict[str, list[Change]] = {}
    partners = dict(_partners(first, second))
    asked: set[tuple[int, int]] = set()
    for before, after in partners.items():
        pairs[before] = after
        a, b = first.nodes[before], second.nodes[after]
        found = [Change(k, a.get(k), b.get(k)) for k in EXACT if a.get(k) != b.get(k)]
        found += _rewired(first, second, before, after, partners)
        if b["kind"] == "operation":
            found += _hyperparameters(first, second, a.get("call"), b.get("call"), asked)
        found += _measured("value", a, b, rtol)
        if before in here and after in there:
            pairs[here[before]] = there[after]
            found += _measured(
                "gradient", first.nodes[here[before]], second.nodes[there[after]], rtol
            )
        elif rtol is not None and here and there and (before in here or after in there):
            found.append(Change("gradient", _statistics(first, here.get(before)),
                                _statistics(second, there.get(after))))  # fmt: skip
        if found:
            changed[after] = found
    return Comparison(
        pairs, _others(first, pairs, here), _others(second, set(pairs.values()), there), changed
    )


def _rewired(
    first: nx.MultiDiGraph,
    second: nx.MultiDiGraph,
    before: str,
    after: str,
    partners: Mapping[str, str],
) -> list[Change]:
    """Which inputs of a node are others than those of its partner, of those that both graphs have.

    What is made of something removed, or put in between, is told by that.
    """
    back = {theirs: ours for ours, theirs in partners.items()}
    all_ours, all_theirs = _inputs(first, before), _inputs(second, after)
    ours = [name for name in all_ours if name in partners]
    theirs = [name for name in all_theirs if name in back]
    if [partners[name] for name in ours] == theirs:
        return []
    if len(ours) != len(theirs) and len(all_ours) == len(all_theirs):
        pairs = list(zip(all_ours, all_theirs, strict=True))
        if not any(
            _exchanged(second, partners.get(a), b, back)
            or _exchanged(first, back.get(b), a, partners)
            for a, b in pairs
        ):
            return []
        ours, theirs = all_ours, all_theirs
    return [Change("inputs", _told(first, ours), _told(second, theirs))]


def _exchanged(graph: nx.MultiDiGraph, kept: str | None, new: str, known: Collection[str]) -> bool:
    """Whether something that one graph alone has is in the place of an input that both have.

    It is not where it was put in between, as a layer in front of another one is.
    """
    if kept is None or new in known:
        return False
    waiting, seen = [new], {new}
    while waiting:
        for name in graph.pred[waiting.pop()]:
            if name == kept:
                return False
            if name not in known and name not in seen:
                seen.add(name)
                waiting.append(name)
    return True


def _inputs(graph: nx.MultiDiGraph, name: str) -> list[str]:
    """What a node is made of, by slot."""
    edges = graph.in_edges(name, data=True)
    return [tail for tail, _, data in sorted(edges, key=lambda edge: edge[2].get("slot") or 0)]


def _told(graph: nx.MultiDiGraph, names: Iterable[str]) -> list[str]:
    """Names for people: the path, and what is there."""
    nodes = (graph.nodes[name] for name in names)
    return [
        data["label"] if data["kind"] == "parameter" else f"{data['scope']} {data['label']}".strip()
        for data in nodes
    ]


def _hyperparameters(
    first: nx.MultiDiGraph,
    second: nx.MultiDiGraph,
    before: int | None,
    after: int | None,
    asked: set[tuple[int, int]],
) -> list[Change]:
    """Where the arguments of the modules differ that two nodes are of, once for each two calls."""
    if before is None or after is None or (before, after) in asked:
        return []
    asked.add((before, after))
    a, b = (graph.graph["calls"][call] for graph, call in ((first, before), (second, after)))
    ours, theirs = (_arguments(call["hyperparameters"] or "") for call in (a, b))
    if ours == theirs or a["kind"] != b["kind"]:
        return []
    differ = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    named = ({name: each.get(name) for name in differ} for each in (ours, theirs))
    return [Change("hyperparameters", *named)]


def _arguments(text: str) -> dict[str, str]:
    """Arguments as they are written, `8, kernel_size=(3, 3)`, by name or place: `"0"`, ..."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    found = {}
    for place, part in enumerate(filter(None, map(str.strip, parts))):
        name, equals, value = part.partition("=")
        named = bool(equals) and name.isidentifier()
        found[name if named else str(place)] = value if named else part
    return found


def _cotangents(graph: nx.MultiDiGraph) -> dict[str, str]:
    """Forward node -> its cotangent."""
    return {data["of"]: name for name, data in graph.nodes(data=True) if data.get("of") in graph}


def _others(
    graph: nx.MultiDiGraph, known: Collection[str], cotangents: Mapping[str, str]
) -> list[str]:
    beside = set(cotangents.values())
    return [name for name in graph if name not in known and name not in beside]


def _statistics(graph: nx.MultiDiGraph, name: str | None) -> Attributes | None:
    if name is None:
        return None
    data = graph.nodes[name]
    return {key: data[key] for key in MEASURED if key in data}


def _measured(of: str, a: Attributes, b: Attributes, rtol: float | None) -> list[Change]:
    """The statistics in which two nodes differ, as one change; none if they do not."""
    if rtol is None:
        return []
    largest = max(abs(_number(a.get(key)) or 0.0) for key in ("min", "max"))
    differ = [
        key
        for key in MEASURED
        if key in a and key in b and not _close(_number(a[key]), _number(b[key]), rtol, largest)
    ]
    if not differ:
        return []
    return [Change(of, {key: a[key] for key in differ}, {key: b[key] for key in differ})]


def _number(value: Any) -> Any:
    """A statistic as it was before it was written as JSON, which has no NaN."""
    return float(value) if isinstance(value, str) else value


def _close(a: Any, b: Any, rtol: float, largest: float) -> bool:
    if a is None or b is None or isinstance(a, int):
        return a == b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=rtol, abs_tol=rtol * largest)


# -- which nodes are the same --------------------------------------------------------------------


def _partners(first: nx.MultiDiGraph, second: nx.MultiDiGraph) -> Iterator[tuple[str, str]]:
    """Pairs of nodes that are the same, in the order of the first graph's places."""
    theirs = _by_place(second)
    for place, ours in _by_place(first).items():
        yield from _aligned(first, second, ours, theirs.get(place, []))


def _by_place(graph: nx.MultiDiGraph) -> dict[Hashable, list[str]]:
    """The nodes of each place in their order, but for cotangents that stand beside their nodes."""
    beside = set(_cotangents(graph).values())
    found: dict[Hashable, list[str]] = defaultdict(list)
    for name, data in graph.nodes(data=True):
        if data["kind"] == "parameter":
            found["parameter", data["label"]].append(name)
        elif name not in beside:
            found[data["scope"], tuple(data.get("times", ()))].append(name)
    return found


def _aligned(
    first: nx.MultiDiGraph, second: nx.MultiDiGraph, ours: list[str], theirs: list[str]
) -> Iterator[tuple[str, str]]:
    """The nodes of one place that are the same, by the longest runs of equal ones."""
    a = [_word(first.nodes[name]) for name in ours]
    b = [_word(second.nodes[name]) for name in theirs]
    if a == b:
        yield from zip(ours, theirs, strict=True)
        return
    for at, other, size in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
        yield from zip(ours[at : at + size], theirs[other : other + size], strict=True)


def _word(data: Attributes) -> tuple[str, str]:
    """What a node is, apart from where."""
    return data["kind"], data["op"] or data["label"]


# -- both in one ---------------------------------------------------------------------------------


def united_graph(
    first: nx.MultiDiGraph, second: nx.MultiDiGraph, comparison: Comparison
) -> nx.MultiDiGraph:
    """The second graph, with what was removed of the first; `change` says what became of a node.

    It is "added", "removed" or "changed", and missing where nothing differs; `changes` lists what
    differs apart from numbers, as `[of, before, after]`. A cotangent's says what became of the
    gradient. Nodes that were removed are called `before n3`. Edges that one of
    the graphs alone has are "added" or "removed". The graph's `compared` are the `totals` of both.
    """
    made = second.copy()
    made.graph["compared"] = [totals(first), totals(second)]
    if first.graph.get("model") != second.graph.get("model"):
        made.graph.pop("model", None)
    here, there = _cotangents(first), _cotangents(second)
    gone = [*comparison.removed, *(here[name] for name in comparison.removed if name in here)]
    names = {**comparison.pairs, **{name: f"before {name}" for name in gone}}
    table, calls = _united_calls(first, second)
    made.graph["calls"] = table
    same_loops = first.graph.get("loops") == second.graph.get("loops")
    for name in gone:
        data = {**first.nodes[name], "change": "removed"}
        if data.get("of") in names:
            data["of"] = names[data["of"]]
        if data.get("call") is not None:
            data["call"] = calls[data["call"]]
        if not same_loops:
            data |= {"time": None, "times": [], "loop": None}
        made.add_node(names[name], **data)
    for name in comparison.added:
        for each in (name, there.get(name)):
            if each is not None:
                made.nodes[each]["change"] = "added"
    for name, changes in comparison.changed.items():
        if any(change.of != "gradient" for change in changes):
            made.nodes[name]["change"] = "changed"
        if told := [list(change) for change in changes if change.of not in ("value", "gradient")]:
            made.nodes[name]["changes"] = told
        if name in there and any(change.of == "gradient" for change in changes):
            made.nodes[there[name]]["change"] = "changed"
    _unite_edges(first, made, names)
    return made


def _unite_edges(first: nx.MultiDiGraph, made: nx.MultiDiGraph, names: dict[str, str]) -> None:
    """Mark the edges that the first graph has not, and add those that it alone has.

    One of these that would close a cycle is left out: no step of time is between its ends.
    """
    table, places = _united_loops(first, made)
    before: dict[tuple[Any, ...], list[Attributes]] = defaultdict(list)
    for source, target, data in first.edges(data=True):
        if source in names and target in names:
            key = (names[source], names[target], data.get("kind"), data.get("delay"))
            before[key].append(data)
    for source, target, data in made.edges(data=True):
        known = before[source, target, data.get("kind"), data.get("delay")]
        if known:
            known.pop()
        else:
            data["change"] = "added"
    for (source, target, _, delay), edges in before.items():
        if edges and (delay or not _reaches(made, target, source)):
            for data in edges:
                removed = {**data, "change": "removed"}
                if data.get("loop") is not None:
                    made.graph["loops"] = table
                    removed["loop"] = places[data["loop"]]
                made.add_edge(source, target, **removed)


def _reaches(graph: nx.MultiDiGraph, source: Hashable, target: Hashable) -> bool:
    """Whether a path without delays leads from one node to another."""
    found, waiting = {source}, [source]
    while waiting:
        for _, after, delay in graph.out_edges(waiting.pop(), data="delay"):
            if not delay and after not in found:
                found.add(after)
                waiting.append(after)
    return target in found


def _united_loops(
    first: nx.MultiDiGraph, second: nx.MultiDiGraph
) -> tuple[list[Attributes], list[int]]:
    """The loops of the second graph, then those of the first unless they are the same.

    And the places in that table of the first graph's loops.
    """
    ours, theirs = (list(graph.graph.get("loops", ())) for graph in (first, second))
    if ours == theirs:
        return theirs, list(range(len(ours)))
    places = [len(theirs) + number for number in range(len(ours))]
    for loop in ours:
        parent = loop["parent"]
        theirs.append({**loop, "parent": None if parent is None else places[parent]})
    return theirs, places


def _united_calls(
    first: nx.MultiDiGraph, second: nx.MultiDiGraph
) -> tuple[list[Attributes], list[int]]:
    """The calls of the second graph and those of the first that it has not, which come last.

    And the places in that table of the first graph's calls.
    """
    table = [dict(call) for call in second.graph.get("calls", ())]
    known = {_call_key(call, call["parent"]): number for number, call in enumerate(table)}
    modules = {(c["scope"], c["kind"]): c["module"] for c in table}
    free = itertools.count(max((m for m in modules.values() if m is not None), default=-1) + 1)
    places: list[int] = []
    for call in first.graph.get("calls", ()):
        parent = None if call["parent"] is None else places[call["parent"]]
        key = _call_key(call, parent)
        if key not in known:
            module, kind = call["module"], (call["scope"], call["kind"])
            if module is not None:
                module = modules[kind] if kind in modules else next(free)
                modules[kind] = module
            known[key] = len(table)
            table.append({**call, "parent": parent, "module": module})
        places.append(known[key])
    return table, places


def _call_key(call: Attributes, parent: int | None) -> Hashable:
    return parent, call["scope"], call["kind"], call["number"], tuple(call["times"])
