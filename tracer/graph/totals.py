"""How much of everything a graph has: what stands above its picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tracer.graph.calls import Attributes

if TYPE_CHECKING:
    import networkx as nx


def totals(graph: nx.MultiDiGraph) -> Attributes:
    """Elements of parameters, how many of them are frozen, their bytes, and FLOPs and loss.

    These two are None where the graph does not say them. Where the forward pass failed, parameters
    are those that the graph's `counted` has, of the whole model, if it is there.
    """
    leaves = [data for _, data in graph.nodes(data=True) if data.get("kind") == "parameter"]
    sizes = [math.prod(data.get("shape") or ()) for data in leaves]
    return {
        "parameters": sum(sizes),
        "frozen": sum(n for n, data in zip(sizes, leaves, strict=True) if data.get("frozen")),
        "parameter_bytes": sum(data.get("nbytes") or 0 for data in leaves),
        "flops": graph.graph.get("flops"),
        "loss": graph.graph.get("loss"),
        **(graph.graph.get("counted") or {}),
    }
