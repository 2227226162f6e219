"""What the page knows of a graph: its outline, what each box says, and the lines, in columns.

A box stands for a value and its cotangent, which are drawn side by side. assets/data.js reads this.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import networkx as nx

from tracer.extend import DrawOptions
from tracer_render import page_columns, page_lines
from tracer_render.opening import opened
from tracer_render.outline import Box, Group, Outline
from tracer_render.packing import MISSING, floats, indices
from tracer_render.page_columns import Column, Columns
from tracer_render.page_groups import Groups
from tracer_render.page_sides import Side
from tracer_render.page_texts import Writer, says_label
from tracer_render.scopes import Attributes
from tracer_render.summaries import Summaries


def view(graph: nx.MultiDiGraph, options: DrawOptions) -> dict[str, Any]:
    """A graph for the page, with what is open at first."""
    return _View(graph, options).data()


class _View:
    def __init__(self, graph: nx.MultiDiGraph, options: DrawOptions):
        self._graph = graph
        self._data: dict[Hashable, Attributes] = dict(graph.nodes(data=True))
        self._outline = Outline(graph, options.steps)
        self._open = opened(self._outline, options)
        self._overlay: Mapping[Any, float] = options.values or {}
        self._writer = Writer()
        self._columns = Columns()
        self._partners: dict[Hashable, Hashable] = {
            data["of"]: node
            for node, data in self._data.items()
            if data.get("kind") == "cotangent" and data.get("of") in self._data
        }
        self._boxes = list(self._outline.root.boxes())
        self._values = self._side([box.node for box in self._boxes])
        self._cotangents = self._side([self._cotangent(box) for box in self._boxes])

    def data(self) -> dict[str, Any]:
        of_values = page_columns.told(self._values.data)
        boxes = self._told(self._values, dict(of_values), "n")
        boxes["repeated"] = [i for i, box in enumerate(self._boxes) if box.user is not None]
        boxes["step"] = indices(self._steps())
        lines = page_lines.told(
            self._graph,
            {cotangent: value for value, cotangent in self._partners.items()},
            self._outline.own,
            page_lines.Places(self._boxes),
            self._columns.words,
        )
        summaries = Summaries(self._graph, self._outline.calls)
        groups = Groups(self._outline.root, summaries, self._writer, self._columns)
        return {
            "count": len(self._boxes),
            "boxes": boxes,
            "back": self._told_back(of_values) if self._cotangents.any else None,
            "groups": groups.told(self._values, self._cotangents, self._open),
            "lines": lines.columns,
            **self._columns.words.finish()._asdict(),
            "signs": sorted(self._writer.signs | lines.signs | self._signs()),
            "has_rows": groups.has_rows,
        }

    def _signs(self) -> set[tuple[str, str]]:
        """What the legend explains besides of what texts and lines say."""
        signs = set()
        if any(box.user is not None for box in self._boxes):
            signs.add(("mark", "repeated"))
        if any(d and n in self._outline.own for n, d in self._pairs()):
            signs.add(("line", "pair"))
        return signs

    def _side(self, nodes: list[Hashable]) -> Side:
        return Side(nodes, self._data, self._writer)

    def _pairs(self) -> Iterator[tuple[Hashable, Hashable | None]]:
        return zip(self._values.nodes, self._cotangents.nodes, strict=True)

    def _cotangent(self, box: Box) -> Hashable:
        """The node of a box's cotangent, if it is drawn beside it."""
        cotangent = self._partners.get(box.node)
        if cotangent is None or box.user is None:
            return cotangent
        user = self._partners.get(box.user)
        beside = user is not None and self._graph.has_edge(user, cotangent)
        return cotangent if beside else None

    def _steps(self) -> list[int]:
        """The step of the outermost loop that each box is in."""
        found = [MISSING] * len(self._boxes)
        place = 0
        waiting: list[tuple[Group | Box, int]] = [(self._outline.root, MISSING)]
        while waiting:
            child, step = waiting.pop()
            if isinstance(child, Group):
                step = child.steps[0].time if child.steps else MISSING
                waiting.extend((each, step) for each in reversed(child.children))
            else:
                found[place] = step
                place += 1
        return found

    def _told_back(self, of_values: Mapping[str, Column]) -> dict[str, Any]:
        """What boxes of cotangents say, but for what their values say too."""
        attributes = page_columns.told(self._cotangents.data)
        for name in (attributes.keys() & of_values.keys()) - page_columns.OWN:
            pairs = zip(attributes[name], of_values[name], strict=True)
            attributes[name] = [own if own != other else None for own, other in pairs]
        return self._told(self._cotangents, attributes, "d")

    def _told(self, side: Side, attributes: dict[str, Column], prefix: str) -> dict[str, Any]:
        """What boxes say whose names begin with this."""
        if "label" in attributes:
            boxes = zip(attributes["label"], side.texts, side.data, strict=True)
            attributes["label"] = [
                None if data is None or says_label(text, data) else label
                for label, text, data in boxes
            ]
        columns = self._columns.of(side.nodes, side.texts, attributes, prefix)
        given = floats([self._overlay.get(each) for each in side.nodes]) if self._overlay else None
        return {**columns, "values": given}
