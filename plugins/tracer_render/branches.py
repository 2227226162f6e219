"""Equal branches side by side in short: the first of them stands for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import networkx as nx

from tracer_render.runs import Run, is_carried, merge, partners, signature
from tracer_render.scopes import computed

#: Of equal branches side by side, so many are drawn one by one: more are wider than a page.
MOST_ABREAST = 5


def fold(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with one branch in place of several that are the same, which says how many it is.

    Branches are calls and operations that begin at the same values and end at the same, or in a row
    of one operation that adds them up; that row is one node, too.
    """
    found = [Run(nodes, 1, len(nodes), abreast=True) for nodes in equal(graph) if len(nodes) > 1]
    if not found:
        return graph
    folded = merge(graph, found + partners(graph, found))
    return _with_rows(folded)


def widest(graph: nx.MultiDiGraph) -> int:
    """How many equal branches there are side by side, at most."""
    return max(map(len, equal(graph)), default=0)


def equal(graph: nx.MultiDiGraph) -> list[list[Hashable]]:
    """The nodes that are the same, made of the same, and used by the same, in their order.

    What is made of nodes that are the same, or used by such, may be the same in turn, as parts of
    the branches of a mixture are. None of them is made of another.
    """
    users, inputs = _neighbours(graph)
    row = _rows(graph, users, inputs)
    order = _in_order(graph, users)
    made = _Kinds()
    for node in order:
        parts = Counter(made.of.get(part, part) for part in inputs[node])
        made.add(node, signature(graph.nodes[node]), parts)
    used = _Kinds()
    for node in reversed(order):
        uses = Counter(row.get(user) or used.of.get(user, user) for user in users[node])
        used.add(node, made.of[node], uses)
    groups: dict[Hashable, list[Hashable]] = {}
    for node in users:
        if node in used.of and users[node] and node not in row:
            groups.setdefault(used.of[node], []).append(node)
    return list(groups.values())


class _Kinds:
    """Numbers of kinds of nodes: two have one if they and their neighbours are of one kind."""

    def __init__(self) -> None:
        self.of: dict[Hashable, tuple[str, int]] = {}
        self._numbers: dict[Hashable, int] = {}

    def add(self, node: Hashable, kind: Hashable, neighbours: Counter[Hashable]) -> None:
        """Give a node the number of its kind."""
        key = kind, frozenset(neighbours.items())
        self.of[node] = "kind", self._numbers.setdefault(key, len(self._numbers))


def _in_order(graph: nx.MultiDiGraph, users: dict[Hashable, set[Hashable]]) -> list[Hashable]:
    """Each node after what it is made of; nothing of a graph that goes round without a step."""
    flow = nx.DiGraph()
    flow.add_nodes_from(users)
    for node, following in users.items():
        flow.add_edges_from((node, user) for user in following if not is_carried(graph, node, user))
    return list(nx.topological_sort(flow)) if nx.is_directed_acyclic_graph(flow) else []


def _neighbours(
    graph: nx.MultiDiGraph,
) -> tuple[dict[Hashable, set[Hashable]], dict[Hashable, set[Hashable]]]:
    """Who uses each operation or call, and what it is made of, leaves of its own left out.

    A leaf that several use is told apart from others; one that one node alone uses is that node's.
    """
    own = [n for n, d in graph.nodes(data=True) if computed(d) and d.get("kind") != "cotangent"]
    ours = set(own)
    shared = {
        n for n, d in graph.nodes(data=True)
        if not computed(d) and len(ours.intersection(graph.succ[n])) > 1
    }  # fmt: skip
    users = {node: ours.intersection(graph.succ[node]) for node in own}
    inputs = {node: (ours | shared).intersection(graph.pred[node]) for node in own}
    return users, inputs


def _rows(
    graph: nx.MultiDiGraph,
    users: dict[Hashable, set[Hashable]],
    inputs: dict[Hashable, set[Hashable]],
) -> dict[Hashable, Hashable]:
    """Of rows of one operation, each made of the one before and of something else: node -> first.

    The rows are what sums of many terms are recorded as.
    """
    first: dict[Hashable, Hashable] = {}
    for node, data in graph.nodes(data=True):
        if node not in inputs or not data.get("op") or len(inputs[node]) > 2:
            continue
        for before in inputs[node]:
            alike = before in users and signature(graph.nodes[before]) == signature(data)
            if alike and users[before] == {node}:
                first[node] = first.setdefault(before, before)
    return first


def rows(graph: nx.MultiDiGraph) -> list[tuple[list[Hashable], set[Hashable]]]:
    """The rows of one operation, each with what it is made of besides itself."""
    users, inputs = _neighbours(graph)
    found: dict[Hashable, list[Hashable]] = {}
    for node, first in _rows(graph, users, inputs).items():
        found.setdefault(first, []).append(node)
    return [
        (nodes, set().union(*(inputs[node] for node in nodes)) - set(nodes))
        for nodes in found.values()
    ]


def _with_rows(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with each row of one operation as one node, where it adds one branch alone."""
    found = [Run(nodes, 1, len(nodes)) for nodes, others in rows(graph) if len(others) == 1]
    return merge(graph, found + partners(graph, found)) if found else graph
