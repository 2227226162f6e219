"""The overlays that the page offers without a new run: what the graph's nodes tell already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx

from tracer.extend import DrawOptions

#: attribute of nodes -> (what it is called, which side's values, how closed calls combine them)
OF_ATTRIBUTES = {
    "norm": ("norm", "both", "largest"),
    "nan": ("NaN entries", "both", "sum"),
    "inf": ("infinite entries", "both", "sum"),
    "nbytes": ("bytes", "values", "sum"),
    "flops": ("FLOPs", "both", "sum"),
    "seconds": ("seconds", "both", "sum"),
}


def choices(graphs: Sequence[nx.MultiDiGraph], options: DrawOptions) -> list[dict[str, Any]]:
    """The overlays to choose from; that of the options is the first, and chosen.

    `attribute` is where a box's number is, None of the options' overlay, whose values the boxes
    have; `sides` says whether values, cotangents or both have one, and `combine` what a closed call
    shows of its members': the "largest" or the "sum".
    """
    found = []
    if options.overlay is not None or options.values:
        overlay = options.overlay
        label = (overlay.label or overlay.name) if overlay is not None else "value"
        combine = getattr(overlay, "combine", "largest")
        found.append({"attribute": None, "label": label, "sides": "both", "combine": combine})
    nodes = [data for graph in graphs for _, data in graph.nodes(data=True)]
    if any(data.get("kind") == "cotangent" and "norm" in data for data in nodes):
        name = {"attribute": "norm", "label": "gradient norm", "sides": "cotangents"}
        found.append({**name, "combine": "largest"})
    for attribute, (label, sides, combine) in OF_ATTRIBUTES.items():
        if any(data.get(attribute) for data in nodes):
            if attribute == "norm":
                label, sides = "norm of values", "values"
            found.append(
                {"attribute": attribute, "label": label, "sides": sides, "combine": combine}
            )
    return found
