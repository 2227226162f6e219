"""Neighbours of the same structure in short: a row of equal calls becomes the first of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import networkx as nx

from tracer_render.measures import euclidean
from tracer_render.scopes import Attributes, computed

#: A pattern that repeats has at most this many nodes.
LONGEST = 12


class Run(NamedTuple):
    """Nodes that repeat a pattern of `length` nodes `times` times, in their order.

    They follow each other, or stand `abreast`.
    """

    nodes: list[Hashable]
    length: int
    times: int
    abreast: bool = False


def fold(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with one node for neighbours that are the same, which says how often it is there.

    Neighbours stand in a chain, each using the one before alone, and what another step of a loop
    hands on; a pattern of several nodes may repeat, such as a layer and its activation, and is one
    node then, too. It has `repeats`, and `last`, the path of the last of them; so has the node of
    their cotangents.
    """
    found = []
    for chain in _chains(graph):
        alike = [(*signature(graph.nodes[node]), _carried(graph, node)) for node in chain]
        for start, length, times in _patterns(alike):
            found.append(Run(chain[start : start + length * times], length, times))
    return merge(graph, found + partners(graph, found)) if found else graph


def partners(graph: nx.MultiDiGraph, runs: list[Run]) -> list[Run]:
    """The cotangents of runs, as runs."""
    partner = {d.get("of"): n for n, d in graph.nodes(data=True) if d.get("kind") == "cotangent"}
    of_runs = [[partner[node] for node in run.nodes if node in partner] for run in runs]
    pairs = zip(runs, of_runs, strict=True)
    return [run._replace(nodes=cotangents) for run, cotangents in pairs if cotangents]


def _chains(graph: nx.MultiDiGraph) -> Iterator[list[Hashable]]:
    """Rows of nodes of which each is used by the next alone, and uses the one before alone.

    What flows from one step of a loop to another binds no row: every layer of a recurrent network
    has a state of its own.
    """
    own = {n for n, d in graph.nodes(data=True) if computed(d) and d.get("kind") != "cotangent"}
    after = {}
    for node in own:
        users = {user for user in graph.succ[node] if not is_carried(graph, node, user)}
        if len(users) == 1:
            (user,) = users
            inputs = {n for n in graph.pred[user] if n in own and not is_carried(graph, n, user)}
            if user in own and inputs == {node}:
                after[node] = user
    heads = [node for node in graph if node in after and node not in set(after.values())]
    for node in heads:
        chain = [node]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        yield chain


def is_carried(graph: nx.MultiDiGraph, tail: Hashable, head: Hashable) -> bool:
    """Whether all that flows from one node to another is from one step of a loop to another."""
    if all(data.get("delay") for data in graph[tail][head].values()):
        return True
    before, after = graph.nodes[tail], graph.nodes[head]
    for one, other in ((before, after), (after, before)):
        if "elided" in one and len(other.get("times") or ()) > len(one.get("times") or ()):
            return True
    same = before.get("loop") is not None and before.get("loop") == after.get("loop")
    return same and list(before.get("times") or ()) != list(after.get("times") or ())


def _carried(graph: nx.MultiDiGraph, node: Hashable) -> tuple[bool, bool]:
    """Whether a node has something from another step of a loop, and hands something on to one."""
    return (
        any(is_carried(graph, before, node) for before in graph.pred[node]),
        any(is_carried(graph, node, user) for user in graph.succ[node]),
    )


def signature(data: Attributes) -> tuple[Hashable, ...]:
    """What two nodes have in common that are the same."""
    weights = data.get("weights")
    return (
        data.get("op"),
        data.get("class") or data.get("label"),
        data.get("hyperparameters"),
        tuple(data.get("shape") or ()),
        tuple((w["name"], tuple(w["shape"] or ())) for w in weights or ()),
        data.get("operations"),
        data.get("parameter_values"),
        data.get("failed"),
        data.get("widened"),
        data.get("change"),
    )


def _patterns(signatures: list[tuple[Hashable, ...]]) -> Iterator[tuple[int, int, int]]:
    """Where a pattern begins, how long it is, and how often it comes in a row."""
    start = 0
    while start < len(signatures):
        best = (1, 1)
        for length in range(1, min(LONGEST, (len(signatures) - start) // 2) + 1):
            pattern, times = signatures[start : start + length], 1
            while signatures[start + times * length : start + (times + 1) * length] == pattern:
                times += 1
            if (times - 1) * length > (best[1] - 1) * best[0]:
                best = length, times
        length, times = best
        if times > 1:
            yield start, length, times
        start += length * times


#: how many entries are no numbers, of a value and of what is inside of a closed call
ILL = ("nan", "inf", "nan_inside", "inf_inside")


def merge(graph: nx.MultiDiGraph, runs: list[Run]) -> nx.MultiDiGraph:
    """The graph in which the first node of each run stands for all of them.

    Leaves are those of the first copy of the pattern.
    """
    later = {node for run in runs for node in run.nodes[run.length :]}
    first = {node: run.nodes[0] for run in runs for node in run.nodes}
    together = {run.nodes[0]: _together(graph, run) for run in runs}
    folded = nx.MultiDiGraph(**graph.graph)
    for node, data in graph.nodes(data=True):
        if first.get(node, node) == node:
            folded.add_node(node, **{**data, **together.get(node, {})})
    for node, number in _leaves_of_copies(graph, runs):
        folded.nodes[node]["alike"] = number
    for data in folded.nodes.values():
        if data.get("of") in first:
            data["of"] = first[data["of"]]
    shown = set()
    for tail, head, data in graph.edges(data=True):
        if tail not in first and head not in first:
            folded.add_edge(tail, head, **data)
            continue
        if _is_of_a_copy(graph, tail, head, later):
            continue
        ends = first.get(tail, tail), first.get(head, head)
        key = (*ends, data.get("kind"), data.get("delay", 0))
        if (ends[0] != ends[1] or data.get("delay")) and key not in shown:
            shown.add(key)
            folded.add_edge(*ends, **data)
    _drop_unused(graph, folded)
    return folded


def _is_of_a_copy(
    graph: nx.MultiDiGraph, tail: Hashable, head: Hashable, later: set[Hashable]
) -> bool:
    """Whether an edge is between a leaf and a copy that is not shown."""
    of_tail = tail in later and not computed(graph.nodes[head])
    return of_tail or (head in later and not computed(graph.nodes[tail]))


def _leaves_of_copies(graph: nx.MultiDiGraph, runs: list[Run]) -> Iterator[tuple[Hashable, int]]:
    """Leaves that the first copy alone has, and of how many like them they are the first."""
    for run in runs:
        for node in run.nodes[: run.length]:
            for leaf in {*graph.pred[node], *graph.succ[node]}:
                if not computed(graph.nodes[leaf]) and graph.degree(leaf) == 1:
                    yield leaf, run.times


def _drop_unused(graph: nx.MultiDiGraph, folded: nx.MultiDiGraph) -> None:
    """Leave out leaves that only copies used which are not there any more."""
    alone = [node for node in folded if not folded.degree(node) and graph.degree(node)]
    folded.remove_nodes_from(alone)


def _together(graph: nx.MultiDiGraph, run: Run) -> dict[str, Any]:
    """What is true of all nodes of a run together: what each adds up to, and the last one's shape.

    A cotangent's shape is that of the first, which flows out last.
    """
    copies = [graph.nodes[node] for node in run.nodes]
    outer = copies[0] if copies[0].get("kind") == "cotangent" else copies[-1]
    together: dict[str, Any] = {
        "repeats": run.times * max(copy.get("repeats", 1) for copy in copies),
        "abreast": run.abreast or any(copy.get("abreast") for copy in copies),
        "last": copies[-1].get("scope") or "",
        "shape": outer.get("shape"),
        "dtype": outer.get("dtype"),
    }
    for key in ("operations", "parameters", "parameter_values", "nbytes", *ILL):
        if any(key in copy for copy in copies):
            together[key] = sum(copy.get(key) or 0 for copy in copies)
    if len({tuple(copy.get("index") or ()) for copy in copies}) > 1:
        together["index"] = None
    norms = [copy["norm"] for copy in copies if copy.get("norm") is not None]
    if norms:
        together["norm"] = euclidean(norms)
    if any("members" in copy for copy in copies):
        together["members"] = [member for copy in copies for member in copy.get("members", ())]
    together["copies"] = [
        name
        for node, copy in zip(run.nodes, copies, strict=True)
        for name in copy.get("copies") or copy.get("members", (node,))
    ]
    if run.length > 1:
        together |= _named(copies[: run.length])
    return together


def _named(pattern: list[Attributes]) -> dict[str, Any]:
    """What several nodes are called together."""
    names = [str(each.get("class") or each.get("label")).removeprefix("∇ ") for each in pattern]
    text = ", ".join(names)
    mark = "∇ " if pattern[0].get("kind") == "cotangent" else ""
    named: dict[str, Any] = {"label": f"{mark}{text}", "hyperparameters": "", "weights": None}
    return {**named, "class": text} if "class" in pattern[0] else named
