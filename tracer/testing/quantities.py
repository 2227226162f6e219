"""The check of a quantity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracer import registry
from tracer.curvature.quantity import Quantity, Value
from tracer.testing.agreement import agree
from tracer.testing.definitions import COMPARED, BruteForce, definition, itself
from tracer.testing.networks import Network, arrays
from tracer.testing.report import Report

CHUNKS = "values under memory budgets of 1, 256 and 2,048 bytes with those at once"
MERGE = "states of two shards and of three, merged one by one, with the state of all"
#: how many shards, and the samples at which they end
SHARDS = {"two": (4, 6), "three": (2, 3, 6)}
REFERENCE = "values with reference(brute), for a sum and a mean of losses"


def check_quantity(
    quantity: Any,
    *,
    reference: Callable[[BruteForce], Any] | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> Report:
    """Check a quantity (an instance, a class or a registered name) on a small network.

    `reference(brute)`, or the method of that name that the quantity brings, gives its value at a
    parameter, layer or model from each sample's derivatives by it (see `BruteForce`). The states of
    two shards merge to the state of their union, for objectives that are sums and means, unless
    `merge` is None or the quantity has no rows. Chunks of a `memory_budget` change nothing.

    The report has `"reference"`, `"merge"` and `"chunks"`, or says why not. Without a reference
    nothing says that the values are right.
    """
    if isinstance(quantity, str):
        quantity = registry.quantities[quantity]
    if isinstance(quantity, type):
        quantity = quantity()
    reference = definition(quantity) if reference is None else reference
    merges = quantity.merge is not None and quantity.rows is not None
    for mean in (False, True):
        data = Network(mean, of_layers=quantity.per == "layer")
        values = data.values(quantity)
        title = f"quantity {quantity.name!r}, {'mean' if mean else 'sum'} of losses"
        if reference is not None:
            _compare(title, quantity, reference, data, values, rtol, atol)
        for budget in (1, 256, 2048):
            chunked = data.values(quantity, budget)
            data.compare(f"{title}, memory_budget={budget}", chunked, values, rtol, atol)
        if merges:
            for shards, ends in SHARDS.items():
                merged = _merged(title, quantity, data, ends)
                data.compare(f"{title}, merged from {shards} shards", merged, values, rtol, atol)
    made, missing = {"chunks": CHUNKS}, {}
    undefined = [name for name in data.parameters if name not in values]
    if undefined and quantity.rows is not None and quantity.per == "parameter":
        missing["parameters"] = f"it is undefined for {', '.join(undefined)}"
    if reference is None:
        missing["reference"] = "it brings no reference(brute)"
    else:
        made["reference"] = REFERENCE
    if merges:
        made["merge"] = MERGE
    else:
        missing["merge"] = "it has no rows" if quantity.rows is None else "its merge is None"
    return Report(made, missing, is_defined=reference is not None)


def _compare(
    title: str,
    quantity: Quantity,
    reference: Callable[[BruteForce], Any],
    data: Network,
    values: Mapping[str, Value],
    rtol: float,
    atol: float,
) -> None:
    """Values, by parameter or of all parameters under an empty name, with their definition."""
    compared = COMPARED.get(quantity.name, itself)
    for name, value in values.items():
        shape = data.shape(name)
        got = arrays(compared(value), shape)
        expected = arrays(compared(reference(data.derivatives(name))), shape)
        if len(got) != len(expected):
            raise AssertionError(
                f"{title}: {name or 'all parameters'} is {len(got)} arrays, and {len(expected)} "
                f"by reference(brute)"
            )
        for one, other in zip(got, expected, strict=True):
            agree(f"{title}: {name or 'all parameters'}", one, other, rtol, atol)


def _merged(
    title: str, quantity: Quantity, data: Network, ends: Sequence[int]
) -> Mapping[str, Value]:
    try:
        return data.merged(quantity, ends)
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"{title}: states of two shards do not merge ({error}): the default adds them; give "
            f"it a merge(first, second, shards), or merge = None"
        ) from error
