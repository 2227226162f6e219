"""The boxes of one direction, values or cotangents, and what those of a range have in common."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np

from tracer_render.packing import distinct
from tracer_render.page_texts import NOTHING, Texts, Writer
from tracer_render.scopes import Attributes, attribute_names


class Side:
    """The node of each box, None where there is none; a value may have several boxes."""

    def __init__(
        self,
        nodes: Sequence[Hashable | None],
        data: Mapping[Hashable, Attributes],
        writer: Writer,
    ):
        self.nodes = nodes
        self.data: list[Attributes | None] = [
            None if node is None else data[node] for node in nodes
        ]
        self.texts: list[Texts] = [
            NOTHING if data is None else writer.of_node(node, data)
            for node, data in zip(nodes, self.data, strict=True)
        ]
        self._names = attribute_names(data for data in self.data if data)
        self._having: dict[str, list[int]] = {}

    @property
    def any(self) -> bool:
        """Whether any box has a node."""
        return bool(self._there)

    def members(self, begin: int, end: int) -> list[Hashable]:
        """The nodes of the boxes from `begin` up to `end`, each once."""
        inside = [node for node in self.nodes[begin:end] if node is not None]
        return list(dict.fromkeys(inside)) if self._repeated else inside

    def alike(self, begin: int, end: int) -> bytes:
        """What ranges have in common whose nodes are alike, one by one.

        Those of the same texts are (`Writer.of_node`). A node of several boxes is like no other, so
        that such ranges hold as many different ones.
        """
        return self._kinds[begin:end].tobytes()

    def ends(self, begin: int, end: int) -> tuple[Attributes, Attributes] | None:
        """The first node and the last in a range; None where there is none."""
        places = self._there
        first, beyond = bisect_left(places, begin), bisect_left(places, end)
        if first == beyond:
            return None
        one, other = self.data[places[first]], self.data[places[beyond - 1]]
        assert one is not None
        assert other is not None
        return one, other

    def operations(self, begin: int, end: int) -> int:
        """How many nodes in a range are made by an operation: none of those has several boxes."""
        return self._operations[end] - self._operations[begin]

    def having(self, key: str, begin: int, end: int) -> Iterator[Attributes]:
        """The nodes in a range whose attribute `key` says something, each once, in order."""
        places = self._having.get(key)
        if places is None and key not in self._names:
            places = []
        elif places is None:
            places = [place for place, data in enumerate(self.data) if data and data.get(key)]
            self._having[key] = places
        seen = set()
        for place in places[bisect_left(places, begin) : bisect_left(places, end)]:
            node, data = self.nodes[place], self.data[place]
            if node not in seen and data is not None:
                seen.add(node)
                yield data

    @cached_property
    def _kinds(self) -> np.ndarray:
        few, kinds = distinct(self.texts)
        for number, places in enumerate(self._repeated, start=len(few)):
            kinds[places] = number
        return kinds

    @cached_property
    def _repeated(self) -> list[list[int]]:
        """The boxes of each node that has several."""
        first: dict[Hashable, int] = {}
        found: dict[Hashable, list[int]] = {}
        for place, node in enumerate(self.nodes):
            if node is not None and first.setdefault(node, place) != place:
                found.setdefault(node, [first[node]]).append(place)
        return list(found.values())

    @cached_property
    def _there(self) -> list[int]:
        return [place for place, node in enumerate(self.nodes) if node is not None]

    @cached_property
    def _operations(self) -> list[int]:
        return list(accumulate((bool(d and d.get("op")) for d in self.data), initial=0))
