"""Any registered quantity as an instrument."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer import registry
from tracer.extend import Instrument, Quantity, backend
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.observation import NotMeasured, Observation, over_layers, root
from tracer_experiments.instruments.sample_gradients import on_host
from tracer_experiments.values import Histogram


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
        return {**values, "values": Histogram.of(every)} if every.size > 1 else values

    def _array(self, value: Any) -> np.ndarray:
        if not backend.is_array(value):
            raise NotMeasured(
                f"values of {self.name!r} are {type(value).__name__}, and no arrays of numbers"
            )
        return on_host(value)
