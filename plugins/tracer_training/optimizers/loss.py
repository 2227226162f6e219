"""The loss among the results of a sweep, for optimisers that compare losses."""

from __future__ import annotations

from typing import Any

from tracer.extend import Array, Quantity, Shard

__all__ = ["Loss"]


class Loss(Quantity):
    """The loss that a sweep starts from: `results["loss"]`, one number, as an array without axes.

    It is given as an object, `tape.backward(loss, ("grad", Loss()))`, and not registered by name.
    """

    name = "loss"
    rows = None
    needs_samples = False

    def of_objective(self, objective: Any) -> Array:
        return objective.value

    def merge(self, first: Array, second: Array, shards: tuple[Shard, Shard]) -> Array:
        return shards[0].weight * first + shards[1].weight * second
