"""Losses and metrics over a data set, without derivatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tracer.errors import TracerError
from tracer.extend import backend, describe, raw
from tracer_training.data import DataLoader
from tracer_training.kinds import Batch, Data, Inputs, LossFunction, Model, Targets, Value
from tracer_training.loop.metrics import Means, Metric, check_metrics, measured
from tracer_training.loop.parallel import Parallel

__all__ = ["evaluate"]


def evaluate(
    model: Model,
    loss: LossFunction | None,
    data: Data,
    *,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 256,
    parallel: Parallel | None = None,
) -> dict[str, float]:
    """The mean loss and metrics over `data`, a loader or a data set, in evaluation mode.

    `metrics` maps names to functions of a batch's outputs and targets, which return means over the
    batch; by default it is the accuracy, where targets are classes. The model's mode is as before
    afterwards. With `parallel`, as in `fit`, each process evaluates some of the batches, and all
    have the means. Raises `TracerError` if there are no batches.
    """
    if loss is not None:
        check_loss(loss)
    check_data(data)
    means = Means()
    if metrics is not None:
        check_metrics(metrics, () if loss is None else ("loss",))

    def values(batch: Batch) -> tuple[dict[str, Value], int]:
        inputs, target = divided(batch)
        output = model(*inputs)
        found = {} if loss is None else {"loss": raw(loss(output, target))}
        return found | measured(metrics, raw(output), target), samples_of(inputs, target)

    with evaluating(model):
        given = batches(data, batch_size)
        several = map(values, given) if parallel is None else parallel.mapped(model, values, given)
        for found, samples in several:
            means.add(found, samples)
    if not means.samples:
        raise TracerError("there is nothing to evaluate: the data have no batches")
    return means.values()


def check_loss(loss: object) -> None:
    """Raise `TracerError` for what is no function of outputs and targets, as a name or data."""
    if not callable(loss):
        raise TracerError(
            f"a loss is a function of outputs and targets, as tracer_layers.cross_entropy, got "
            f"{loss!r:.60}"
        )


def check_data(data: object) -> None:
    """Raise `TracerError` for what has no batches, and for a tuple of arrays.

    Those are inputs and targets of a data set, and would pass for two batches.
    """
    if isinstance(data, tuple) and data and all(map(backend.is_array, data)):
        raise TracerError(
            f"data are a data set, a loader or a list of batches, got a tuple of arrays "
            f"{', '.join(map(describe, data))}: write tracer_training.ArrayDataset(*arrays)"
        )
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TracerError(f"data are a data set, a loader or a list of batches, got {data!r:.60}")


def batches(data: Data, batch_size: int, **options: Any) -> Value:
    """A loader of a data set; a loader, a list of batches or another iterable as it is."""
    is_dataset = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if not is_dataset or isinstance(data, DataLoader | list | tuple):
        return data
    return DataLoader(data, batch_size=batch_size, **options)


def divided(batch: Any) -> tuple[Inputs, Targets]:
    """Inputs and target of a batch, whose last array is the target; one array alone is both."""
    if not isinstance(batch, tuple | list):
        return (batch,), batch
    if len(batch) == 1:
        return (batch[0],), batch[0]
    return tuple(batch[:-1]), batch[-1]


def samples_of(inputs: Inputs, target: Targets) -> int:
    """How many samples a batch has: the length of its target, or of the first array in that.

    A list as long as the first input is one of samples. Raises `TracerError` for a target without
    axes.
    """
    count = _length(inputs[0]) if inputs else None
    found = target
    while isinstance(found, Mapping | tuple | list) and len(found):
        several = found.values() if isinstance(found, Mapping) else found
        first = next(iter(several))
        listed = not isinstance(found, Mapping) and len(found) == count
        if listed or isinstance(first, str) or _length(first) is None:
            break
        found = first
    length = _length(found)
    if length is None:
        raise TracerError(
            f"a batch has its samples along axis 0, and the target of this one is {found!r}: give "
            f"batches, as training.DataLoader(dataset, batch_size) makes them of samples"
        )
    return length


def _length(value: Value) -> int | None:
    """The length of what has one, and of arrays with axes."""
    without_axes = getattr(value, "shape", None) == ()
    return len(value) if hasattr(value, "__len__") and not without_axes else None


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """In it, a model is in evaluation mode."""
    modes = [(module, module.training) for module in model.modules()] if _has_mode(model) else []
    try:
        if modes:
            model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _has_mode(model: Model) -> bool:
    return hasattr(model, "eval") and hasattr(model, "modules")
