"""Means over batches, on the device where the values are, and the metrics that they are of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, backend
from tracer_training.kinds import Saved, StateDict, Value

__all__ = ["accuracy"]

#: the mean over a batch of what is measured, from outputs and targets
Metric: TypeAlias = Callable[[Array, Array], Any]

#: what records of epochs have besides metrics
RECORDED = ("epoch", "step", "loss", "lr", "seconds")


def accuracy(output: Array, target: Array) -> Array:
    """The share of predictions that are right, an array without axes.

    `output` has scores of classes on axis 1, `[N, C, ...]`, and `target` the classes, `[N, ...]`;
    outputs of one score, `[N]` or `[N, 1]`, say 1 where it is above 0.
    """
    if output.shape == target.shape:
        return ((output > 0) == (target > 0.5)).mean()
    if output.ndim != target.ndim + 1 or output.shape[2:] != target.shape[1:]:
        raise ShapeError(
            f"accuracy is of scores [N, C, ...] and classes [N, ...], got {list(output.shape)} and "
            f"{list(target.shape)}"
        )
    return (output.argmax(1) == target).mean()


def usual_metrics(output: Value, target: Value) -> dict[str, Metric]:
    """The accuracy where targets are classes, and outputs have scores of them on axis 1.

    Nothing where that is not sure, as of `[N, C, T]` or `[N, T, C]` with as many classes as steps.
    """
    if not (backend.is_array(output) and backend.is_array(target)):  # as a pair, of an LSTM
        return {}
    shape = (*target.shape[:1], *output.shape[1:2], *target.shape[1:])
    classes = target.dtype.kind in "iu" and output.ndim > 1 and output.shape == shape
    sure = output.ndim == 2 or output.shape[1] != output.shape[-1]
    return {"accuracy": accuracy} if classes and sure else {}


def measured(
    metrics: Mapping[str, Metric] | None, output: Value, target: Value
) -> dict[str, Value]:
    """The values of metrics, by default of the usual ones."""
    found = metrics if metrics is not None else usual_metrics(output, target)
    return {name: metric(output, target) for name, metric in found.items()}


def check_metrics(metrics: object, taken: Collection[str]) -> None:
    """Raise `TracerError` unless these are functions by names that are not taken."""
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise TracerError(
            f'metrics map names to functions, as {{"accuracy": training.accuracy}}, got {metrics!r}'
        )
    for name in metrics:
        if name in taken:
            raise TracerError(
                f"a metric is called {name!r}, which records have besides: give it another name"
            )


class Means:
    """Means of values over samples, kept where the values are: no device is waited for."""

    def __init__(self) -> None:
        self.samples = 0
        self.sums: dict[str, Any] = {}
        #: the samples of each value, which not every batch may have
        self.counts: dict[str, int] = {}

    def add(self, values: Saved, samples: int) -> None:
        """Count values that are means over so many samples."""
        self.samples += samples
        self.count(values, samples)

    def count(self, values: Saved, samples: int) -> None:
        """Count more values of samples that are counted already."""
        for name, value in values.items():
            if type(value) is np.ndarray or isinstance(value, np.generic):
                value = float(value)
            elif backend.is_array(value):
                value = value.astype(np.float64)
            self.sums[name] = self.sums.get(name, 0.0) + value * samples
            self.counts[name] = self.counts.get(name, 0) + samples

    def values(self) -> dict[str, float]:
        """The means, each over the samples of the batches that had it."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def state_dict(self) -> StateDict:
        sums = {name: float(total) for name, total in self.sums.items()}
        return {"samples": self.samples, "sums": sums, "counts": dict(self.counts)}

    def load_state_dict(self, state: Saved) -> None:
        self.samples, self.sums = state["samples"], dict(state["sums"])
        same = dict.fromkeys(self.sums, self.samples)  # as earlier checkpoints have it
        self.counts = dict(state.get("counts", same))
