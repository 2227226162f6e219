"""Equal branches side by side in short: the first of them stands for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import networkx as nx

from tracer_render.runs import Run, merge, partners, signature
from tracer_render.scopes import computed


def fold(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with one branch in place of several that are the same, which says how many it is.

    Branches are chains of calls or operations that begin at the same values and end at the same, or
    in a row of one operation that adds them up; that row is one node, too.
    """
    users, inputs = _neighbours(graph)
    row = _rows(graph, users, inputs)
    groups: dict[Hashable, list[list[Hashable]]] = defaultdict(list)
    for branch in _branches(inputs, users, row):
        ends = {row.get(user, user) for user in users[branch[-1]]}
        if ends:
            key = (
                tuple(signature(graph.nodes[node]) for node in branch),
                frozenset(inputs[branch[0]]),
                frozenset(ends),
            )
            groups[key].append(branch)
    found = [
        Run(list(nodes), 1, len(branches), abreast=True)
        for branches in groups.values()
        if len(branches) > 1
        for nodes in zip(*branches, strict=True)
    ]
    if not found:
        return graph
    folded = merge(graph, found + partners(graph, found))
    return _with_rows(folded)


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


def _branches(
    inputs: dict[Hashable, set[Hashable]],
    users: dict[Hashable, set[Hashable]],
    row: dict[Hashable, Hashable],
) -> list[list[Hashable]]:
    """Chains that are as long as they can be, from something that several use."""
    after: dict[Hashable, Hashable] = {}
    for node, following in users.items():
        if len(following) == 1 and node not in row:
            (user,) = following
            if inputs[user] == {node} and user not in row:
                after[node] = user
    inner = set(after.values())
    chains = []
    for node in users:
        if node in inner or node in row:
            continue
        chain = [node]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        chains.append(chain)
    return chains


def _with_rows(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with each row of one operation as one node, where it adds one branch alone."""
    users, inputs = _neighbours(graph)
    rows: dict[Hashable, list[Hashable]] = {}
    for node, first in _rows(graph, users, inputs).items():
        rows.setdefault(first, []).append(node)
    found = []
    for nodes in rows.values():
        others = set().union(*(inputs[node] for node in nodes)) - set(nodes)
        if len(others) == 1:
            found.append(Run(nodes, 1, len(nodes)))
    return merge(graph, found + partners(graph, found)) if found else graph
