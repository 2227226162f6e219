"""The check of a quantity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracer import registry
from tracer.arrays.types import Array
from tracer.testing.agreement import agree
from tracer.testing.definitions import COMPARED, DEFINITIONS, BruteForce, itself
from tracer.testing.networks import Network


def check_quantity(
    quantity: Any,
    *,
    reference: Callable[[BruteForce], Array] | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> list[str]:
    """Check a quantity (an instance, a class or a registered name) on a small network.

    `reference(derivatives)` gives its value at a parameter from each sample's derivatives (see
    `BruteForce`); quantities with a known definition need none. The states of two shards merge to
    the state of their union, for objectives that are sums and means, unless `merge` is None or
    the quantity has no rows. Chunks of a `memory_budget` change nothing.

    Returns the names of the checks that applied: of `"reference"`, `"merge"` and `"chunks"`.
    """
    if isinstance(quantity, str):
        quantity = registry.quantities[quantity]
    if isinstance(quantity, type):
        quantity = quantity()
    reference = DEFINITIONS.get(quantity.name) if reference is None else reference
    applied = {"chunks"}
    for mean in (False, True):
        data = Network(mean)
        values = data.values(quantity)
        title = f"quantity {quantity.name!r}, {'mean' if mean else 'sum'} of losses"
        if reference is not None:
            applied.add("reference")
            compared = COMPARED.get(quantity.name, itself)
            for name, value in values.items():
                expected = compared(reference(data.derivatives(name)))
                agree(f"{title}: {name}", compared(value), expected, rtol, atol)
        for budget in (1, 256, 2048):
            chunked = data.values(quantity, budget)
            data.compare(f"{title}, memory_budget={budget}", chunked, values, rtol, atol)
        if quantity.merge is not None and quantity.rows is not None:
            applied.add("merge")
            merged = data.merged(quantity)
            data.compare(f"{title}, merged from two shards", merged, values, rtol, atol)
    return sorted(applied)
