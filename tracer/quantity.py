"""Quantities: what they need, what they extract at a parameter, and how two shards' values merge.

```python
class DiagGGNExact(Quantity):
    name = "diag_ggn_exact"
    rows = ggn_exact

    def extract(self, cotangent, context):
        return cotangent.sum_of_squares()
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tracer import registry
from tracer.cotangents import Cotangent
from tracer.errors import QuantityError
from tracer.rows import Rows, gradient


class Context(NamedTuple):
    """What a quantity may know besides the cotangent: the parameter and the number of samples."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    samples: int | None


@dataclass(frozen=True)
class Shard:
    """The part of a data set that a state comes from.

    `samples` is its number of samples, `weight` the factor by which its objective enters that of
    the union: its share of the samples for a mean, 1 for a sum.
    """

    samples: int
    weight: float


class Quantity:
    """Base of quantities; configured by the constructor where there is something to configure.

    `rows` is the kind of rows that it needs; None if it is made of products with whole matrices
    (`of_objective`). `per_sample` says that its values are of single
    samples, so that it is undefined where samples are coupled. `needs_samples` is False only if the
    sum over samples is all that it reads. A *state* is what `extract` returns: it merges with the
    state of another shard; `finish` makes the value of it.
    """

    name: str
    rows: Rows | None = gradient
    per_sample = False
    needs_samples = True

    def extract(self, cotangent: Cotangent, context: Context) -> Any:
        """The state for one parameter, from the cotangent's contractions."""
        raise QuantityError(f"quantity {self.name!r} defines no extract")

    def of_objective(self, objective: Any) -> Any:
        """The value for all parameters, of a quantity without rows: see `tracer.backward`."""
        raise QuantityError(f"quantity {self.name!r} defines no of_objective")

    def of_block(self, objective: Any, leaf: Any) -> Any:
        """The state for a parameter for which signed rows of the Hessian are not exact."""
        raise QuantityError(f"quantity {self.name!r} defines no of_block")

    def finish(self, state: Any, context: Context) -> Any:
        """The value, from the state of all data."""
        return state

    def join(self, first: Any, second: Any) -> Any:
        """The state of two chunks of rows of the same samples. Additive unless overridden."""
        return first + second

    def merge(self, first: Any, second: Any, shards: tuple[Shard, Shard]) -> Any:
        """The state of the union of two shards. Linear in the objective unless overridden."""
        return shards[0].weight * first + shards[1].weight * second

    def __repr__(self) -> str:
        return f"<quantity {self.name}>"


def resolve(quantities: Any) -> dict[str, Quantity]:
    """Names and configured objects as instances, by name."""
    if isinstance(quantities, str | Quantity):
        quantities = (quantities,)
    found: dict[str, Quantity] = {}
    for quantity in quantities:
        if isinstance(quantity, str):
            quantity = registry.quantities[quantity]
        if isinstance(quantity, type):
            quantity = quantity()
        if not isinstance(quantity, Quantity):
            raise QuantityError(
                f"a quantity is a registered name or a tracer.Quantity, got {quantity!r}"
            )
        if quantity.name in found:
            raise QuantityError(f"the quantity {quantity.name!r} is asked for twice")
        found[quantity.name] = quantity
    return found
