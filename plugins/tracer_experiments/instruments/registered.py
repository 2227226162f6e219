"""Any registered quantity, and any overlay, as an instrument."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer import registry
from tracer.extend import (
    Context,
    Cotangent,
    Instrument,
    Overlay,
    Quantity,
    Shard,
    backend,
    overlay_values,
)
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.observation import NotMeasured, Observation, over_layers, root
from tracer_experiments.instruments.sample_gradients import on_host
from tracer_experiments.values import Histogram

#: what the histogram of all values of a quantity is called, behind its name
VALUES = "values"


class OfQuantity(Instrument):
    """The values of a quantity: their Euclidean norm, and a histogram of all elements as "values".

    With `layers=True` the norm of each parameter, or layer, besides.
    """

    def __init__(self, quantity: str | Quantity | type[Quantity]):
        given = registry.quantities[quantity] if isinstance(quantity, str) else quantity
        self.quantity: Quantity = given() if isinstance(given, type) else given
        self.name = self.quantity.name
        self.chart = Chart(f"Norm of {self.name}", group="other", scale="symlog")

    def quantities(self, step: int) -> tuple[Any, ...]:
        return (self.quantity,)

    def measure(self, observation: Observation) -> Any:
        found = observation.value(self.name)
        by_name = found if isinstance(found, dict) else {"": found}
        arrays = {name: self._array(value) for name, value in by_name.items()}
        if not arrays:
            return None
        squares = {name: float((a * a).sum()) for name, a in arrays.items()}
        values = over_layers(observation, squares, root)
        values = values if isinstance(values, dict) else {"": values}
        every = np.concatenate([a.reshape(-1) for a in arrays.values()])
        return {**values, VALUES: Histogram.of(every)} if every.size > 1 else values

    def _array(self, value: Any) -> np.ndarray:
        if not backend.is_array(value):
            raise NotMeasured(
                f"values of {self.name!r} are {type(value).__name__}, and no arrays of numbers"
            )
        return on_host(value)


class Recorded(Quantity):
    """The tape of a sweep, whose graph is looked at after it."""

    name = "tape"
    needs_samples = False

    def __init__(self) -> None:
        self.tape: Any = None

    def begin(self, objective: Any) -> None:
        self.tape = objective.record

    def elements(self, context: Context) -> int:
        return 0

    def extract(self, cotangent: Cotangent, context: Context) -> None:
        return None

    def join(self, first: None, second: None) -> None:
        return None

    def merge(self, first: None, second: None, shards: tuple[Shard, Shard]) -> None:
        return None


class OfOverlay(Instrument):
    """The numbers that an overlay gives nodes of the graph: their largest, or sum if they add up.

    A histogram of all of them is "values". With `layers=True` the number of each module besides.
    The graph is built for it, which takes longer than a step of a small network.
    """

    def __init__(self, overlay: str | Overlay):
        self.overlay: Overlay = registry.overlays[overlay] if isinstance(overlay, str) else overlay
        self.name = self.overlay.name
        self.chart = Chart(self.overlay.label or self.name, scale="symlog", unit=self.overlay.unit)

    def quantities(self, step: int) -> tuple[Any, ...]:
        return ("grad", Recorded, *self.overlay.quantities)

    def measure(self, observation: Observation) -> Any:
        if self.overlay.timed:
            raise NotMeasured("its operations are timed, which takes a record of its own")
        if observation.tape is None:
            raise NotMeasured("the record is not at hand")
        graph = observation.tape.graph("both")
        asked = ("grad", *self.overlay.quantities)
        results = {name: observation.value(name) for name in asked}
        values = overlay_values(self.overlay, graph, results)
        if not values:
            raise NotMeasured(
                "it gives no number: norms of gradients on the way need tracer.Tape(watch=True)"
            )
        found = {"": self._together(list(values.values()))}
        if observation.layers:
            by_scope: dict[str, list[float]] = {}
            for node, value in values.items():
                by_scope.setdefault(graph.nodes[node].get("scope") or "", []).append(value)
            found |= {scope: self._together(v) for scope, v in by_scope.items() if scope}
        return {**found, VALUES: Histogram.of(np.array(list(values.values())))}

    def _together(self, values: list[float]) -> float:
        return float(np.sum(values) if self.overlay.add_up else np.max(values))
