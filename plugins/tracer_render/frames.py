"""Frames around boxes: one for each module and, inside the module that loops, one for each step."""

from __future__ import annotations

from typing import Any

import networkx as nx

from tracer_render import loops
from tracer_render.scopes import class_names, frame_path

Path = tuple[str, ...]


class Frames:
    """The frame of each node.

    `titles` holds what is written on the frames that were asked for, and `loops` the loop that a
    frame is one step of.
    """

    def __init__(self, graph: nx.MultiDiGraph):
        self.titles: dict[Path, str] = {(): ""}
        self.loops: dict[Path, int] = {}
        self._graph = graph
        self._steps = loops.find(graph)

    def steps(self, node: Any) -> tuple[loops.Step, ...]:
        """The steps of the loops that a node stands in, the outermost first."""
        return self._steps.get(node, ())

    def of(self, node: Any) -> Path:
        """The path of the frame in which a node stands."""
        data = self._graph.nodes[node]
        modules = frame_path(data)
        names = class_names(data)
        waiting = list(self.steps(node))
        path: Path = ()
        for level in range(len(modules) + 1):
            while waiting and waiting[0].depth <= level:
                step = waiting.pop(0)
                path = (*path, f"loop {step.loop}: {step.time}")
                self.titles[path], self.loops[path] = f"t = {step.time}", step.loop
            if level < len(modules):
                part = modules[level]
                path = (*path, part)
                if self.titles.get(path, part) == part:
                    name = names[level]
                    self.titles[path] = part if name == part else f"{part} · {name}"
        return path
