"""Loops over time: which step of which loops the nodes of an unrolled graph were recorded in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import networkx as nx

from tracer_render.scopes import Attributes, computed, frame_path


class Step(NamedTuple):
    """A step of a loop, by its number. `depth` is how many modules the loop stands in."""

    loop: int
    time: int
    depth: int


def times_in_order(loop: Attributes) -> Sequence[int]:
    """The steps of a loop in the order in which it went through them."""
    times = range(loop["steps"])
    return times[::-1] if loop.get("reverse") else times


def find(graph: nx.MultiDiGraph) -> dict[Hashable, tuple[Step, ...]]:
    """By node, its steps in the loops that it is in, the outermost loop first.

    A leaf that only nodes of one step use belongs to that step. Nodes outside of all loops are left
    out, and so are all nodes of a folded graph.
    """
    loops = graph.graph.get("loops", ())
    if not loops:
        return {}
    chains: list[list[tuple[int, int]]] = []
    for index, loop in enumerate(loops):  # a loop comes after the one around it
        around = [] if loop["parent"] is None else chains[loop["parent"]]
        depth = len(loop["scope"].split(".")) if loop["scope"] else 0
        chains.append([*around, (index, depth)])
    steps: dict[Hashable, tuple[Step, ...]] = {}
    for node, data in graph.nodes(data=True):
        if data.get("times"):
            chain = zip(chains[data["loop"]], data["times"], strict=True)
            steps[node] = tuple(Step(index, time, depth) for (index, depth), time in chain)
    for node, data in graph.nodes(data=True):
        if node not in steps and not computed(data):
            shared = _shared(graph, node, steps)
            if shared:
                steps[node] = shared
    return steps


def _shared(
    graph: nx.MultiDiGraph, leaf: Hashable, steps: Mapping[Hashable, tuple[Step, ...]]
) -> tuple[Step, ...]:
    """The steps that all neighbours of a leaf are in, of loops in the leaf's module or above."""
    found = {steps.get(node, ()) for node in (*graph.successors(leaf), *graph.predecessors(leaf))}
    if not found:
        return ()
    modules = len(frame_path(graph.nodes[leaf]))
    shared: list[Step] = []
    for level in zip(*found, strict=False):
        if len(set(level)) > 1 or level[0].depth > modules:
            break
        shared.append(level[0])
    return tuple(shared)
