"""Leaves that many use are drawn beside each of their users."""

from __future__ import annotations

from collections.abc import Hashable

import networkx as nx

from tracer_render.frames import Frames
from tracer_render.scopes import Attributes, computed


def users(
    graph: nx.MultiDiGraph, frames: Frames, node: Hashable, data: Attributes
) -> list[Hashable]:
    """The neighbours that get a box of `node` each; `[None]` for a node drawn once.

    One shared leaf with an edge to every time step is what makes Graphviz take minutes, and what
    the reader's eye cannot follow.
    """
    kind = data.get("kind")
    if kind in ("parameter", "constant"):
        found = [] if graph.in_degree(node) else list(graph.successors(node))
    elif kind == "input" and not graph.in_degree(node):
        found = list(graph.successors(node))
        found = found if any(frames.steps(user) for user in found) else []
    elif kind == "cotangent" and not computed(data):
        forward = graph.nodes.get(data.get("of"), {})
        shared = forward.get("kind", "parameter") in ("parameter", "constant")
        found = list(graph.predecessors(node)) if shared and not graph.out_degree(node) else []
    else:
        found = []
    return found if len(found) > 1 else [None]


def count(graph: nx.MultiDiGraph, frames: Frames) -> int:
    """How many boxes a graph is in the direction that has more of them."""
    boxes = [0, 0]
    for node, data in graph.nodes(data=True):
        boxes[data.get("kind") == "cotangent"] += len(users(graph, frames, node, data))
    return max(boxes)
