"""Parts of a batch that are as long as each other, up to one sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tracer.errors import ShapeError
from tracer.extend import raw
from tracer_scale.shards import Batch
from tracer_training.kinds import Value


@dataclass(frozen=True)
class Cut:
    """Part i of a batch of arrays."""

    batch: Batch
    parts: int

    def __call__(self, index: int) -> Batch:
        samples = len(self.batch[-1])
        start, stop = (samples * i // self.parts for i in (index, index + 1))
        return tuple(array[start:stop] for array in self.batch)


def cut(value: Value, start: int, stop: int, samples: int) -> Value:
    """Some samples of inputs or targets: arrays, or containers of arrays, with samples first.

    Lists that are as long as the batch are of samples. Raises `ShapeError` for what has others.
    """
    if isinstance(value, Mapping):
        return {key: cut(each, start, stop, samples) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(cut(each, start, stop, samples) for each in value)
    if isinstance(value, list):
        if len(value) == samples:
            return value[start:stop]
        return [cut(each, start, stop, samples) for each in value]
    shape = getattr(raw(value), "shape", None)
    if shape is None or shape[:1] == (samples,):
        return value if shape is None else value[start:stop]
    raise ShapeError(
        f"a batch that is divided has its samples along axis 0 of all arrays, and one of {samples} "
        f"samples has an array of shape {list(shape)}"
    )
