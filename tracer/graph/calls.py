"""The calls of modules that a record was made in, as a table that graphs carry."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from tracer.record.place import ModuleCall

#: of a node, an edge, a loop or a call of the graph: docs/reference/graph.md lists them
Attributes: TypeAlias = dict[str, Any]


class Calls:
    """Numbers of the calls on a tape, a call after the one that it was made in."""

    def __init__(self) -> None:
        self.table: list[Attributes] = []
        self._numbers: dict[ModuleCall, int] = {}
        self._modules: dict[int, int] = {}
        self._told: dict[int, str] = {}
        self._counts: Counter[Hashable] = Counter()

    def number(self, call: ModuleCall | None) -> int | None:
        """The position of a call in the table; None outside of all."""
        if call is None:
            return None
        known = self._numbers.get(call)
        if known is not None:
            return known
        waiting = [call]
        while (parent := waiting[-1].parent) is not None and parent not in self._numbers:
            waiting.append(parent)
        while waiting:
            known = self._add(waiting.pop())
        return known

    def _add(self, call: ModuleCall) -> int:
        scope, kind, reference = call.called
        which = None
        if reference is not None:
            which = self._modules.setdefault(id(reference), len(self._modules))
        same = (scope, kind, which)
        number = self._numbers[call] = len(self.table)
        self.table.append({
            "parent": None if call.parent is None else self._numbers[call.parent],
            "scope": scope,
            "kind": kind,
            "module": which,
            "number": self._counts[same],
            "times": list(call.outer.times),
            "hyperparameters": "" if reference is None else self._hyperparameters(reference),
        })  # fmt: skip
        self._counts[same] += 1
        return number

    def _hyperparameters(self, reference: Callable[[], Any]) -> str:
        """What the module's `extra_repr` says; nothing where it says nothing, or is gone."""
        text = self._told.get(id(reference))
        if text is None:
            try:
                text = str(reference().extra_repr())
            except Exception:  # the user's code, and no reason to draw nothing
                text = ""
            self._told[id(reference)] = text
        return text


def merged(table: Sequence[Attributes]) -> list[int]:
    """For each call the first that is the same in another step of the loops around it.

    The same are those of one module (or scope) in calls that are the same, in their order there.
    """
    first: list[int] = []
    known: dict[Hashable, int] = {}
    count: dict[Hashable, int] = defaultdict(int)
    for number, call in enumerate(table):
        parent = call["parent"]
        around = None if parent is None else first[parent]
        key = (around, call["scope"], call["kind"], call["module"])
        step = (key, parent, tuple(call["times"]))
        first.append(known.setdefault((key, count[step]), number))
        count[step] += 1
    return first


def used(
    table: Sequence[Attributes], wanted: Iterable[int | None]
) -> tuple[list[Attributes], list[int]]:
    """The calls that are wanted with those around them, and their new numbers by the old ones."""
    kept: set[int] = set()
    for number in wanted:
        while number is not None and number not in kept:
            kept.add(number)
            number = table[number]["parent"]
    numbers = [-1] * len(table)
    short: list[Attributes] = []
    for number in sorted(kept):
        numbers[number] = len(short)
        parent = table[number]["parent"]
        short.append({**table[number], "parent": None if parent is None else numbers[parent]})
    return short, numbers
