"""Results of several small batches, as of one large one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracer import registry
from tracer.errors import TracerError
from tracer.extend import Quantity, Shard
from tracer_training.kinds import Results, StateDict

__all__ = ["Accumulated"]


class Accumulated:
    """Adds up results of sweeps: `results()` are those of all their samples in one batch.

    The loss of each is a mean over its samples, or with `mean=False` a sum. Values are merged by
    the law of their quantity (`Quantity.merge`). Raises `TracerError` for a quantity whose values
    do not merge, as those that are made of a sum over all samples.
    """

    def __init__(self, mean: bool = True):
        self.mean = mean
        self.samples = 0
        self._merged: dict[str, Any] = {}
        self._quantities: dict[str, Quantity] = {}

    def add(self, results: Results, samples: int, *quantities: Quantity) -> None:
        """Add the results of a batch of so many samples.

        `quantities` are those that were asked for as objects and are not registered.
        """
        given = {quantity.name: quantity for quantity in quantities}
        total = self.samples + samples
        weights = (self.samples / total, samples / total) if self.mean else (1.0, 1.0)
        shards = Shard(self.samples, weights[0]), Shard(samples, weights[1])
        for name, values in results.items():
            if name not in self._merged:
                self._quantities[name] = given.get(name) or _registered(name)
                self._merged[name] = values
                continue
            merge = self._quantities[name].merge
            before = self._merged[name]
            if isinstance(values, Mapping):
                for key in before.keys() | values.keys():
                    if key in before and key in values:
                        before[key] = merge(before[key], values[key], shards)
                    elif key in before:  # a parameter that this batch did not use
                        before[key] = shards[0].weight * before[key]
                    else:
                        before[key] = shards[1].weight * values[key]
            else:
                self._merged[name] = merge(before, values, shards)
        self.samples = total

    def results(self) -> StateDict:
        """Quantity -> parameter -> value, of all that was added."""
        if not self._merged:
            raise TracerError("nothing was accumulated: add(results, samples) first")
        return self._merged


def _registered(name: str) -> Quantity:
    if name not in registry.quantities:
        raise TracerError(
            f"{name!r} is no registered quantity: give the object that was asked for, too, as in "
            f"add(results, samples, quantity)"
        )
    quantity = registry.quantities[name]()
    if type(quantity).finish is not Quantity.finish or quantity.rows is None:
        raise TracerError(
            f"values of {name!r} do not merge: fold over shards, or give one large batch"
        )
    return quantity
