"""Values of a data set from those of its shards: quantities whose states are kept, to be merged."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

from tracer.curvature.combining import layer_of
from tracer.curvature.quantity import Context, Quantity, Shard, State, Value
from tracer.curvature.values import LayerValues
from tracer.errors import TracerError


class Unfinished(NamedTuple):
    """The state of a quantity at a parameter, before `Quantity.finish` has made the value of it."""

    state: State
    context: Context


def unfinished(quantity: Quantity) -> Quantity:
    """The same quantity, whose values are `Unfinished`, one for each parameter.

    What it gives for two shards is merged by `quantity.merge`, and made a value by
    `quantity.finish` and, where it is of layers or the model, `quantity.combine`.
    """
    other = copy.copy(quantity)
    other.per = "parameter"
    other.finish = Unfinished  # type: ignore[method-assign]
    return other


def merges(quantity: Quantity) -> bool:
    """Whether the values of a union of shards are made of those of the shards."""
    if quantity.rows is None and type(quantity).merge is Quantity.merge:
        return False
    return quantity.merge is not None


def has_states(quantity: Quantity) -> bool:
    """Whether what merges is not its values."""
    return type(quantity).finish is not Quantity.finish or quantity.per != "parameter"


def merged(quantity: Quantity, before: Value, values: Value, shards: tuple[Shard, Shard]) -> Value:
    """Values, or unfinished ones, of the union of two shards, by parameter.

    Those of the first shard stay as they are. A parameter that one of the shards does not use has
    zeros there. Raises `TracerError` where zeros are not what the quantity has for it.
    """
    if not isinstance(values, Mapping):
        return quantity.merge(before, values, shards)
    found: Value = before.united(values) if hasattr(before, "united") else copy.copy(before)
    for name in [*before, *(name for name in values if name not in before)]:
        if name in before and name in values:
            found[name] = _merged(quantity, before[name], values[name], shards)
        elif type(quantity).merge is not Quantity.merge:
            raise TracerError(
                f"{quantity.name!r} of the parameter {name!r} is of some of the batches, which do "
                f"not all use it, and does not merge then: give one large batch"
            )
        else:  # it is linear, and zero for a batch that does not use the parameter
            shard, value = (shards[0], before) if name in before else (shards[1], values)
            found[name] = _scaled(value[name], shard.weight)
    return found


def _merged(quantity: Quantity, first: Value, second: Value, shards: tuple[Shard, Shard]) -> Value:
    if not isinstance(first, Unfinished):
        return quantity.merge(first, second, shards)
    return first._replace(state=quantity.merge(first.state, second.state, shards))


def _scaled(value: Value, weight: float) -> Value:
    if not isinstance(value, Unfinished):
        return weight * value
    return value._replace(state=weight * value.state)


def finished(quantity: Quantity, values: Value, samples: int) -> Value:
    """Values of parameters, layers or the model, of unfinished ones in a mapping, which it takes.

    Those of a quantity without states are values already.
    """
    if not isinstance(values, Mapping) or not any(
        isinstance(value, Unfinished) for value in values.values()
    ):
        return values
    of_all: Value = values
    for name, kept in values.items():
        of_all[name] = quantity.finish(kept.state, kept.context._replace(samples=samples))
    if quantity.per == "parameter":
        return of_all
    if quantity.per == "model":
        return quantity.combine(dict(of_all))
    layers: dict[str, dict[str, Value]] = {}
    for name, value in of_all.items():
        layers.setdefault(layer_of(name), {})[name] = value
    return LayerValues({layer: quantity.combine(some) for layer, some in layers.items()})
