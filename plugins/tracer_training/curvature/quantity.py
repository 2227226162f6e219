"""The curvature that an optimiser asks a sweep for: Kronecker factors, or else the diagonal."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TypeAlias

from tracer import registry
from tracer.errors import QuantityError, TracerError
from tracer.extend import (
    Array,
    Context,
    Cotangent,
    Kronecker,
    Quantity,
    Shard,
    ggn_averaged,
    gradient,
)

#: a registered name, or a configured object, as `KFAC(mc_samples=4)` of tracer_quantities
Curvature: TypeAlias = "str | Quantity | type[Quantity]"


class Diagonal:
    """The diagonal `values [*p.shape]` of a block that has no Kronecker factors, and why not."""

    def __init__(self, values: Array, reason: str):
        self.values, self.reason = values, reason

    def __add__(self, other: Diagonal) -> Diagonal:
        return Diagonal(self.values + other.values, self.reason)

    def __mul__(self, factor: float) -> Diagonal:
        return Diagonal(self.values * float(factor), self.reason)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Diagonal({'x'.join(map(str, self.values.shape))})"


class Undefined:
    """In place of a block that has neither Kronecker factors nor a diagonal here: why not."""

    def __init__(self, reason: str):
        self.reason = reason

    def __repr__(self) -> str:
        return f"Undefined({self.reason!r})"


#: what an optimiser's sweep gives for a parameter
Curved: TypeAlias = Kronecker | Diagonal | Undefined


class OrDiagonal(Quantity):
    """A quantity of Kronecker factors; where a parameter has none, the diagonal of the same rows.

    Values are `Kronecker`, or `Diagonal` with the reason. Nothing is swept twice, and nothing is
    made for parameters that do have factors. Averaged rows, those of "kfra", are none of the whole
    matrix, and have no diagonal to be taken where uses of a parameter meet: such values are
    `Undefined`, and `diagonal` is what to ask for besides.
    """

    def __init__(self, factored: Quantity):
        self.factored_quantity = factored
        self.name, self.rows, self.cheaper = factored.name, factored.rows, factored.cheaper
        self.factored, self.of_uses = factored.factored, factored.of_uses
        self.separates = factored.separates
        #: the quantity that has the diagonal where values are `Undefined`; None if none are
        self.diagonal = "diag_ggn_exact" if self.rows == ggn_averaged else None

    def extract(self, cotangent: Cotangent, context: Context) -> Curved:
        try:
            return self.factored_quantity.extract(cotangent, context)
        except QuantityError as error:
            reason = str(getattr(error, "reason", None) or error)
            if self.diagonal is not None:
                return Undefined(reason)
            return Diagonal(cotangent.total_of_squares(), reason)

    def elements(self, context: Context) -> int:
        return max(self.factored_quantity.elements(context), super().elements(context))

    def join(self, first: Curved, second: Curved) -> Curved:
        if isinstance(first, Undefined):
            return first
        if isinstance(first, Diagonal) and isinstance(second, Diagonal):
            return first + second
        return self.factored_quantity.join(first, second)

    def merge(self, first: Curved, second: Curved, shards: tuple[Shard, Shard]) -> Curved:
        if isinstance(first, Undefined):
            return first
        if isinstance(first, Diagonal) and isinstance(second, Diagonal):
            return shards[0].weight * first + shards[1].weight * second
        return self.factored_quantity.merge(first, second, shards)


def curvature_of(kind: str, given: Curvature) -> Quantity:
    """The quantity that an optimiser of this `kind` asks for. Raises `TracerError`."""
    if isinstance(given, str):
        given = registry.quantities[given]
    quantity = given() if isinstance(given, type) and issubclass(given, Quantity) else given
    if not isinstance(quantity, Quantity):
        raise TracerError(
            f'{kind} expects curvature as the name of a quantity, as "kfac", or an object, as '
            f"KFAC(mc_samples=4), got {given!r}"
        )
    if (
        quantity.rows is gradient
        or quantity.rows is None
        or quantity.per != "parameter"
        or quantity.per_sample
    ):
        raise TracerError(
            f"{kind} expects a curvature with a block or a diagonal for each parameter, as "
            f'"kfac" or "diag_ggn_mc", and {quantity.name!r} is no such quantity'
        )
    return OrDiagonal(quantity) if quantity.factored else quantity


def check_count(kind: str, name: str, value: object) -> None:
    """Raise `TracerError` for what is no number of steps from 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise TracerError(f"{kind} expects {name} as a number of steps from 1, got {value!r}")


def check_share(kind: str, name: str, value: object) -> None:
    """Raise `TracerError` for what is no number from 0 to 1."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) <= 1:
        raise TracerError(f"{kind} expects {name} as a number from 0 to 1, got {value!r}")
