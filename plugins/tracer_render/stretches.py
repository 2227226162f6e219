"""Frames of modules that are left and entered again: one for each stretch.

A tape has a call for each time that a module is entered. A graph without calls has the paths of its
nodes alone: where a line leaves a module and comes back, one frame around all of it would have to
be above and below what is between, and lines would go through it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeAlias

import networkx as nx

Path: TypeAlias = tuple[str, ...]
#: Upper and lower box.
Edge: TypeAlias = tuple[str, str]
#: What stands in a module: a box, or one of the modules in it.
Block: TypeAlias = tuple[str, Hashable]


def split(scopes: Mapping[str, Path], edges: Iterable[Edge]) -> tuple[dict[str, Path], set[Path]]:
    """The frame of each box, and the frames that are one of several stretches of a module.

    `scopes` has each box's module path. In what is made, lines between the frames and boxes that
    stand in one frame never lead back to where they began.
    """
    found, parts = dict(scopes), set[Path]()
    flow = nx.DiGraph()
    flow.add_nodes_from(scopes)
    flow.add_edges_from((upper, lower) for upper, lower in edges if upper != lower)
    if not nx.is_directed_acyclic_graph(flow):
        return found, parts
    order = list(nx.topological_sort(flow))
    for depth in range(max(map(len, scopes.values()), default=0)):
        stretches = _stretches(flow, order, found, depth)
        numbers: dict[Path, dict[int, int]] = {}
        for box, stretch in stretches.items():
            of_module = numbers.setdefault(found[box][: depth + 1], {})
            of_module.setdefault(stretch, len(of_module) + 1)
        for box, stretch in stretches.items():
            path = found[box]
            of_module = numbers[path[: depth + 1]]
            if len(of_module) > 1:
                name = f"{path[depth]}, part {of_module[stretch]} of {len(of_module)}"
                found[box] = (*path[:depth], name, *path[depth + 1 :])
                parts.add(found[box][: depth + 1])
    return found, parts


def _stretches(
    flow: nx.DiGraph, order: list[str], scopes: Mapping[str, Path], depth: int
) -> dict[str, int]:
    """For boxes in modules at a depth that lines leave and enter again, the stretch of each.

    The number of a stretch is how many times a line has gone from one block to another before it.
    """
    blocks = {box: _block(box, scopes[box], depth) for box in order}
    between = nx.DiGraph()
    edges = [
        (upper, lower) for upper, lower in flow.edges
        if scopes[upper][:depth] == scopes[lower][:depth]
    ]  # fmt: skip
    between.add_edges_from((blocks[a], blocks[b]) for a, b in edges if blocks[a] != blocks[b])
    round_about = {
        block
        for component in nx.strongly_connected_components(between)
        if len(component) > 1
        for block in component
    }
    if not round_about:
        return {}
    passed: dict[str, int] = {}
    inside = nx.DiGraph(edges)
    for box in order:
        before = inside.pred[box] if box in inside else ()
        passed[box] = max((passed[b] + (blocks[b] != blocks[box]) for b in before), default=0)
    return {
        box: passed[box] for box in order if blocks[box] in round_about and len(scopes[box]) > depth
    }


def _block(box: str, scope: Path, depth: int) -> Block:
    """What a box is, or is in, among what stands in the module around it at a depth."""
    return ("module", scope[: depth + 1]) if len(scope) > depth else ("box", box)
