"""Graphs of loops over time: time copies merged into a cyclic graph, and taken apart again.

The attributes that tell copies apart (`loop`, `times`), and those that stand for all copies
(`steps`, `first`, `stride`, `delay`), are listed in docs/reference/graph.md.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import networkx as nx

from tracer.errors import GraphError
from tracer.graph.calls import Attributes, merged, used
from tracer.graph.index_text import between
from tracer.graph.shown import Graph

#: The loops that something is in, the outermost first, each with the time step there.
Path = tuple[tuple[int, int], ...]

#: what a folded node tells of all its copies together
STATISTICS = ("norm", "min", "max", "nan", "inf", "flops", "seconds")

#: the kinds of leaves that a step can have of its own
LEAVES = ("input", "constant")


def fold(graph: nx.MultiDiGraph, origins: Mapping[str, Hashable]) -> nx.MultiDiGraph:
    """The cyclic graph of an unrolled one: copies of a node at different times merge.

    Copies are the operations of one loop that the same expression of a program (`origins`, by
    node) recorded in different steps, in their order there; and the inputs and constants that
    they alone read. An edge from step t to step t+k has `delay=k`, in `loop`.
    """
    loops = graph.graph["loops"]
    paths = _paths(graph)
    groups = _operations(graph, paths, origins)
    kept = {name: members[0] for members in groups for name in members}
    for members in _leaves(graph, paths, kept):
        groups.append(members)
        kept.update((name, members[0]) for name in members)
    folded = Graph(**{**graph.graph, "time": "folded"})
    for name, attributes in graph.nodes(data=True):
        if kept.setdefault(name, name) == name:
            folded.add_node(name, **attributes)
    for members in groups:
        merged = folded.nodes[members[0]]
        if len(members) > 1:
            merged.pop("values", None)
        merged.update(_merged([graph.nodes[name] for name in members]))
        merged["loop"] = paths[members[0]][-1][0]
        rounds = [_round(loops, paths[name]) for name in members]
        merged["first"], (merged["stride"],) = rounds[0], _strides([(r,) for r in rounds])
        if "of" in merged:
            merged["of"] = kept.get(merged["of"], merged["of"])
    folded.add_edges_from(_edges(graph, paths, kept))
    _merge_calls(folded)
    return folded


def _merge_calls(folded: nx.MultiDiGraph) -> None:
    """One call in place of those that a module has in all steps of a loop."""
    table = folded.graph.get("calls", [])
    first = merged(table)
    calls = {name: call for name, call in folded.nodes(data="call") if call is not None}
    short, numbers = used(table, {first[call] for call in calls.values()})
    folded.graph["calls"] = short
    for name, call in calls.items():
        folded.nodes[name]["call"] = numbers[first[call]]


def _paths(graph: nx.MultiDiGraph) -> dict[str, Path]:
    loops = graph.graph["loops"]
    chains: list[tuple[int, ...]] = []
    for loop, about in enumerate(loops):  # a loop comes after the one around it
        chains.append((*(() if about["parent"] is None else chains[about["parent"]]), loop))
    return {
        name: () if a["loop"] is None else tuple(zip(chains[a["loop"]], a["times"], strict=True))
        for name, a in graph.nodes(data=True)
    }


def _round(loops: list[Attributes], path: Path) -> int | None:
    """How many rounds of the innermost loop came before."""
    if not path:
        return None
    loop, time = path[-1]
    return loops[loop]["steps"] - 1 - time if loops[loop]["reverse"] else time


def _operations(
    graph: nx.MultiDiGraph, paths: Mapping[str, Path], origins: Mapping[str, Hashable]
) -> list[list[str]]:
    groups: dict[Hashable, list[str]] = defaultdict(list)
    count: Counter[Hashable] = Counter()
    for name, a in graph.nodes(data=True):
        if path := paths[name]:
            line = (a["loop"], a["scope"], a["kind"], a["op"], origins[name])
            groups[line, count[line, path]].append(name)
            count[line, path] += 1
    return list(groups.values())


def _leaves(
    graph: nx.MultiDiGraph, paths: dict[str, Path], kept: Mapping[str, str]
) -> list[list[str]]:
    """Inputs and constants of one step each, which the copies of one operation read there.

    They are placed in their step: `paths` is changed.
    """
    groups: dict[Hashable, list[str]] = defaultdict(list)
    count: Counter[Hashable] = Counter()
    inside: dict[str, Path] = {}
    for name, a in graph.nodes(data=True):
        users = graph.out_edges(name, data="slot") if a["kind"] in LEAVES else ()
        shared = _common(paths[user] for _, user, _ in users)
        if shared:
            inside[name] = shared
            uses = tuple(sorted({(kept[user], slot) for _, user, slot in users}))
            value = (a["kind"], a["label"], tuple(loop for loop, _ in shared), uses)
            groups[value, count[value, shared]].append(name)
            count[value, shared] += 1
    several = [members for members in groups.values() if len(members) > 1]
    paths.update((name, inside[name]) for members in several for name in members)
    return several


def _common(paths: Iterable[Path]) -> Path:
    """The steps that all paths begin with."""
    shared: Path | None = None
    for path in paths:
        if shared is None or path == shared:
            shared = path
            continue
        same = (i for i, (a, b) in enumerate(zip(shared, path, strict=False)) if a != b)
        shared = shared[: next(same, min(len(shared), len(path)))]
    return shared or ()


def _merged(copies: list[Attributes]) -> Attributes:
    """What is true of all copies of a node together."""
    merged: Attributes = {"steps": len(copies), "time": None, "times": []}
    for key in ("nan", "inf", "flops", "seconds"):
        if key in copies[0]:
            merged[key] = sum(copy.get(key, 0) for copy in copies)
    widened = next((copy for copy in copies if "widened" in copy), None)
    if widened is not None:
        merged |= {key: widened[key] for key in ("widened", "widened_by")}
    if all("index" in copy for copy in copies):
        merged["index"] = between([copy["index"] for copy in copies])
    if "norm" in copies[0]:
        merged["norm"] = math.hypot(*(copy.get("norm", 0.0) for copy in copies))
    return merged


def _edges(
    graph: nx.MultiDiGraph, paths: Mapping[str, Path], kept: Mapping[str, str]
) -> list[tuple[str, str, Attributes]]:
    loops = graph.graph["loops"]
    rounds = {name: _round(loops, path) for name, path in paths.items()}
    merged: dict[tuple[Any, ...], Attributes] = {}
    copies: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    parallel: Counter[tuple[str, str]] = Counter()
    for source, target, attributes in graph.edges(data=True):
        back = attributes["kind"] == "cotangent"
        before, after = paths[target if back else source], paths[source if back else target]
        loop, delay = _delay(before, after)
        use = slot = attributes["slot"]
        if len(before) > len(after) and before[: len(after)] == after:
            # copies of a value, which one node outside of their loop reads in a slot each
            use = ("use", parallel[source, target])
            parallel[source, target] += 1
        key = (kept[source], kept[target], use, loop, delay)
        if key not in merged:
            merged[key] = {**attributes, "delay": delay, **({"loop": loop} if delay else {})}
        if before or after:
            copies[key].append((rounds[source], rounds[target], slot))
    for key, each in copies.items():
        merged[key].update(steps=len(each), first=list(each[0]), stride=_strides(each))
    return [(source, target, edge) for (source, target, *_), edge in merged.items()]


def _strides(copies: list[tuple[Any, ...]]) -> list[int | None]:
    """From one copy to the next, by how much each number grows; None if it does so irregularly."""
    strides: list[int | None] = []
    for numbers in zip(*copies, strict=True):
        known = numbers[0] is not None
        steps = {b - a for a, b in itertools.pairwise(numbers)} if known else set()
        strides.append(None if len(steps) > 1 else next(iter(steps), 0))
    return strides


def _delay(before: Path, after: Path) -> tuple[int | None, int]:
    """The outermost loop that two nodes are in at different steps, and the steps in between."""
    if before != after:
        for (first, t), (second, u) in zip(before, after, strict=False):
            if first != second:
                break
            if t != u:
                return first, abs(u - t)
    return None, 0


def unfold(graph: nx.MultiDiGraph, steps: int, unrolled: nx.MultiDiGraph) -> None:
    """Put into an empty graph what a folded one was with `steps` steps: the inverse of `fold`.

    What went on until the last round does so again, and what happened in the last one alone
    happens in the new last one. Nodes of a loop are called `(name, t)`. Raises `GraphError` for
    loops in loops, and where something happened at irregular steps.
    """
    loops = graph.graph["loops"]
    for about in loops:
        if about["parent"] is not None:
            raise GraphError(
                f"unroll takes folded graphs whose loops are not nested, got one with a loop at "
                f"{about['source']} inside of another: unroll a trace of that loop alone"
            )
    same = [{**about, "steps": steps} for about in loops]
    unrolled.graph.update({**graph.graph, "time": "unrolled", "loops": same})
    copies: dict[str, dict[int | None, Any]] = {}
    for name, a in graph.nodes(data=True):
        kept = {k: v for k, v in a.items() if k not in ("steps", "first", "stride")}
        if "steps" not in a:
            copies[name] = {None: name}
            unrolled.add_node(name, **kept)
            continue
        copies[name] = {}
        kept = {k: v for k, v in kept.items() if k not in STATISTICS}
        about = loops[a["loop"]]
        count = _regular(a["steps"], a["stride"], a["label"])
        for r in _rounds(a["first"], count, a["stride"], about["steps"], steps):
            time = steps - 1 - r if about["reverse"] else r
            copies[name][r] = (name, time)
            leaf = a["kind"] in LEAVES
            place = {"loop": None} if leaf else {"time": time, "times": [time]}
            unrolled.add_node((name, time), **{**kept, **place})
    for name, attributes in unrolled.nodes(data=True):
        if "of" in attributes and isinstance(name, tuple):
            attributes["of"] = (attributes["of"], name[1])
    _unfold_edges(graph, unrolled, copies, steps)


def _regular(count: int, stride: Any, label: str) -> int:
    if stride is None:
        raise GraphError(
            f"unroll takes folded graphs in which everything happens at regular steps, got "
            f"{label!r} {count} times at irregular ones: unroll a trace without that condition"
        )
    return count


def _rounds(first: int, count: int, stride: int, length: int, steps: int, start: int = 0) -> range:
    """The rounds of `steps` that correspond to these of `length`.

    `start` is the first round in which it can happen at all.
    """
    if stride < 0:
        return _rounds(first + (count - 1) * stride, count, -stride, length, steps)[::-1]
    if count == 1 and start < first == length - 1:
        return range(steps - 1, steps)
    stride = stride or 1
    goes_on = first + count * stride >= length
    return range(first, steps if goes_on else min(first + count * stride, steps), stride)


def _unfold_edges(
    graph: nx.MultiDiGraph,
    unrolled: nx.MultiDiGraph,
    copies: Mapping[str, Mapping[int | None, Any]],
    steps: int,
) -> None:
    edges = []
    grown: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for source, target, a in graph.edges(data=True):
        kept = {k: v for k, v in a.items() if k not in ("steps", "first", "stride", "loop")}
        kept["delay"] = 0
        reader = source if a["kind"] == "cotangent" else target
        slots: Iterable[int] = itertools.repeat(a["slot"])
        ends: list[tuple[int | None, int | None]] = [(None, None)]
        if "steps" in a:
            ends = _ends(graph, source, target, a, steps)
            stride = a["stride"][2]
            extra = len(ends) - a["steps"]
            slots = itertools.count(a["slot"] - min(stride, 0) * extra, stride)
            if stride:
                last = a["slot"] + (a["steps"] - 1) * stride
                grown[reader].append((max(a["slot"], last), extra))
        edges.append((source, target, reader, ends, slots, kept))
    for source, target, reader, ends, slots, kept in edges:
        moved = sum(extra for last, extra in grown[reader] if last < kept["slot"])
        for (r, q), slot in zip(ends, slots, strict=False):
            if r in copies[source] and q in copies[target]:
                tail, head = copies[source][r], copies[target][q]
                unrolled.add_edge(tail, head, **{**kept, "slot": slot + moved})


def _ends(
    graph: nx.MultiDiGraph, source: str, target: str, a: Mapping[str, Any], steps: int
) -> list[tuple[int | None, int | None]]:
    """The rounds of source and target of each copy of an edge; None for an end outside of loops."""
    loops, label = graph.graph["loops"], graph.nodes[target]["label"]
    for stride in a["stride"]:
        _regular(a["steps"], stride, label)
    inside = [graph.nodes[source]["loop"], graph.nodes[target]["loop"]]
    if inside[0] is not None and inside[0] == inside[1]:
        apart = a["first"][0] - a["first"][1]
        late = 0 if apart > 0 else 1
        length = loops[inside[0]]["steps"]
        rounds = _rounds(a["first"][late], a["steps"], a["stride"][late], length, steps, abs(apart))
        return [(r, r - apart) if late == 0 else (r + apart, r) for r in rounds]
    each: list[Iterable[int | None]] = []
    for loop, first, stride in zip(inside, a["first"], a["stride"], strict=False):
        if loop is None:
            each.append(itertools.repeat(None))
            continue
        length = loops[loop]["steps"]
        if stride == 0 and a["steps"] > 1:
            each.append(itertools.repeat(steps - 1 if 0 < first == length - 1 else first))
        else:
            each.append(_rounds(first, a["steps"], stride, length, steps))
    return list(zip(*each, strict=False))
