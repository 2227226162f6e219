"""Overlays by a number of any quantity: `kfac`, `diag_ggn_exact:max`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trace_net.errors import UsageError
from trace_net.scalars import SCALARS, scalars
from trace_net.values import by_parameter, kind
from tracer import registry
from tracer.errors import suggestion
from tracer.extend import LayerValues, Overlay, layer_of, require_quantities

if TYPE_CHECKING:
    import networkx as nx


class QuantityOverlay(Overlay):
    """Colours parameters and their cotangents by one number of one quantity, or of their layer."""

    def __init__(self, quantity: str, scalar: str = "norm"):
        self.quantity, self.scalar = quantity, scalar
        self.name = f"{quantity}:{scalar}"
        self.label = f"{SCALARS[scalar]} of {quantity}"
        self.quantities = (quantity,)

    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, float]:
        named = dict(parameters(graph))
        shapes = {name: graph.nodes[node]["shape"] for node, name in named.items()}
        numbers = scalars(self.quantity, self.scalar, by_parameter(results, self.quantity), shapes)
        if isinstance(results.get(self.quantity), LayerValues):
            numbers = {name: numbers[at] for name in shapes if (at := layer_of(name)) in numbers}
        return {node: numbers[name] for node, name in named.items() if name in numbers}

    def why_none(self, results: Mapping[str, Any]) -> str:
        """Why no parameter has the number, and what has one, after the quantity was computed."""
        whole = results.get(self.quantity)
        values = by_parameter(results, self.quantity).values() or [whole]
        if not isinstance(whole, Mapping) and kind(whole) in ("array", "kronecker"):
            return (
                f"{self.quantity} is one value of the whole model, and of no node: `trace-net "
                f"quantities` shows it"
            )
        if not {kind(value) for value in values} & {"array", "kronecker"}:
            return (
                f"{self.quantity} gives products and holds no numbers; take a diagonal or "
                f"Kronecker factors of the matrix, as diag_ggn_exact, diag_h or kfac"
            )
        return f"{self.quantity} holds no matrices; take {self.quantity}:norm, max, min or mean"


def parameters(graph: nx.MultiDiGraph) -> Iterator[tuple[str, str]]:
    """(node id, parameter's name) for parameters and for their cotangents."""
    for node, attributes in graph.nodes(data=True):
        if attributes["kind"] == "parameter":
            yield node, attributes["label"]
        elif attributes["kind"] == "cotangent" and not attributes["op"]:
            yield node, attributes["label"].removeprefix("∇ ")


def find_overlay(name: str) -> Overlay:
    """A registered overlay, or one of a quantity's numbers: `QUANTITY` or `QUANTITY:SCALAR`.

    Raises `UsageError` with the nearest name for what is neither.
    """
    if name in registry.overlays:
        require_quantities(registry.overlays[name])
        return registry.overlays[name]
    quantity, colon, scalar = name.partition(":")
    if quantity in registry.overlays:
        raise UsageError(
            f"the overlay {quantity!r} is no quantity and takes no {scalar!r}",
            hint=f"--overlay {quantity}",
        )
    if quantity not in registry.quantities:
        known = [*registry.overlays, *registry.quantities]
        raise UsageError(
            f"no overlay and no quantity is called {quantity!r}.{suggestion(quantity, known)}",
            hint=f"take {', '.join(registry.overlays)}, or a quantity with {_scalar_names()} "
            f"behind a colon, as in kfac:trace; `trace-net plugins` lists them",
        )
    if colon and scalar not in SCALARS:
        raise UsageError(
            f"an overlay takes no {scalar!r} of {quantity}.{suggestion(scalar, SCALARS)}",
            hint=f"take one of {_scalar_names()}",
        )
    return QuantityOverlay(quantity, scalar or "norm")


def _scalar_names() -> str:
    return ", ".join(SCALARS)
