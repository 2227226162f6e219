"""What closed calls of modules say on the page: what those that are alike share is made once."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from tracer_render import page_texts, style
from tracer_render.calls import Level
from tracer_render.page_sides import Side
from tracer_render.page_texts import Texts, Writer
from tracer_render.scopes import Attributes
from tracer_render.summaries import Steps, Summaries

#: What boxes tell of a call's individual attributes besides its title, its norm, and entries that
#: are no numbers: a call that has some is like no other.
COUNTED = ("steps", "number", "count")


class Told(NamedTuple):
    """The texts of a group, and its attributes: those that it shares with others, and its own.

    Texts and shared attributes that are the same are one object.
    """

    texts: Texts
    shared: Attributes
    individual: Attributes


#: Of what is not there.
NOTHING = Told(page_texts.NOTHING, {}, {})


class ClosedCalls:
    """The calls on a side: a model has many, and few that differ."""

    def __init__(self, summaries: Summaries, side: Side, writer: Writer):
        self._summaries = summaries
        self._side = side
        self._writer = writer
        self._shared: dict[Hashable, Attributes] = {}
        self._texts: dict[Hashable, Texts] = {}

    def told(self, name: str, level: Level, steps: Steps, begin: int, end: int) -> Told:
        """What is told of a call, of the boxes from `begin` up to `end`."""
        members = self._summaries.members(self._side.members(begin, end))
        kind = self._side.alike(begin, end), self._summaries.kind(level, members)
        shared = self._shared.get(kind)
        if shared is None:
            shared = self._shared[kind] = self._summaries.shared(level, members)
        individual = self._summaries.individual(level, steps, members)
        return Told(self._texts_of(name, shared, individual), shared, individual)

    def _texts_of(self, name: str, shared: Attributes, individual: Attributes) -> Texts:
        """The texts; no title where it is the path and the class, which assets/data.js joins."""
        data = {**shared, **individual}
        back = shared["kind"] == "cotangent"
        heading: str | None = page_texts.title(name, data)
        if heading == f"{'∇ ' * back}{data['scope']}  {data['class']}":
            heading = None
        key = id(shared), heading, *_counted(individual, back)
        found = self._texts.get(key)
        if found is None:
            found = {**self._writer.of(name, data), "title": heading, "class": data["class"]}
            self._texts[key] = found
        return found


def _counted(individual: Attributes, back: bool) -> tuple[Hashable, ...]:
    """What boxes tell of a call's individual attributes, with the norm as it is written."""
    norm, told = individual.get("norm"), None
    if norm is not None and (back or not math.isfinite(norm)):  # of values, marks alone tell it
        told = style.number_text(norm)
    return told, *[individual.get(key) for key in COUNTED]
