"""What the page shows of each step when its reader steps through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx

from tracer.extend import copies
from tracer_render.scopes import Attributes

#: Statistics that a page holds at most. Of more steps, every second, third, ... has some.
MOST_ENTRIES = 60_000
#: What is told of a node at a step: attributes of the copy that the unrolled graph has of it there.
STATISTICS = ("norm", "min", "max")


def table(
    unrolled: nx.MultiDiGraph, values: Mapping[str, float], folded: Mapping[str, str]
) -> dict[str, Any] | None:
    """The steps to choose from and statistics at each of them, by box (name -> node) of `folded`.

    `count` is the number of steps of the longest loop and `times` are those to choose from;
    `statistics[box][i]` is norm, minimum, maximum and overlay's value at the i-th of them, None
    where the node did not run or they are not known. In loops within loops a step is one of the
    outermost loop, and the last copy in it counts. None where there is no loop.
    """
    loops = unrolled.graph.get("loops", ())
    count = max((loop["steps"] for loop in loops if loop["parent"] is None), default=0)
    if not count:
        return None
    by_time = {
        members[0]: {unrolled.nodes[member]["times"][0]: member for member in members}
        for members in (copies(unrolled) if folded else ())
    }
    boxes = {box: by_time[node] for box, node in folded.items() if node in by_time}
    times = range(0, count, 1 + count * len(boxes) // MOST_ENTRIES)
    found: dict[str, Any] = {"count": count, "times": list(times), "statistics": {}}
    for box, members in boxes.items():
        found["statistics"][box] = [
            _entry(unrolled.nodes[members[time]], values.get(members[time]))
            if time in members
            else None
            for time in times
        ]
    return found


def _entry(data: Attributes, value: float | None) -> list[float | None]:
    """Four significant digits of each number, None for one that is not known."""
    numbers = [*(data.get(key) for key in STATISTICS), value]
    return [None if number is None else float(f"{number:.4g}") for number in numbers]
