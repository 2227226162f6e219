"""Frames around boxes: one for each call and, inside the call that loops, one for each step."""

from __future__ import annotations

from collections.abc import Hashable

import networkx as nx

from tracer_render import loops
from tracer_render.calls import Calls, Level

Path = tuple[str, ...]


class Frames:
    """The frame of each node.

    `titles` holds what is written on the frames that were asked for, and `loops` the loop that a
    frame is one step of.
    """

    def __init__(self, graph: nx.MultiDiGraph, calls: Calls):
        self.titles: dict[Path, str] = {(): ""}
        self.loops: dict[Path, int] = {}
        self._graph = graph
        self._calls = calls
        self._steps = loops.find(graph)
        self._taken: dict[Path, object] = {}

    def steps(self, node: Hashable) -> tuple[loops.Step, ...]:
        """The steps of the loops that a node stands in, the outermost first."""
        return self._steps.get(node, ())

    def of(self, node: Hashable) -> Path:
        """The path of the frame in which a node stands."""
        waiting = list(self.steps(node))
        path: Path = ()
        for level in (*self._calls.frame(node), None):
            while waiting and (level is None or waiting[0].depth <= level.outside):
                step = waiting.pop(0)
                path = (*path, f"loop {step.loop}: {step.time}")
                self.titles[path], self.loops[path] = f"t = {step.time}", step.loop
            if level is not None:
                path = self._inside(path, level)
        return path

    def _inside(self, path: Path, level: Level) -> Path:
        """The path of a call's frame; other calls of the same module have others."""
        name = level.part or level.kind
        inside = (*path, name)
        number = 1
        while self._taken.setdefault(inside, level.key) != level.key:
            number += 1
            inside = (*path, f"{name} ({number})")
        if self.titles.get(inside, name) == name:
            which = (
                f", call {level.number + 1} of {level.calls}" if level.module is not None else ""
            )
            title = name if name == level.kind else f"{name} · {level.kind}"
            self.titles[inside] = title + which
        return inside
