"""What closed calls of modules say on the page: what those that are alike share is made once."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from tracer_render import page_texts, style, words
from tracer_render.calls import Level
from tracer_render.page_sides import Side
from tracer_render.page_texts import Texts, Writer
from tracer_render.scopes import Attributes
from tracer_render.summaries import Steps, Summaries

#: What boxes tell of a call's individual attributes besides its title, its number among the calls
#: of its module, its norm, and entries that are no numbers: a call that has some is like no other.
COUNTED = ("steps", "count")


class Told(NamedTuple):
    """The texts of a group, and its attributes: those that it shares with others, and its own.

    Texts and shared attributes that are the same are one object. Where the texts say which call it
    is they have None among the notes, which assets/data.js says by the `number` and `count`.
    """

    texts: Texts
    shared: Attributes
    individual: Attributes


#: Of what is not there.
NOTHING = Told(page_texts.NOTHING, {}, {})


class _Written(NamedTuple):
    """The texts of the first of some calls, and the place of the norm in its notes."""

    texts: Texts
    norm: int | None


class ClosedCalls:
    """The calls on a side: a model has many, and few that differ."""

    def __init__(self, summaries: Summaries, side: Side, writer: Writer):
        self._summaries = summaries
        self._side = side
        self._writer = writer
        self._shared: dict[Hashable, Attributes] = {}
        self._headings: dict[Hashable, str | None] = {}
        self._written: dict[Hashable, _Written] = {}
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
        """The texts, which are written once for calls that differ in number and norm alone."""
        norm = individual.get("norm")
        finite = norm is None or math.isfinite(norm)
        told = None if norm is None else style.number_text(norm)
        kind = (
            *(id(shared), self._heading(name, shared, individual)),
            *(norm is None, finite or told),
            *[individual.get(key) for key in COUNTED],
        )
        written = self._written.get(kind)
        if written is None:
            written = self._written[kind] = self._write(name, kind[1], {**shared, **individual})
        if written.norm is None or not finite:
            return written.texts
        found = self._texts.get((kind, told))
        if found is None:
            notes = list(written.texts["notes"])
            notes[written.norm] = words.norm_of_call({**shared, **individual})
            found = self._texts[kind, told] = {**written.texts, "notes": notes}
        return found

    def _heading(self, name: str, shared: Attributes, individual: Attributes) -> str | None:
        """The title; None where it is the path and the class, which assets/data.js joins."""
        key = id(shared), individual["scope"]
        if key not in self._headings:
            data = {**shared, **individual}
            title = page_texts.title(name, data)
            joined = f"{'∇ ' * (data['kind'] == 'cotangent')}{data['scope']}  {data['class']}"
            self._headings[key] = None if title == joined else title
        return self._headings[key]

    def _write(self, name: str, heading: Hashable, data: Attributes) -> _Written:
        texts = {**self._writer.of(name, data), "title": heading, "class": data["class"]}
        notes = list(texts["notes"] or ())
        if data.get("count", 1) > 1:
            notes[notes.index(words.which_call(data))] = None
        told = data["kind"] == "cotangent" and data.get("norm") is not None
        norm = notes.index(words.norm_of_call(data)) if told else None
        return _Written({**texts, "notes": notes or None}, norm)
