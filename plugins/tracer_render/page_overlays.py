"""The overlays that the page offers without a new run: what the graph's nodes tell already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx

from tracer.extend import DrawOptions
from tracer_render.overlays import Bytes, Flops, GradNorm, Time
from tracer_render.scopes import Attributes


@dataclass(frozen=True)
class Choice:
    """An overlay of the menu.

    `attribute` is where a box's number is; None of the options' overlay, whose values the boxes
    have. `sides` says whether "values", "cotangents" or "both" have one, and `add_up` whether a
    closed call shows the sum of its members', else the largest.
    """

    attribute: str | None
    label: str
    unit: str = ""
    sides: str = "both"
    add_up: bool = False


CHOICES = (
    Choice("norm", GradNorm.label, sides="cotangents"),
    Choice("norm", "norm of values", sides="values"),
    Choice("nan", "NaN entries", add_up=True),
    Choice("inf", "infinite entries", add_up=True),
    Choice("nbytes", Bytes.label, Bytes.unit, sides="values", add_up=True),
    Choice("flops", Flops.label, Flops.unit, add_up=True),
    Choice("seconds", Time.label, Time.unit, add_up=True),
)


def choices(graphs: Sequence[nx.MultiDiGraph], options: DrawOptions) -> list[dict[str, Any]]:
    """The overlays to choose from; that of the options is the first."""
    found: list[Choice] = []
    overlay = options.overlay
    if overlay is not None:
        label = overlay.label or overlay.name
        found.append(Choice(None, label, overlay.unit, add_up=overlay.add_up))
    elif options.values:
        found.append(Choice(None, "value"))
    told = _told(graphs)
    for choice in CHOICES:
        sides = {"values": (False,), "cotangents": (True,)}.get(choice.sides, (False, True))
        known = any((side, choice.attribute) in told for side in sides)
        if known and choice.label not in [other.label for other in found]:
            found.append(choice)
    return [asdict(choice) for choice in found]


def _told(graphs: Sequence[nx.MultiDiGraph]) -> set[tuple[bool, str | None]]:
    """Of cotangents (True) and of values, the attributes that any of them says something in."""
    nodes = [data for graph in graphs for _, data in graph.nodes(data=True)]
    sides: dict[bool, list[Attributes]] = {False: [], True: []}
    for data in nodes:
        sides[data.get("kind") == "cotangent"].append(data)
    attributes = {choice.attribute for choice in CHOICES if choice.attribute}
    return {
        (side, attribute)
        for side, members in sides.items()
        for attribute in attributes
        if any(data.get(attribute) for data in members)
    }
