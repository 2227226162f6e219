"""Modules nested too deeply to be shown become one node each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx

from tracer.errors import GraphError
from tracer_render import loops
from tracer_render.scopes import class_names, computed, scope_path


def collapse(graph: nx.MultiDiGraph, depth: int | None) -> nx.MultiDiGraph:
    """The graph in which each module nested deeper than `depth` levels is one node.

    Depth 0 leaves one node per outermost module, and one for its cotangents; both for each step of
    a loop that calls the module. A module's node has the kind `module` (`cotangent` for its
    cotangents), the counts `operations`, `parameters` and `parameter_values`, its `members`, and as
    `norm` the Euclidean norm over its parameters, or over all members where it has none. Raises
    `GraphError` for a negative depth.
    """
    if depth is None:
        return graph
    if depth < 0:
        raise GraphError(f"depth counts levels of modules from 0, and {depth} came: use 0 or more")

    steps = {
        node: tuple(step for step in inside if step.depth <= depth)
        for node, inside in loops.find(graph).items()
    }
    groups: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    shared: set[str] = set()
    for node, data in graph.nodes(data=True):
        if len(scope_path(data)) > depth:
            names = _groups(graph, node, depth, steps)
            owner[node] = names[0]
            if len(names) > 1:
                shared.add(node)
            for name in names:
                groups.setdefault(name, []).append(node)

    result = nx.MultiDiGraph(**graph.graph)
    for node, data in graph.nodes(data=True):
        if node not in owner:
            kept = dict(data)
            if kept.get("of") in owner:
                kept["of"] = owner[kept["of"]]
            result.add_node(node, **kept)
        elif owner[node] not in result:
            names = groups[owner[node]]
            members = {name: graph.nodes[name] for name in names}
            around = next((steps[name] for name in names if name in steps), ())
            result.add_node(owner[node], **_module(members, depth, owner, around))

    merged: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for tail, head, data in graph.edges(data=True):
        if tail in shared or head in shared:
            continue  # inside each of the modules that share it
        ends = owner.get(tail, tail), owner.get(head, head)
        if ends == (tail, head):
            result.add_edge(tail, head, **data)
        elif ends[0] != ends[1]:
            key = (*ends, data.get("kind", "data"), data.get("delay", 0))
            merged.setdefault(key, []).append(data)
    for (tail, head, *_), edges in merged.items():
        shapes = {tuple(edge.get("shape") or ()) for edge in edges}
        shape = edges[0].get("shape") if len(shapes) == 1 else None
        result.add_edge(tail, head, **{**edges[0], "shape": shape, "merged": len(edges)})
    return result


def _groups(
    graph: nx.MultiDiGraph, node: str, depth: int, steps: Mapping[str, tuple[loops.Step, ...]]
) -> list[str]:
    """The modules that a node is merged into: a leaf, into each step's copy of its module."""
    own = _group(graph.nodes[node], depth, steps.get(node, ()))
    if computed(graph.nodes[node]) or node in steps:
        return [own]
    users = (*graph.successors(node), *graph.predecessors(node))
    names = {_group(graph.nodes[user], depth, steps.get(user, ())): None for user in users}
    return list(names) if names and all(name.startswith(f"{own} (") for name in names) else [own]


def _group(data: Mapping[str, Any], depth: int, steps: tuple[loops.Step, ...]) -> str:
    """The identifier of the module that a node is merged into."""
    kind = "∇module" if data.get("kind") == "cotangent" else "module"
    name = f"{kind} {'.'.join(scope_path(data)[: depth + 1])}"
    when = ", ".join(f"t = {step.time} of loop {step.loop}" for step in steps)
    return f"{name} ({when})" if when else name


def _module(
    members: Mapping[str, Mapping[str, Any]],
    depth: int,
    owner: Mapping[str, str],
    around: tuple[loops.Step, ...],
) -> dict[str, Any]:
    nodes = list(members.values())
    first, last = nodes[0], nodes[-1]
    path = scope_path(first)[: depth + 1]
    cotangents = first.get("kind") == "cotangent"
    parameters = [n for n in nodes if is_parameter(n)]
    operations = [n for n in nodes if n.get("op")]
    output = next((n for n in reversed(nodes) if n.get("kind") == "operation"), last)
    title = class_names(first)[depth]
    module: dict[str, Any] = {
        "kind": "cotangent" if cotangents else "module",
        "op": "",
        "label": f"∇ {title}" if cotangents else title,
        "scope": ".".join(path),
        "scopes": list(class_names(first)[: depth + 1]),
        "shape": output.get("shape"),
        "dtype": output.get("dtype"),
        "nbytes": sum(n.get("nbytes") or 0 for n in nodes),
        "time": around[-1].time if around else None,
        "source": first.get("source"),
        "operations": len(operations),
        "parameters": len(parameters),
        "parameter_values": sum(math.prod(n.get("shape") or ()) for n in parameters),
        "members": list(members),
    }
    if around:
        module["times"], module["loop"] = [step.time for step in around], around[-1].loop
    times = {tuple(n.get("times", ())[len(around) :]) for n in nodes} - {()}
    steps = max([len(times), *(n.get("steps") or 0 for n in nodes)])
    if steps:
        module["steps"] = steps
    if cotangents:
        own = next(filter(computed, nodes), first)  # of leaves, several steps' modules hold some
        module["of"] = owner.get(own.get("of", ""), f"module {module['scope']}")
    norms = [n["norm"] for n in parameters or nodes if n.get("norm") is not None]
    if norms:
        module["norm"] = euclidean(norms)
    for count in ("nan", "inf"):
        if any(count in n for n in nodes):
            module[count] = sum(n.get(count) or 0 for n in nodes)
    if any(n.get("reached") is False for n in nodes):
        module["reached"] = any(n.get("reached") is True or "norm" in n for n in nodes)
    failed = next((n for n in nodes if n.get("failed")), None)
    if failed is not None:
        module |= {"failed": True, "error": failed.get("error", "")}
    return module


def is_parameter(data: Mapping[str, Any]) -> bool:
    """Whether a node is a parameter or the gradient of a leaf, which no operation made."""
    return data.get("kind") == "parameter" or (
        data.get("kind") == "cotangent" and not data.get("op") and "operations" not in data
    )


def euclidean(values: Iterable[float]) -> float:
    """The Euclidean norm; NaN if any value is NaN (`math.hypot` would let infinity win)."""
    numbers = [float(value) for value in values]
    return math.nan if any(map(math.isnan, numbers)) else math.hypot(*numbers)
