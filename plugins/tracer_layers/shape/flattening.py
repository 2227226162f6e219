"""`Flatten` and `Unflatten`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracer.errors import ShapeError, TracerError
from tracer.extend import TensorLike, integer
from tracer_layers.module.module import Module

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim`, both included, into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: TensorLike) -> TensorLike:
        shape = input.shape
        rank = len(shape)
        start, end = _axis("Flatten", self.start_dim, rank), _axis("Flatten", self.end_dim, rank)
        if start > end:
            raise ShapeError(
                f"Flatten(start_dim={self.start_dim}, end_dim={self.end_dim}) expects start_dim "
                f"before end_dim, got an input {list(shape)}: give an input with more axes"
            )
        joined = math.prod(shape[start : end + 1])
        return input.reshape(*shape[:start], joined, *shape[end + 1 :])

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits the axis `dim` into axes of `unflattened_size`, of which one may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        several = isinstance(unflattened_size, list | tuple)
        if not isinstance(dim, int) or not several or not all(map(_is_int, unflattened_size)):
            raise TracerError(
                f"Unflatten expects an axis and sizes as ints, since axes have no names here, got "
                f"dim={dim!r}, unflattened_size={unflattened_size!r}"
            )
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: TensorLike) -> TensorLike:
        shape = input.shape
        axis = _axis("Unflatten", self.dim, input.ndim)
        known = math.prod(s for s in self.unflattened_size if s != -1)
        sizes = tuple(shape[axis] // known if s == -1 else s for s in self.unflattened_size)
        if math.prod(sizes) != shape[axis]:
            raise ShapeError(
                f"Unflatten(dim={self.dim}, unflattened_size={self.unflattened_size}) expects an "
                f"axis of {known} elements, or a multiple where -1 is given, got an input "
                f"{list(shape)} with {shape[axis]}: change the sizes"
            )
        return input.reshape(*shape[:axis], *sizes, *shape[axis + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def _axis(layer: str, dim: int, rank: int) -> int:
    if type(dim) is not int:
        dim = integer(dim, f"dim of {layer}")
    if not -rank <= dim < rank:
        raise ShapeError(
            f"{layer} got an input with {rank} axes, which has no axis {dim}: give it more axes, "
            f"or another dim"
        )
    return dim % rank
