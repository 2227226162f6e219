"""What `Tape.backward` returns: values by quantity, and what to write for what is not there."""

from __future__ import annotations

import html
from typing import Any

from tracer import registry
from tracer.arrays.ownership import unaliased
from tracer.curvature import tables
from tracer.curvature.combining import combined
from tracer.curvature.quantity import Value
from tracer.curvature.request import Request
from tracer.curvature.values import LayerValues, Values
from tracer.errors import HintError, ResultError, suggestion
from tracer.record.tensor import Tensor


class Results(dict[str, Any]):
    """Quantity name -> its values, mostly by parameter name.

    A quantity that was not asked for is a `ResultError`, which is a `KeyError`.
    """

    def __missing__(self, key: object) -> Any:
        asked = ", ".join(map(repr, self)) or "nothing"
        message = f"the results are of what was asked for, {asked}, and not of {_shown(key)}"
        if _names_a_parameter(key, self):
            first = next(iter(self))
            name = key.name if isinstance(key, Tensor) and key.name else "parameter"
            name = repr(key) if isinstance(key, str) else name
            raise ResultError(f"{message}: give the quantity first, results[{first!r}][{name}]")
        if key in registry.quantities:
            every = ", ".join(map(repr, [*self, key]))
            raise ResultError(f"{message}: write tape.backward(loss, ({every}))")
        raise ResultError(f"{message}.{suggestion(str(key), [*self, *registry.quantities])}")

    def __getattr__(self, name: str) -> Any:
        message = f"the results of a sweep have no attribute {name!r}"
        if name in self or name in registry.quantities:
            raise HintError(f"{message}: write results[{name!r}]")
        raise AttributeError(message)

    def _repr_html_(self) -> str:
        """Tables with a row for each parameter, and for each layer; other values stand below."""
        of_layers = {key: found for key, found in self.items() if isinstance(found, LayerValues)}
        by_name = {
            key: found
            for key, found in self.items()
            if isinstance(found, dict) and key not in of_layers
        }
        others = [
            f"<tr><th>{html.escape(key)}</th><td>{_shown_by_itself(value)}</td></tr>"
            for key, value in self.items()
            if key not in by_name and key not in of_layers
        ]
        both = [columns for columns in (by_name, of_layers) if any(columns.values())]
        shown = "".join(map(tables.by_parameter, both))
        return shown + (f"<table>{''.join(others)}</table>" if others else "")


def _shown_by_itself(value: Value) -> str:
    """The table that a value has for notebooks, else its `repr`."""
    own = getattr(value, "_repr_html_", None)
    return tables.summed_up(value) if own is None else str(own())


def _shown(key: object) -> str:
    if not isinstance(key, Tensor):
        return repr(key)
    return f"the parameter {key.name}" if key.name else f"a tensor of shape {list(key.shape)}"


def _names_a_parameter(key: object, results: Results) -> bool:
    """Whether a key is one of the second level: a parameter, or its name."""
    if isinstance(key, Tensor):
        return bool(results)
    return any(isinstance(values, dict) and key in values for values in results.values())


def collected_results(
    request: Request, values: dict[str, dict[str, Value]], of_objective: dict[str, Value]
) -> Results:
    """The results of a request, by quantity and parameter or layer, or `of_objective` at once.

    Takes the `values` out of their dictionaries. Raises the first error of a quantity that no
    parameter has.
    """
    undefined, recorded = request.undefined, request.objective.recorded
    joined = {
        name: combined(quantity, values[name], undefined, request.reduce.get(name), recorded)
        for name, quantity in request.asked.items()
        if quantity.per != "parameter" and name not in of_objective
    }
    if undefined.errors:
        undefined.check()
    results, names = Results(), undefined.names.values()
    for quantity, by_name in values.items():
        if quantity in joined:
            results[quantity] = joined[quantity]
            continue
        found: Any = of_objective.get(quantity, by_name)
        if found is by_name:  # in the order of the parameters, as arrays of the caller's own
            found = {name: unaliased([found.pop(name)]) for name in names if name in found}
        if type(found) is dict:
            found = Values(undefined.every, found, undefined.absent(quantity))
        results[quantity] = found
    for quantity, why in request.withdrawn.items():
        results[quantity] = Values(undefined.every, {}, dict.fromkeys(names, why))
    return results
