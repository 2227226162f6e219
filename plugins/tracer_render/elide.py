"""Long loops in short: the middle steps of an unrolled graph become one node that counts them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from tracer.errors import GraphError
from tracer_render import loops
from tracer_render.scopes import Attributes, class_names, computed, scope_path

log = logging.getLogger("tracer_render")


def elide(graph: nx.MultiDiGraph, shown: int | None, say: bool = True) -> nx.MultiDiGraph:
    """The graph with at most `shown` steps of each loop, half of them the first, half the last.

    A node of the kind `elided` (`cotangent` for cotangents) stands for the steps between, with
    their number as `elided`, the first and the last as `between`, the count `operations`, and edges
    in place of those that operations have across. One step is not worth it: two or more are left
    out. `None` leaves the graph as it is. Raises `GraphError` for fewer than 2.
    """
    if shown is None:
        return graph
    if shown < 2:
        raise GraphError(f"a loop is drawn with 2 steps or more, and {shown} came: use 2 or more")
    hidden = {
        index: times[(shown + 1) // 2 : len(times) - shown // 2]
        for index, times in enumerate(map(loops.times_in_order, graph.graph.get("loops", ())))
        if len(times) > shown + 1
    }
    if not hidden:
        return graph
    owner, around = _owners(graph, hidden)
    if not owner:
        return graph  # folded already, or the loops recorded nothing
    _take_leaves(graph, owner)
    result = _with_merged(graph, owner, around, hidden)
    result.add_edges_from(_edges(graph, owner))
    steps = [loop["steps"] for loop in graph.graph["loops"]]
    result.graph["left_out"] = sorted({(steps[i], len(t)) for i, t in hidden.items()})
    if say:
        report(result)
    return result


def _owners(
    graph: nx.MultiDiGraph, hidden: Mapping[int, Sequence[int]]
) -> tuple[dict[Hashable, str], dict[str, tuple[loops.Step, ...]]]:
    """What stands for each node of hidden steps, and the steps that it is in, its own the last."""
    owner: dict[Hashable, str] = {}
    around: dict[str, tuple[loops.Step, ...]] = {}
    for node, where in loops.find(graph).items():
        level = next((i for i, s in enumerate(where) if s.time in hidden.get(s.loop, ())), None)
        if level is not None:
            back = "∇" if graph.nodes[node].get("kind") == "cotangent" else ""
            outer = "".join(f" at t = {step.time}" for step in where[:level])
            owner[node] = f"{back}steps of loop {where[level].loop}{outer}"
            around[owner[node]] = where[: level + 1]
    return owner, around


def _with_merged(
    graph: nx.MultiDiGraph,
    owner: Mapping[Hashable, str],
    around: Mapping[str, tuple[loops.Step, ...]],
    hidden: Mapping[int, Sequence[int]],
) -> nx.MultiDiGraph:
    """The nodes of the graph without edges, those that are hidden merged in place of the first."""
    result = nx.MultiDiGraph(**graph.graph)
    members: dict[str, list[Hashable]] = {}
    for node, data in graph.nodes(data=True):
        if node in owner:
            members.setdefault(owner[node], []).append(node)
            result.add_node(owner[node])
        else:
            result.add_node(node, **data)
    for name, nodes in members.items():
        *others, (index, _, _) = around[name]
        copies, loop = [graph.nodes[node] for node in nodes], graph.graph["loops"][index]
        merged = _steps(copies, hidden[index])
        merged["copies"] = [m for node in nodes for m in graph.nodes[node].get("members", (node,))]
        merged["scope"] = loop["scope"]
        merged["scopes"] = list(class_names(copies[0])[: len(scope_path(merged))])
        merged["times"] = [step.time for step in others]
        merged["loop"] = others[-1].loop if others else None
        merged["call"] = _call_around(graph, copies[0], loop)
        if name.startswith("∇"):
            merged["of"] = name.removeprefix("∇")
        result.nodes[name].update(merged)
    return result


def _edges(
    graph: nx.MultiDiGraph, owner: Mapping[Hashable, str]
) -> Iterator[tuple[Hashable, Hashable, Attributes]]:
    """The edges between what is left, those across hidden steps once."""
    crossing: set[tuple[Hashable, ...]] = set()
    for tail, head, data in graph.edges(data=True):
        if tail not in owner and head not in owner:
            yield tail, head, data
            continue
        ends = owner.get(tail, tail), owner.get(head, head)
        leaf = not (computed(graph.nodes[tail]) and computed(graph.nodes[head]))
        key = (*ends, data.get("kind"))
        # A leaf that the hidden steps use is drawn at each use that is shown.
        if ends[0] != ends[1] and not leaf and key not in crossing:
            crossing.add(key)
            yield *ends, data


def _call_around(graph: nx.MultiDiGraph, inside: Attributes, loop: Attributes) -> int | None:
    """The call in which a loop is, by a node inside of the loop."""
    call, table = inside.get("call"), graph.graph.get("calls") or []
    depth = len(loop["scope"].split(".")) if loop["scope"] else 0
    if call is not None and "members" in inside:
        call = table[call]["parent"]
    while call is not None and len(table[call]["scope"].split(".")) > depth:
        call = table[call]["parent"]
    return call


def _take_leaves(graph: nx.MultiDiGraph, owner: dict[Hashable, str]) -> None:
    """Leaves that only hidden steps use are hidden with them."""
    for node, data in graph.nodes(data=True):
        if computed(data) or node in owner:
            continue
        users = {owner.get(n) for n in (*graph.successors(node), *graph.predecessors(node))}
        if len(users) == 1 and None not in users:
            owner[node] = users.pop()  # type: ignore[assignment]  # the only one, and not None


def _steps(members: list[Attributes], times: Sequence[int]) -> dict[str, Any]:
    """What is known of the steps that are left out, together."""
    back = members[0].get("kind") == "cotangent"
    words = f"… {len(times):,} steps …"
    merged: dict[str, Any] = {
        "kind": "cotangent" if back else "elided",
        "op": "",
        "label": f"∇ {words}" if back else words,
        "time": None,
        "elided": len(times),
        "between": [times[0], times[-1]],
        "operations": sum(m.get("operations", bool(m.get("op"))) for m in members),
    }
    for count in ("nan", "inf"):
        if any(count in m for m in members):
            merged[count] = sum(m.get(count) or 0 for m in members)
    widened = next((m for m in members if m.get("widened")), None)
    if widened is not None:
        merged |= {key: widened[key] for key in ("widened", "widened_by", "dtype")}
    failed = next((m for m in members if m.get("failed")), None)
    if failed is not None:
        merged |= {"failed": True, "error": failed.get("error", "")}
    return merged


def report(graph: nx.MultiDiGraph) -> None:
    """Say on the logger `tracer_render` how many steps of how many are not drawn."""
    for steps, count in graph.graph.get("left_out", ()):
        log.warning(
            "%s of %s steps are not drawn one by one: `--steps all` draws all",
            f"{count:,}",
            f"{steps:,}",
        )
