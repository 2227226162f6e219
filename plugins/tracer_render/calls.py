"""The calls of modules around each node of a graph: what frames stand for, and closed boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import networkx as nx

from tracer_render.scopes import Attributes, class_names, computed, scope_path


class Level(NamedTuple):
    """One call: of a module where it `is_module`, else a pass through a scope.

    `part` is its path from that of the call around it, `outside` how many names are in the path
    around. Of a module that is called several times, `module` is the same for all calls, and it is
    the `number`-th of `count`; else `module` is None.
    """

    key: Hashable
    scope: str
    part: str
    kind: str
    outside: int
    times: int | None
    is_module: bool = False
    hyperparameters: str = ""
    module: int | None = None
    number: int = 0
    calls: int = 1


class Calls:
    """The calls around the nodes of a graph, by its table of calls.

    A graph without one, as made by hand, has a call for each part of its nodes' module paths.
    """

    def __init__(self, graph: nx.MultiDiGraph):
        self._graph = graph
        self._levels = _of_table(graph.graph.get("calls") or [])
        self._chains: dict[Hashable, tuple[Level, ...]] = {}
        self._own: set[Hashable] = set()

    def around(self, node: Hashable) -> tuple[Level, ...]:
        """The calls that a node was recorded in, the outermost first; a closed one is its own."""
        return self._chain(self._graph.nodes[node])

    def _chain(self, data: Attributes) -> tuple[Level, ...]:
        if not self._levels:
            found = (tuple(scope_path(data)), tuple(class_names(data)))
            if found not in self._chains:
                self._chains[found] = _of_path(*found)
            return self._chains[found]
        call = data.get("call")
        if call not in self._chains:
            chain: list[Level] = []
            number = call
            while number is not None:
                level, number = self._levels[number]
                chain.append(level)
            self._chains[call] = tuple(chain[::-1])
        return self._chains[call]

    def frame(self, node: Hashable) -> tuple[Level, ...]:
        """The calls in whose frames a node is drawn: of a closed one, those around it."""
        chain = self.around(node)
        return chain[:-1] if "members" in self._graph.nodes[node] else chain

    def is_whole(self, level: Level) -> bool:
        """Whether a call is of a module in which no others were made."""
        return level.is_module and level.key not in self._inside

    def holds_one(self, level: Level) -> bool:
        """Whether a call holds nothing but one other."""
        return len(self._inside.get(level.key, ())) == 1

    @cached_property
    def _inside(self) -> dict[Hashable, set[Hashable]]:
        """By call, those that were made in it, and one more if it has operations of its own."""
        inside: dict[Hashable, set[Hashable]] = {}
        seen: set[int] = set()
        for _, data in self._graph.nodes(data=True):
            chain = self._chain(data)
            if chain and computed(data):
                self._own.add(chain[-1].key)
            if id(chain) in seen:  # those of one call have one
                continue
            seen.add(id(chain))
            for outer, inner in pairwise(chain):
                inside.setdefault(outer.key, set()).add(inner.key)
        for key in inside.keys() & self._own:
            inside[key].add(("own", key))
        return inside


def _of_table(table: list[Attributes]) -> list[tuple[Level, int | None]]:
    """Each call, and the number of the one around it."""
    counts = Counter((call["module"], call["scope"]) for call in table)
    levels = []
    for number, call in enumerate(table):
        parent = call["parent"]
        around = table[parent]["scope"] if parent is not None else ""
        scope = call["scope"]
        inside = scope if not around else scope.removeprefix(around).removeprefix(".")
        count = counts[call["module"], scope] if call["module"] is not None else 1
        level = Level(
            key=number,
            scope=scope,
            part=inside,
            kind=call["kind"],
            outside=len(around.split(".")) if around else 0,
            times=len(call["times"]),
            is_module=call["module"] is not None,
            hyperparameters=call.get("hyperparameters") or "",
            module=call["module"] if count > 1 else None,
            number=call["number"],
            calls=count,
        )
        levels.append((level, parent))
    return levels


def _of_path(path: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[Level, ...]:
    return tuple(
        Level(
            key=path[: depth + 1],
            scope=".".join(path[: depth + 1]),
            part=part,
            kind=kinds[depth],
            outside=depth,
            times=None,
        )
        for depth, part in enumerate(path)
    )
