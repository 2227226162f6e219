"""Results of several small batches, as of one large one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from tracer import registry
from tracer.errors import TracerError
from tracer.extend import (
    LayerValues,
    Quantity,
    Shard,
    Unfinished,
    finished,
    has_states,
    merged,
    merges,
    unfinished,
)
from tracer_training.kinds import Results, StateDict, Value

__all__ = ["Accumulated"]


class Accumulated:
    """Adds up results of sweeps: `results()` are those of all their samples in one batch.

    ```python
    total = training.Accumulated(optimizer.quantities)
    for x, y in batches:
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        total.add(tape.backward(loss, total.quantities), samples=len(x))
    optimizer.step(total.results())
    ```

    `asked` are quantities as for `Tape.backward`; `total.quantities` are what to ask each sweep
    for, since some merge before their values are made (`Quantity.merge`). The loss is a mean over
    the samples, or with `mean=False` a sum. Quantities that sample are those of other samples than
    one batch would have drawn; factors of `kfra` are means of those of the batches. Raises
    `TracerError` for quantities that do not merge, as operators of the whole model; of those that
    are `dispensable` the results have nothing, and `absent` says why.
    """

    def __init__(
        self,
        asked: str | Quantity | type[Quantity] | Iterable[str | Quantity | type[Quantity]] = "grad",
        *,
        mean: bool = True,
    ):
        self.mean = mean
        self.samples = 0
        self._asked = _by_name(asked)
        #: why there are no values of these, by their names
        self._absent = {name: why for name, q in self._asked.items() if (why := _refused(q))}
        self._check()
        self._merged: StateDict = {}
        self._kind: Value = dict

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What to ask the sweep of each batch for."""
        return tuple(
            unfinished(quantity) if has_states(quantity) else quantity
            for name, quantity in self._asked.items()
            if name not in self._absent
        )

    def add(self, results: Results, samples: int) -> None:
        """Add the results of a batch of so many samples, from 1.

        Only what was asked for is added. The results stay as they are.
        """
        if samples < 1:
            raise TracerError(f"a batch of samples is added, got samples={samples!r}")
        lacking = self._asked.keys() - self._absent.keys() - results.keys()
        if lacking:
            raise TracerError(
                f"the results lack {sorted(lacking)[0]!r}: ask each sweep for total.quantities"
            )
        total = self.samples + samples
        weights = (self.samples / total, samples / total) if self.mean else (1.0, 1.0)
        shards = Shard(self.samples, weights[0]), Shard(samples, weights[1])
        both: StateDict = {}
        for name, quantity in self._asked.items():
            if name in self._absent:
                continue
            if not self.samples:
                both[name] = _kept(quantity, results[name])
                continue
            try:
                both[name] = merged(quantity, self._merged[name], results[name], shards)
            except TracerError as error:
                self._leave_out(quantity, error)
        self._merged, self.samples = both, total
        self._kind = type(results) if isinstance(results, dict) else dict

    def results(self) -> StateDict:
        """Quantity -> parameter -> value, of all that was added."""
        if not self.samples:
            raise TracerError("nothing was accumulated: add(results, samples) first")
        found = self._kind()
        for name, quantity in self._asked.items():
            if name in self._absent:
                found[name] = LayerValues(absent={"": self._absent[name]})
                continue
            values = _copied(self._merged[name])
            found[name] = finished(quantity, values, self.samples)
        return found

    def _check(self) -> None:
        """Raise `TracerError` for what is left out and may not be."""
        for name, why in self._absent.items():
            if not self._asked[name].dispensable:
                raise TracerError(f"{why}: give one large batch, or leave it out")

    def _leave_out(self, quantity: Quantity, error: TracerError) -> None:
        """Go on without a quantity, if one may."""
        if not quantity.dispensable:
            raise error
        self._absent[quantity.name] = str(error)


def _by_name(asked: Value) -> dict[str, Quantity]:
    """Quantities by name."""
    several = (asked,) if isinstance(asked, str | Quantity | type) else tuple(asked)
    found = {}
    for each in several:
        kind = registry.quantities[each] if isinstance(each, str) else each
        quantity = kind() if isinstance(kind, type) else kind
        found[quantity.name] = quantity
    return found


def _refused(quantity: Quantity) -> str:
    """Why the values of batches are not those of their union; empty where they merge."""
    return (
        "" if merges(quantity) else f"values of {quantity.name!r} of several batches do not merge"
    )


def _kept(quantity: Quantity, values: Value) -> Value:
    """The values of the first batch, apart from the results and the record."""
    return copy.deepcopy(values) if has_states(quantity) else _copied(values)


def _copied(values: Value) -> Value:
    """Values apart from others, as far as steps and bounds of gradients write into them."""
    if not isinstance(values, Mapping):
        return copy.copy(values)
    found: Value = copy.copy(values)
    for name, value in values.items():
        found[name] = value if isinstance(value, Unfinished) else copy.copy(value)
    return found
