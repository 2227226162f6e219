"""What became infinite or no number first, when a loss did."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tracer import Tape, Tensor
from tracer.extend import backend, raw
from tracer_training.kinds import Inputs, LossFunction, Model, Targets, Value
from tracer_training.loop.errors import NonFiniteError


def non_finite(
    model: Model,
    loss: LossFunction,
    batch: tuple[Inputs, Targets],
    parameters: Iterable[tuple[str, Tensor]],
    at: tuple[int, int, int],
    value: float,
) -> NonFiniteError:
    """The error for a loss at (epoch, batch, step); the batch is recorded again to find why."""
    epoch, number, step = at
    tensor = _first(model, loss, batch, parameters)
    return NonFiniteError(
        f"the loss is {value} at step {step} (epoch {epoch + 1}, batch {number}): the first "
        f"tensor that is not finite is {tensor}. The parameters are those before this step; try a "
        f"smaller learning rate, or clip_norm=1.0",
        epoch,
        number,
        step,
        tensor,
    )


def _first(
    model: Model,
    loss: LossFunction,
    batch: tuple[Inputs, Targets],
    parameters: Iterable[tuple[str, Tensor]],
) -> str:
    inputs, target = batch
    for name, parameter in parameters:
        if not _finite(parameter.data):
            return f"the parameter {name!r}"
    for i, value in enumerate((*inputs, target)):
        if not _finite(value):
            return f"input {i} of the model" if i < len(inputs) else "the target"
    with np.errstate(all="ignore"), Tape(watch=True) as tape:
        loss(model(*inputs), target)
    for _, node in tape.graph("forward").nodes(data=True):
        if node.get("nan") or node.get("inf"):
            where = f" of {node['scope']}" if node.get("scope") else ""
            return f"the output of {node['op']}{where} ({node['source'] or 'unknown line'})"
    return "not found when the batch was computed again, as with random layers"


def _finite(value: Value) -> bool:
    array = raw(value)
    if not backend.is_array(array) or array.dtype.kind != "f":
        return True
    return bool(np.isfinite(array).all())
