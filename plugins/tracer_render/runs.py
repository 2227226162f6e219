"""Neighbours of the same structure in short: a row of equal calls becomes the first of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import networkx as nx

from tracer_render.measures import euclidean
from tracer_render.scopes import Attributes, computed

#: A pattern that repeats has at most this many nodes.
LONGEST = 12


class Copy(NamedTuple):
    """Which node stands for one, which run of neighbours it is in, and in which round."""

    first: Hashable
    run: Hashable
    round: int


def fold(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with the first of neighbours that are the same, which says how often it is there.

    Neighbours stand in a chain, each using the one before alone; a pattern of several nodes may
    repeat, such as a layer and its activation. A node that stands for others has `repeats`, and
    `last`, the path of the last of them; so has its cotangent.
    """
    kept: dict[Hashable, Copy] = {}
    for chain in _chains(graph):
        for start, length, times in _patterns([_signature(graph.nodes[node]) for node in chain]):
            for place in range(length * times):
                first = chain[start + place % length]
                kept[chain[start + place]] = Copy(first, chain[start], place // length)
    if not kept:
        return graph
    partner = {d.get("of"): n for n, d in graph.nodes(data=True) if d.get("kind") == "cotangent"}
    for node, copy in list(kept.items()):
        if node in partner and copy.first in partner:
            kept[partner[node]] = copy._replace(first=partner[copy.first])
    return _merge(graph, kept)


def _chains(graph: nx.MultiDiGraph) -> Iterator[list[Hashable]]:
    """Rows of nodes of which each is used by the next alone, and uses the one before alone."""
    own = {n for n, d in graph.nodes(data=True) if computed(d) and d.get("kind") != "cotangent"}
    after = {}
    for node in own:
        users = set(graph.succ[node])
        if len(users) == 1:
            (user,) = users
            if user in own and {n for n in graph.pred[user] if n in own} == {node} and user != node:
                after[node] = user
    heads = [node for node in graph if node in after and node not in set(after.values())]
    for node in heads:
        chain = [node]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        yield chain


def _signature(data: Attributes) -> tuple[Hashable, ...]:
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


def _merge(graph: nx.MultiDiGraph, kept: Mapping[Hashable, Copy]) -> nx.MultiDiGraph:
    copies: dict[Hashable, list[Attributes]] = {}
    for node, copy in kept.items():
        copies.setdefault(copy.first, []).append(graph.nodes[node])
    folded = nx.MultiDiGraph(**graph.graph)
    for node, data in graph.nodes(data=True):
        if node not in kept or kept[node].first == node:
            folded.add_node(node, **{**data, **_together(copies.get(node, []))})
    shown = set()
    for tail, head, data in graph.edges(data=True):
        before, after = kept.get(tail), kept.get(head)
        if before is None and after is None:
            folded.add_edge(tail, head, **data)
            continue
        if before and after and before.run == after.run and before.round != after.round:
            continue  # from one round to the next, which is the same one here
        ends = (before.first if before else tail), (after.first if after else head)
        key = (*ends, data.get("kind"), data.get("slot"))
        if key not in shown:
            shown.add(key)
            folded.add_edge(*ends, **data)
    _drop_unused(graph, folded)
    return folded


def _drop_unused(graph: nx.MultiDiGraph, folded: nx.MultiDiGraph) -> None:
    """Leave out leaves that only copies used which are not there any more."""
    alone = [node for node in folded if not folded.degree(node) and graph.degree(node)]
    folded.remove_nodes_from(alone)


def _together(copies: list[Attributes]) -> dict[str, Any]:
    """What is true of all copies of a node together."""
    if not copies:
        return {}
    together: dict[str, Any] = {"repeats": len(copies), "last": copies[-1].get("scope") or ""}
    for key in ("operations", "parameters", "parameter_values", "nbytes", "nan", "inf"):
        if any(key in copy for copy in copies):
            together[key] = sum(copy.get(key) or 0 for copy in copies)
    norms = [copy["norm"] for copy in copies if copy.get("norm") is not None]
    if norms:
        together["norm"] = euclidean(norms)
    if any("members" in copy for copy in copies):
        together["members"] = [member for copy in copies for member in copy.get("members", ())]
    return together
