"""The quantities that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from tracer import registry
from tracer.errors import TracerError
from tracer.extend import Quantity, ggn_averaged, merges

#: names of quantities, or quantities
Asked: TypeAlias = "str | Quantity | type[Quantity] | Iterable[object]"


def resolved(asked: Asked) -> dict[str, Quantity]:
    """Quantities by name whose values of all samples are made of those of shards.

    Raises `TracerError` for what is none, or does not merge to these.
    """
    found = merging(asked)
    for name, quantity in found.items():
        if quantity.rows == ggn_averaged:
            raise TracerError(
                f"{name!r} averages over a batch at every tensor of the model, so that its values "
                f"of shards are not those of all samples: use kflr, or kfac"
            )
    return found


def merging(asked: Asked) -> dict[str, Quantity]:
    """Quantities by name. Raises `TracerError` for what is none, or says that it does not merge."""
    if asked is None:
        raise TracerError("expected names of quantities to fold, as quantities=('grad',), got None")
    several = [asked] if isinstance(asked, str | Quantity | type) else list(asked)
    found: dict[str, Quantity] = {}
    for each in several:
        kind = registry.quantities[each] if isinstance(each, str) else each
        quantity = kind() if isinstance(kind, type) else kind
        if not isinstance(quantity, Quantity):
            raise TracerError(
                f"expected registered names of quantities or tracer.Quantity objects, got {each!r}"
            )
        if quantity.name in found:
            raise TracerError(f"the quantity {quantity.name!r} is asked for twice")
        if quantity.rows is not None and not merges(quantity):
            raise TracerError(
                f"values of {quantity.name!r} of several shards do not merge (its merge is None): "
                f"leave it out, or take it of one batch"
            )
        found[quantity.name] = quantity
    if not found:
        raise TracerError("expected at least one quantity, as in quantities=('grad', 'kfac')")
    return found
