"""Values with arrays on a device, as what MPI sends and as bytes on the device.

An outline is the pickle of a value in which a number stands for each array of the device, with
their shapes and dtypes; the arrays lie one after the other in one array of bytes.
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer.extend import Array, Backend, Shape

#: arrays begin at multiples of so many bytes, as where a device reserves memory
ALIGNED = 256


@dataclass(frozen=True)
class Spot:
    """Where an array lies."""

    start: int
    shape: Shape
    dtype: np.dtype

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Outline:
    """A value without the arrays of a device; these take `size` bytes."""

    pickled: bytes
    spots: list[Spot]
    size: int


def outlined(value: object, library: Backend) -> tuple[Outline, Array]:
    """The outline of a value, and the bytes of its arrays of the library, `[size]` of uint8."""
    pickler = _Outlining(library)
    pickler.dump(value)
    spots: list[Spot] = []
    size = 0
    for array in pickler.arrays:
        spots.append(Spot(size, tuple(array.shape), array.dtype))
        size = -(-spots[-1].stop // ALIGNED) * ALIGNED
    buffer = library.namespace.empty(size, dtype=np.uint8)
    for array, spot in zip(pickler.arrays, spots, strict=True):
        if array.size:
            whole = library.namespace.asarray(array, order="C")
            buffer[spot.start : spot.stop] = whole.reshape(-1).view(np.uint8)
    return Outline(pickler.file.getvalue(), spots, size), buffer


def filled(outline: Outline, buffer: Array, library: Backend) -> Any:
    """The value again; its arrays are views of the buffer."""
    return _Filling(outline, buffer, library).load()


class _Outlining(pickle.Pickler):
    def __init__(self, library: Backend):
        self.file = io.BytesIO()
        super().__init__(self.file, pickle.HIGHEST_PROTOCOL)
        self.library = library
        self.arrays: list[Array] = []

    def persistent_id(self, value: Any) -> int | None:
        if not self.library.matches(type(value)):
            return None
        self.arrays.append(value)
        return len(self.arrays) - 1


class _Filling(pickle.Unpickler):
    def __init__(self, outline: Outline, buffer: Array, library: Backend):
        super().__init__(io.BytesIO(outline.pickled))
        self.outline, self.buffer, self.library = outline, buffer, library

    def persistent_load(self, number: int) -> Array:
        spot = self.outline.spots[number]
        if spot.stop == spot.start:
            return self.library.namespace.empty(spot.shape, dtype=spot.dtype)
        return self.buffer[spot.start : spot.stop].view(spot.dtype).reshape(spot.shape)
