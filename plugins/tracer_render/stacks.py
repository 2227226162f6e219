"""Steps of a recurrent loop stand one below the other: what Graphviz has to be told for that.

By itself it starts a step's frame as high as its inputs allow, so that frames stand in a diagonal
cascade, each beside the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from tracer_render.picture import Picture, clusters

Path = tuple[str, ...]


class Stack(NamedTuple):
    """Two steps of a loop: the lowest boxes of the upper one, the highest of the other."""

    above: list[str]
    below: list[str]


def stacks(picture: Picture) -> Iterator[Stack]:
    """Neighbouring steps of every loop that carries something from one to the next."""
    loops: dict[tuple[Path, int], list[Path]] = {}
    for cluster in clusters(picture.root):
        if cluster.loop is not None:
            loops.setdefault((cluster.path[:-1], cluster.loop), []).append(cluster.path)
    frames = {path: key for key, paths in loops.items() for path in paths}
    around = {
        box.id: [box.scope[:n] for n in range(len(box.scope) + 1) if box.scope[:n] in frames]
        for box in picture.boxes
    }
    inside: dict[Path, list[str]] = {path: [] for path in frames}
    for box in picture.boxes:
        for path in around[box.id]:
            inside[path].append(box.id)

    held: set[tuple[Path, str]] = set()  # has something below it in the frame
    fed: set[tuple[Path, str]] = set()  # has something above it there
    rising: dict[tuple[Path, int], bool] = {}
    for line in picture.lines:
        if line.delayed:
            continue
        upper, lower = line.ranked
        for a, b in zip(around[upper], around[lower], strict=False):
            if a == b:
                held.add((a, upper))
                fed.add((a, lower))
            elif frames[a] == frames[b]:
                order = loops[frames[a]]
                rising.setdefault(frames[a], order.index(a) > order.index(b))
    for key, up in rising.items():
        for above, below in pairwise(loops[key][::-1] if up else loops[key]):
            yield Stack(
                [box for box in inside[above] if (above, box) not in held],
                [box for box in inside[below] if (below, box) not in fed],
            )
