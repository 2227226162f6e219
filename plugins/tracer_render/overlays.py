"""Values that colour a drawn graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tracer.extend import Overlay
from tracer_render.scopes import Attributes

if TYPE_CHECKING:
    import networkx as nx


class GradNorm(Overlay):
    """Euclidean norm of the gradient at each node; a forward node takes its cotangent's.

    Norms come from the trace (node attribute `norm`). Where no gradient arrived, the node has no
    value and its attribute `reached` is False, which is drawn as a mark of its own.
    """

    name = "grad_norm"
    label = "gradient norm"

    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Attributes]
    ) -> Mapping[str, float]:
        values = {}
        for node, data in graph.nodes(data=True):
            if data.get("kind") == "cotangent" and data.get("norm") is not None:
                values[node] = float(data["norm"])
                if data.get("of") in graph:
                    values[data["of"]] = values[node]
        return values
