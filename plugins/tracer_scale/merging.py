"""The union of shards: parts merge in the order of the shards, in groups of sixteen.

Each group merges one by one; groups of one level merge in turn, when there are sixteen. So there
are few states at once, and values that list samples are copied few times: about 8 times for each
level, where a single running union would copy them once for every later shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tracer.errors import TracerError
from tracer.extend import Quantity, Shard, Unfinished
from tracer.extend import merged as merged_values

#: quantity -> parameter -> state
States: TypeAlias = "dict[str, dict[str, Unfinished]]"

#: how many parts, or groups of a level, are one group
GROUP = 16
MEAN, SUM = "mean", "sum"


@dataclass
class Union:
    """Merged shards: how many samples they have, their mass, and their states.

    The `mass` is the denominator of a mean of losses; `reduction` is "mean", "sum", or empty where
    no shard told which of both the loss is.
    """

    samples: int = 0
    mass: float = 0.0
    reduction: str = ""
    states: States = field(default_factory=dict)

    def beside(self, other: Union, quantities: Mapping[str, Quantity]) -> Union:
        """This and what comes after it. One without samples has no states."""
        reductions = {self.reduction, other.reduction} - {""}
        if len(reductions) > 1:
            raise TracerError(
                "the loss is a mean over the samples of some shards and a sum over those of "
                "others: give one loss for all, with one reduction"
            )
        reduction = next(iter(reductions), "")
        total = Union(self.samples + other.samples, self.mass + other.mass, reduction)
        if not self.samples or not other.samples:
            total.states = (self if self.samples else other).states
            return total
        shards = self._among(total), other._among(total)
        total.states = {
            name: merged_values(quantities[name], before, other.states[name], shards)
            for name, before in self.states.items()
        }
        return total

    def _among(self, total: Union) -> Shard:
        share = 1.0 if total.reduction == SUM else self.mass / total.mass
        return Shard(self.samples, share)


@dataclass
class Group:
    """A union of `count` parts of a level, each of which is of sixteen of the level below."""

    level: int
    count: int
    union: Union


class Merged:
    """The union of all parts so far. `groups` are what it is made of, earlier shards first."""

    def __init__(self, quantities: Mapping[str, Quantity], groups: Sequence[Group] = ()):
        self.quantities = quantities
        self.groups = list(groups)

    def add(self, part: Union) -> None:
        """Add the part of the next shard."""
        level = 0
        while True:
            last = self.groups[-1] if self.groups else None
            if last is None or last.level > level:
                self.groups.append(Group(level, 1, part))
                return
            last.union = last.union.beside(part, self.quantities)
            last.count += 1
            if last.count < GROUP:
                return
            part, level = self.groups.pop().union, level + 1

    def union(self) -> Union:
        """Of all parts: later groups, which are smaller, join first."""
        total = Union()
        for group in reversed(self.groups):
            total = group.union.beside(total, self.quantities)
        return total
