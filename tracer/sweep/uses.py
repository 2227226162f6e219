"""Uses of tensors without samples: where batched operations meet them, and on to the leaves."""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

from tracer.arrays.types import Stack
from tracer.cotangents import Cotangent, Coupled, Dense, collect
from tracer.record.axes import SAMPLED, position_of
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.sweep.arrived import Arrived
from tracer.sweep.carry import carried_by_use, derived, is_reindexing, of_samples, reindexed, spread
from tracer.sweep.placed import Placed
from tracer.sweep.real_parts import is_complex, real_use
from tracer.sweep.rules import (
    Recorded,
    Sampled,
    View,
    cotangents_of,
    entry_value,
    evaluated,
    fit,
    fitted,
)
from tracer.sweep.scattered import Scattered


class Uses:
    """The uses that a sweep has collected at unbatched tensors, by node, as cotangents of the
    algebra.

    The arguments are as in `Sweep`.
    """

    __slots__ = ("_arrived", "_batch", "_budget", "_coupled", "_only", "_slots", "of")

    def __init__(
        self,
        batch: Batch,
        arrived: Arrived,
        only: set[Node] | None,
        slots: int,
        coupled: bool,
        budget: int | None,
    ):
        self.of: dict[Node, list[Cotangent]] = {}
        self._batch, self._arrived, self._only = batch, arrived, only
        self._slots, self._coupled, self._budget = slots, coupled, budget

    def are_collected_at(self, node: Node) -> bool:
        """Whether a node has samples, so that what it sends to others is told apart by them."""
        return isinstance(self._batch.axes.get(node), SAMPLED)

    def collect(self, view: Node | Recorded, node: Node, g: Stack) -> None:
        """Take what a batched operation sends to its inputs, by samples where these have none."""
        axis, axes = self._batch.axes[node], self._batch.axes_of(node)
        along = position_of(axis)
        entries: Any = None
        order = list(enumerate(node.parents))
        if node.op.composite:  # what it makes for uses by samples, its other cotangents share
            order.sort(key=lambda each: axes[each[0]] is not None)
        for slot, parent in order:
            if parent is None or not parent.wants:
                continue
            if self._only is not None and parent not in self._only:
                continue
            if axes[slot] is None:
                use = None
                if node.op.parameter_cotangent is not None:
                    use = node.op.parameter_cotangent(Sampled(view, axis, axes), slot, g)
                    if use is not None and is_complex(node) and not is_complex(parent):
                        use = real_use(use)
                structured = use is not None
                if use is None and (self._slots == 1 or len(parent.shape) > 1):
                    entries = cotangents_of(view, node, g) if entries is None else entries
                    if entries[slot] is None:
                        continue
                    use = spread(node, slot, g, along, entries)
                    if use is None and self._slots == 1:
                        use = derived(view, node, slot, g, along, entries, self._budget)
                        if use is None:
                            continue
                if use is not None:
                    use = of_samples(use, axis, node.place.present)
                    if self._coupled and not structured and len(parent.shape) < 2:
                        use = Dense(use.per_sample())  # as masked rows have it, its uses summed
                    use = use if self._slots == 1 else Coupled(use, self._slots)
                    self.of.setdefault(parent, []).append(use)
                    continue
            entries = cotangents_of(view, node, g) if entries is None else entries
            entry = entries[slot]
            if entry.__class__ is FunctionType:
                entry = evaluated(entry, node, g)
            if entry is not None:
                if entry.__class__ is Scattered and self._arrived.wait(parent, entry):
                    continue
                if entry.__class__ is not Placed and entry.shape[1:] != parent.shape:
                    entry = fitted(entry, node, parent, len(g))
                self._arrived.add(parent, entry)

    def carry(self, view: Node | Recorded, node: Node, uses: list[Cotangent]) -> None:
        """Take the uses of an unbatched tensor to the inputs of the operation that made it."""
        cotangent = collect(uses)
        for slot, parent in enumerate(node.parents):
            if parent is None or not parent.wants:
                continue
            if self._only is not None and parent not in self._only:
                continue
            carried: Cotangent | None
            if is_complex(node) != is_complex(parent):
                carried = None  # of real parts, which no structure of the complex one has
            elif isinstance(cotangent, Coupled) and cotangent.inner.use_terms() is not None:
                inner = _carried(view, node, slot, cotangent.inner)
                carried = None if inner is None else Coupled(inner, cotangent.samples)
            else:
                carried = _carried(view, node, slot, cotangent)
            if carried is None:
                u = cotangent.per_sample()
                flat = u.reshape(math.prod(u.shape[:2]), *node.shape)
                entry = entry_value(cotangents_of(view, node, flat)[slot])
                if entry is None:
                    continue
                entry = fit(entry, parent.shape)
                array = entry.reshape(*u.shape[:2], *parent.shape)
                carried = Dense(array, (node.op.name, node.code, node.lasti))
            self.of.setdefault(parent, []).append(carried)


def _carried(view: View, node: Node, slot: int, cotangent: Cotangent) -> Cotangent | None:
    """The cotangent of an input in the form that the output's has, or None."""
    if node.op.carry is not None:
        carried = node.op.carry(view, slot, cotangent)
        if carried is not None:
            return carried
    carried = carried_by_use(view, node, slot, cotangent)
    if carried is None and is_reindexing(node):
        carried = reindexed(node, cotangent)
    return carried
