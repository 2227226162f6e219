"""What still does not fit on a page: what was recorded one after the other, in one box."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from typing import Any

import networkx as nx

from tracer_render.calls import Calls
from tracer_render.frames import Frames
from tracer_render.runs import ILL
from tracer_render.scopes import Attributes, computed


def fold(
    graph: nx.MultiDiGraph, most: int, count: Callable[[nx.MultiDiGraph], int]
) -> nx.MultiDiGraph:
    """The graph with rows of its nodes as one each, so that `count` gives at most `most` of it.

    Rows are in the order of recording, and within one frame as long as that is enough. They are as
    short as can be, up to a factor of two, and have the kind `elided` (`cotangent` for their
    cotangents), a label `first … last`, the number of their nodes as `elided`, the count
    `operations` and what they stand for as `copies`.
    """
    order, frames = _recorded(graph), Frames(graph, Calls(graph))
    whole = {n for n, data in graph.nodes(data=True) if "elided" in data}  # steps of a loop
    places = {node: (frames.of(node), node if node in whole else None) for node in order}
    folded = graph
    for place in (places.__getitem__, lambda node: None):
        length = 2
        while length < 2 * len(order):
            folded = _with_rows(graph, list(_rows(order, length, place)))
            if count(folded) <= most:
                return folded
            length *= 2
    return folded


def _recorded(graph: nx.MultiDiGraph) -> list[Hashable]:
    """The nodes that are no leaves and no cotangents of others, each after what it is made of."""
    own = {n for n, d in graph.nodes(data=True) if computed(d) and d.get("kind") != "cotangent"}
    own = own or {node for node, data in graph.nodes(data=True) if computed(data)}
    flow = nx.DiGraph()
    flow.add_nodes_from(node for node in graph if node in own)
    flow.add_edges_from(
        (tail, head)
        for tail, head, delay in graph.edges(data="delay")
        if tail in own and head in own and not delay
    )
    position = {node: index for index, node in enumerate(flow)}
    in_order = all(position[tail] < position[head] for tail, head in flow.edges)
    if in_order or not nx.is_directed_acyclic_graph(flow):
        return list(flow)
    return list(nx.lexicographical_topological_sort(flow, key=position.__getitem__))


def _rows(
    order: Sequence[Hashable], length: int, place: Callable[[Hashable], object]
) -> Iterator[list[Hashable]]:
    """The nodes in rows of at most `length`, each in one place."""
    for _, nodes in groupby(order, place):
        together = list(nodes)
        for begin in range(0, len(together), length):
            yield together[begin : begin + length]


def _with_rows(graph: nx.MultiDiGraph, rows: list[list[Hashable]]) -> nx.MultiDiGraph:
    """The graph in which each row of several nodes is one, with the leaves that it alone uses."""
    owner = _owners(graph, [row for row in rows if len(row) > 1])
    members: dict[str, list[Hashable]] = {}
    for node, row in owner.items():
        members.setdefault(row, []).append(node)
    folded = nx.MultiDiGraph(**graph.graph)
    for node, data in graph.nodes(data=True):
        name, of = owner.get(node), data.get("of")
        if name is None:
            folded.add_node(node, **{**data, **({"of": owner[of]} if of in owner else {})})
        elif name not in folded:
            folded.add_node(name, **_together(graph, name, members[name]))
    shown = set()
    for tail, head, data in graph.edges(data=True):
        ends = owner.get(tail, tail), owner.get(head, head)
        if ends == (tail, head):
            folded.add_edge(tail, head, **data)
            continue
        key = (*ends, data.get("kind"), data.get("delay", 0))
        if (ends[0] != ends[1] or data.get("delay")) and key not in shown:
            shown.add(key)
            folded.add_edge(*ends, **data)
    return folded


def _owners(graph: nx.MultiDiGraph, rows: list[list[Hashable]]) -> dict[Hashable, str]:
    """The name of the row that each node is in, or its value is, or all users of a leaf are."""
    back = {d.get("of"): n for n, d in graph.nodes(data=True) if d.get("kind") == "cotangent"}
    owner: dict[Hashable, str] = {}
    for number, row in enumerate(rows):
        owner |= dict.fromkeys(row, f"row {number}")
        owner |= {back[node]: f"∇row {number}" for node in row if node in back}
    for leaf, data in graph.nodes(data=True):
        if not computed(data):
            users = {owner.get(node) for node in (*graph.succ[leaf], *graph.pred[leaf])}
            if len(users) == 1 and (user := users.pop()) is not None:
                owner[leaf] = user
    return owner


def _together(graph: nx.MultiDiGraph, name: str, members: list[Hashable]) -> dict[str, Any]:
    """The attributes of a row: what leaves it and how much is in it, where it is, its marks."""
    nodes = [graph.nodes[member] for member in members]
    own = [data for data in nodes if computed(data)]
    back = own[0].get("kind") == "cotangent"
    leaving = own[0] if name.startswith("∇") else own[-1]  # both in the order of the values
    begin, end = _name(own[0]), _name(own[-1])
    return {
        "kind": "cotangent" if back else "elided",
        **({"of": name.removeprefix("∇")} if name.startswith("∇") else {}),
        "op": "",
        "label": f"{'∇ ' * back}{begin} … {end}",
        "elided": len(own),
        "operations": sum(d.get("operations", bool(d.get("op"))) for d in own),
        "parameter_values": sum(map(_parameters, nodes)),
        "shape": leaving.get("shape"),
        "dtype": leaving.get("dtype"),
        "copies": [
            each
            for member, data in zip(members, nodes, strict=True)
            for each in data.get("copies") or data.get("members", (member,))
        ],
        **_place(graph, own),
        **_marks(nodes),
    }


def _name(data: Attributes) -> str:
    """What an end of a row is called: a call by its path, an operation by its label."""
    path = data.get("scope") if "class" in data else ""
    return path or str(data.get("class") or data.get("label")).removeprefix("∇ ")


def _parameters(data: Attributes) -> int:
    """The elements of a parameter, or of those in a call."""
    if data.get("kind") == "parameter":
        return math.prod(data.get("shape") or ())
    return int(data.get("parameter_values") or 0)


def _place(graph: nx.MultiDiGraph, own: list[Attributes]) -> dict[str, Any]:
    """The call and the step that all are in, where it is one; a closed call's is that around it."""
    if len({(d.get("loop"), tuple(d.get("times") or ())) for d in own}) > 1:
        return {"time": None}
    inside = next((data for data in own if "members" not in data), None)
    data = own[0] if inside is None else inside
    place = {key: data[key] for key in ("times", "loop", "time") if key in data}
    if inside is not None:
        return place | {key: data[key] for key in ("scope", "scopes", "call") if key in data}
    around = data.get("call")
    table = graph.graph.get("calls") or []
    parent = None if around is None else table[around]["parent"]
    if parent is None:
        return place
    return place | {"call": parent, "scope": table[parent]["scope"]}


def _marks(nodes: list[Attributes]) -> dict[str, Any]:
    """What nobody should overlook in a row."""
    marks: dict[str, Any] = {
        count: total for count in ILL if (total := sum(d.get(count) or 0 for d in nodes))
    }
    for mark, told in (("failed", "error"), ("widened", "widened_by")):
        marked = next((data for data in nodes if data.get(mark)), None)
        if marked is not None:
            marks |= {mark: marked[mark], told: marked.get(told, "")}
    changes = {data.get("change") for data in nodes}
    if changes != {None}:
        marks["change"] = changes.pop() if len(changes) == 1 else "changed"
    return marks
