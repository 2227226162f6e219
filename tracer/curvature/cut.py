"""Where an objective is cut into terms: what is judged there, by which samples, at which weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracer.arrays import backend
from tracer.arrays.types import Array, Stack
from tracer.curvature.objective_record import ObjectiveRecord
from tracer.errors import QuantityError
from tracer.record.axes import SAMPLED, OfOne, SampleAxis, position_of
from tracer.record.node import Node
from tracer.record.tensor import Tensor
from tracer.sweep.rules import Recorded, Sampled, View


class Cut:
    """A place where the objective is cut: a node, and the gradient `[1, *shape]` at it.

    At a registered loss, `weight` has the loss's shape, and rows start at its prediction. At any
    other tensor, as the model's `outputs`, rows start there, from the Hessian of the record above.
    `wanted_by` names the quantity that asks, for messages.
    """

    def __init__(self, record: ObjectiveRecord, node: Node, arrived: Stack, wanted_by: str):
        self.record = record
        self.node = node
        self.arrived = arrived
        self.wanted_by = wanted_by
        self.at_loss = node.op.loss and node is not record.outputs

    @property
    def prediction(self) -> Node:
        """The tensor that rows start at."""
        target = self.node.parents[0] if self.at_loss else self.node
        assert target is not None
        return target

    @property
    def axis(self) -> SampleAxis:
        """Where the samples are in the prediction; its first axis where that is not known."""
        axis = self.record.batch.axis(self.prediction)
        return axis if isinstance(axis, SAMPLED) else 0

    @property
    def sample_axis(self) -> int:
        """Which axis that is, whatever its entries are."""
        return position_of(self.axis)

    @property
    def has_axis(self) -> bool:
        """Whether the prediction has an axis of samples (its first, where nothing is marked)."""
        batch, prediction = self.record.batch, self.prediction
        if not batch.marked or prediction in batch.assumed:
            return True
        return isinstance(batch.axis(prediction), SAMPLED)

    @property
    def of_samples(self) -> bool:
        """Whether it is known which samples the prediction is of."""
        return self.has_axis or isinstance(self.record.batch.axis(self.prediction), OfOne)

    @property
    def only_sample(self) -> int | None:
        """The sample that it is of, if it is of one, and has no axis of samples."""
        axis = self.record.batch.axis(self.prediction)
        return axis.sample if isinstance(axis, OfOne) else None

    def refuse_other_inputs(self) -> None:
        """Raise if more than the prediction of a registered loss depends on parameters."""
        for slot, parent in enumerate(self.node.parents if self.at_loss else ()):
            if slot and parent is not None and parent.wants:
                raise QuantityError(
                    f"{self.wanted_by} is undefined for this objective: the Gauss-Newton matrix of "
                    f"{self.node.op.name} ({self.node.source or 'unknown line'}) is defined by its "
                    f"prediction alone, but its input {slot} depends on parameters, too: detach it "
                    f"with tensor.detach()"
                )

    @property
    def weight(self) -> Array:
        """What the losses weigh in the objective, of their shape. Raises if some is negative.

        Where asking would wait for a device, rows of what is negative are NaN.
        """
        weight = self.arrived[0]
        values = weight._value if isinstance(weight, Tensor) else weight
        if not backend.of(values).asynchronous and bool((values < 0).any()):
            raise QuantityError(
                f"{self.wanted_by} is undefined for this objective: the loss {self.node.op.name} "
                f"has a negative weight in it, whose Gauss-Newton matrix has no square root: use "
                f"quantities of the Hessian"
            )
        return weight

    @property
    def view(self) -> View:
        """The node as its rules see it, with the axes of samples."""
        batch, node = self.record.batch, self.node
        view = Recorded(node) if self.record.recorded else node
        return Sampled(view, batch.axis(node), batch.axes_of(node))

    def rule(self, name: str) -> Callable[..., Any] | None:
        return getattr(self.node.op, name) if self.at_loss else None
