"""What the page writes in a box."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, TypeAlias

from tracer_render import numbers, style, words
from tracer_render.scopes import Attributes, scope_path

#: By `TEXTS` of page_columns.
Texts: TypeAlias = dict[str, Any]

#: The texts of what is not there.
NOTHING: Texts = {}

#: What says nothing in a box but by the label, the shape and the dtype.
PLAIN = frozenset(
    "kind op label shape dtype nbytes scope scopes call time times loop source norm min max nan inf"
    " of flops seconds".split()
)
TOLD_BY = frozenset(("kind", "op", "label", "shape", "dtype", "nbytes", "scope"))


class Writer:
    """The texts of nodes; `signs` are what the legend explains of them, as kind and name."""

    def __init__(self) -> None:
        self.signs: set[tuple[str, str]] = set()
        self._known: dict[Hashable, Texts] = {}

    def of_node(self, node: Hashable, data: Attributes) -> Texts:
        """The texts of a node; those of a plain one are the same object for all that are alike.

        These differ in their place in the model and in time, and in what was measured of them.
        """
        if not TOLD_BY <= data.keys() <= PLAIN or data.get("nan") or data.get("inf"):
            return self.of(node, data)
        name, scope = data["label"], data["scope"]
        mark = "∇ " if name.startswith("∇ ") else ""
        name = name.removeprefix(mark)
        if scope:  # most parameters are called by the module around them
            name = name.removeprefix(f"{scope}.")
        key = (
            *(data["kind"], data["op"], mark, name, data["dtype"], tuple(data["shape"] or ())),
            data["nbytes"],
            *(scope if "." in name else "", math.isfinite(float(data.get("norm") or 0.0))),
        )
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.of(node, data)
        return found

    def of(self, node: Hashable, data: Attributes) -> Texts:
        """The texts of a node or group with these attributes."""
        marks = list(words.marks(data, None))
        kind = data.get("kind") or "operation"
        self.signs |= {("box", kind), *(("mark", mark) for mark in marks)}
        if data.get("module") is not None:
            self.signs.add(("mark", "shared"))
        return {
            "title": title(node, data),
            "notes": list(words.notes(data, None)) or None,
            "rows": list(numbers.rows(data)) or None,
            "marks": " ".join(marks) or None,
            "kind": kind,
            "module": data.get("module"),
        }


def title(node: Hashable, data: Attributes) -> str:
    """What stands above the other texts of a node or group."""
    return style.elide(words.title(node, data, scope_path(data))) or "(no name)"


def says_label(texts: Texts, data: Attributes) -> bool:
    """Whether the title is the label, or the label is the title of something in its module."""
    mark, name = (
        ("∇ ", texts["title"][2:]) if data.get("kind") == "cotangent" else ("", texts["title"])
    )
    return data.get("label") in (f"{mark}{name}", f"{mark}{data.get('scope')}.{name}")
