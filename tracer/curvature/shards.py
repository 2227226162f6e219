"""Values of a data set from those of its shards: quantities whose states are kept, to be merged."""

from __future__ import annotations

import copy
from typing import NamedTuple

from tracer.curvature.quantity import Context, Quantity, State


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
