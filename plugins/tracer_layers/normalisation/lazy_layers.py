"""Normalisation that finds out the number of channels of its inputs in its first call."""

from __future__ import annotations

from collections.abc import Mapping

from tracer.extend import TensorLike
from tracer_layers.module.lazy import Lazy, waiting
from tracer_layers.normalisation.layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
]


#: defaults of the lazy layers of PyTorch, which those of the others are not
TRACKED = {"affine": True, "track_running_stats": True}


class _LazyFeatures(Lazy):
    """What the layers of this file share: `num_features`, which every array has."""

    size = "num_features"

    def size_of_state(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        found = [shape[0] for shape in shapes.values() if len(shape) == 1]
        return found[0] if found else None


class _LazyBatchNorm(_LazyFeatures):
    def size_of_input(self, input: TensorLike) -> int:
        return input.shape[1]


class _LazyInstanceNorm(_LazyFeatures):
    rank: int

    def size_of_input(self, input: TensorLike) -> int:
        return input.shape[-self.rank - 1]


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """`BatchNorm1d` with the channels of its first input for `num_features`."""

    becomes = BatchNorm1d
    __init__ = waiting(BatchNorm1d, "num_features", "weight")


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """`BatchNorm2d` with the channels of its first input for `num_features`."""

    becomes = BatchNorm2d
    __init__ = waiting(BatchNorm2d, "num_features", "weight")


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """`BatchNorm3d` with the channels of its first input for `num_features`."""

    becomes = BatchNorm3d
    __init__ = waiting(BatchNorm3d, "num_features", "weight")


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """`InstanceNorm1d` with the channels of its first input for `num_features`."""

    becomes = InstanceNorm1d
    __init__ = waiting(InstanceNorm1d, "num_features", "weight", **TRACKED)


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """`InstanceNorm2d` with the channels of its first input for `num_features`."""

    becomes = InstanceNorm2d
    __init__ = waiting(InstanceNorm2d, "num_features", "weight", **TRACKED)


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """`InstanceNorm3d` with the channels of its first input for `num_features`."""

    becomes = InstanceNorm3d
    __init__ = waiting(InstanceNorm3d, "num_features", "weight", **TRACKED)
