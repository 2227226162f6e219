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


class Flops(Overlay):
    """Floating-point operations of each operation's forward call, over all of its steps."""

    name = "flops"
    label = "flops"
    unit = "FLOP"
    add_up = True

    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Attributes]
    ) -> Mapping[str, float]:
        return _attribute(graph, "flops")


class Bytes(Overlay):
    """Size of what each operation computes, over all of its steps.

    A view counts, although it takes no memory of its own.
    """

    name = "bytes"
    label = "bytes"
    unit = "B"
    add_up = True

    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Attributes]
    ) -> Mapping[str, float]:
        return {
            node: float(data["nbytes"] * (data.get("steps") or 1))
            for node, data in graph.nodes(data=True)
            if data.get("kind") == "operation" and data.get("nbytes") is not None
        }


class Time(Overlay):
    """Seconds that each operation takes, and its rule; see `tracer.extend.time_operations`."""

    name = "time"
    label = "time"
    unit = "s"
    add_up = True
    timed = True

    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Attributes]
    ) -> Mapping[str, float]:
        return _attribute(graph, "seconds")


def _attribute(graph: nx.MultiDiGraph, name: str) -> dict[str, float]:
    return {node: float(value) for node, value in graph.nodes(data=name) if value is not None}
