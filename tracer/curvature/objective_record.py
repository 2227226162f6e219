"""What terms and refusals read of an objective: facts of its record, and nothing computed."""

from __future__ import annotations

from typing import NamedTuple

from tracer.arrays.random import Restarted
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.record.recorder import Recorder
from tracer.sweep.observed import Observed


class ObjectiveRecord(NamedTuple):
    """The record of an objective, from the leaves to the loss.

    `nodes` is what `tape` holds up to `loss`, `batch` tells where the samples are, `outputs` is the
    tensor that splits model from loss, or None. `recorded` says that sweeps are recorded
    themselves, `watched` sees the gradient at each node. `only` is what depends on the parameters
    asked for, None where these are all. Sampled rows take their generators from `draws`.
    """

    tape: Recorder
    nodes: list[Node]
    loss: Node
    batch: Batch
    outputs: Node | None
    recorded: bool
    watched: Observed | None
    only: set[Node] | None
    draws: Restarted

    @property
    def swept_nodes(self) -> list[Node]:
        """The nodes that a sweep goes through, in the order of recording."""
        only = self.only
        return [node for node in self.nodes if only is None or node in only]
