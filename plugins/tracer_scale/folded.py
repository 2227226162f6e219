"""What is folded so far, and the results of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.errors import QuantityError, TracerError, UndefinedWarning
from tracer.extend import Quantity, Results, Values, finished, merges
from tracer_scale.merging import Merged
from tracer_scale.states import Plain, plain, restored
from tracer_scale.work import WHOLE, Part


@dataclass
class Folded:
    """The merged parts of the first shards: `masses` has the (samples, mass) of each."""

    merged: Merged
    masses: list[tuple[int, float]] = field(default_factory=list)
    #: quantity -> parameter -> why it has no value
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    #: quantity -> what its operator is over
    matrices: dict[str, Plain] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        return len(self.masses)

    @property
    def samples(self) -> int:
        return sum(samples for samples, _ in self.masses)

    def add(self, part: Part) -> None:
        """Add the part of the next shard."""
        self.merged.add(part.union(self.merged.quantities))
        self.masses.append((part.samples, part.mass))
        for name, absent in part.absent.items():
            self.absent.setdefault(name, {}).update(absent)
        for name, matrix in part.matrices.items():
            if self.matrices.setdefault(name, matrix) != matrix:
                raise TracerError(
                    f"the operators of {name!r} are not over the same parameters in all shards: "
                    f"give shards in which the model uses all of them"
                )

    def result(self) -> Folding:
        """What all processes make the results of."""
        union, quantities = self.merged.union(), self.merged.quantities
        if not union.samples:
            raise TracerError("there are no samples: every shard is empty")
        if not union.reduction and sum(samples > 0 for samples, _ in self.masses) > 1:
            raise TracerError(
                "the losses are zero or no numbers, and do not tell whether the loss is their mean "
                "or their sum: say mean=True or mean=False"
            )
        states = {
            name: {p: plain(kept, quantities[name]) for p, kept in values.items()}
            for name, values in union.states.items()
        }
        masses = list(self.masses)
        return Folding(union.samples, union.reduction, states, self.absent, self.matrices, masses)


@dataclass
class Folding:
    """The union of all shards, in a form that can be sent."""

    samples: int
    reduction: str
    states: dict[str, dict[str, Plain]]
    absent: dict[str, dict[str, str]]
    matrices: dict[str, Plain]
    masses: list[tuple[int, float]]

    def shares(self) -> list[float]:
        """By which each shard's objective enters that of all."""
        if self.reduction == "sum":
            return [1.0] * len(self.masses)
        total = sum(mass for _, mass in self.masses)
        return [mass / total for _, mass in self.masses]

    def values(
        self,
        quantities: Mapping[str, Quantity],
        parameters: Sequence[tuple[str, Tensor]],
        undefined: str,
    ) -> Results:
        """Quantity -> parameter -> value, of what merges; the model's `parameters` are keys."""
        results = Results()
        for name, quantity in quantities.items():
            if not merges(quantity):
                continue
            absent = self.absent.get(name, {})
            self._tell(name, absent, undefined)
            found: Any = {
                p: restored(value, quantity) for p, value in self.states.get(name, {}).items()
            }
            found = finished(quantity, found, self.samples)
            if quantity.rows is None and found.keys() == {WHOLE}:
                found = _as_array(found[WHOLE])
            elif quantity.per == "parameter":
                arrays = {p: _as_array(value) for p, value in found.items()}
                found = Values.of_parameters(parameters, arrays, absent)
            results[name] = found
        return results

    def _tell(self, name: str, absent: Mapping[str, str], undefined: str) -> None:
        """Warn of parameters without a value, or raise as asked, or where none has one."""
        if not absent:
            return
        first = next(iter(absent.values()))
        if undefined == "raise" or not self.states.get(name):
            raise QuantityError(first)
        parameters = ", ".join(absent)
        warnings.warn(f"{name} has no value for {parameters}: {first}", UndefinedWarning, 3)


def _as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.generic) else value
