"""ONNX's shapes, indices, and arrays that are made; sizes and axes may be arrays there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.extend import Tensor, TensorLike, raw
from tracer_import.operators import (
    creation,
    indexing,
    shapes,
)
from tracer_import.operators.context import Operand
from tracer_import.operators.onnx.sizes import ints
from tracer_import.operators.table import operator
from tracer_layers import functional


@operator("onnx.Reshape")
def reshape(x: TensorLike, shape: TensorLike, allowzero: int = 0) -> TensorLike:
    """Another shape; 0 keeps a size."""
    wanted = ints(shape) or ()
    if not allowzero:
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    return np.reshape(x, wanted)


@operator("onnx.Flatten")
def flatten(x: TensorLike, axis: int = 1) -> TensorLike:
    """Two axes: those before, and the rest."""
    lead = x.shape[: axis % x.ndim if axis else 0]
    return np.reshape(x, (int(np.prod(lead, dtype=int)), -1))


@operator("onnx.Transpose")
def transpose(x: TensorLike, perm: Sequence[int] | None = None) -> TensorLike:
    """The axes in another order."""
    return np.transpose(x, perm)


@operator("onnx.Squeeze")
def squeeze(x: TensorLike, axes: Operand = None) -> TensorLike:
    """Without axes of size 1."""
    return shapes.squeeze(x, ints(axes))


@operator("onnx.Unsqueeze")
def unsqueeze(x: TensorLike, axes: Operand) -> TensorLike:
    """With other axes, of size 1."""
    return np.expand_dims(x, ints(axes) or ())


@operator("onnx.Concat")
def concat(*arrays: TensorLike, axis: int) -> TensorLike:
    """One after another."""
    return shapes.cat(arrays, axis)


@operator("onnx.Split")
def split(
    x: TensorLike, split: Operand = None, axis: int = 0, num_outputs: int | None = None
) -> tuple[TensorLike, ...]:
    """Parts of the sizes given, or so many of one size."""
    parts = ints(split)
    if parts is not None:
        return shapes.split_with_sizes(x, parts, axis)
    if num_outputs is None:
        raise ValueError("a split that does not say into how many parts")
    return shapes.split(x, -(-x.shape[axis] // num_outputs), axis)


@operator("onnx.Slice")
def slice_(
    x: TensorLike, starts: Operand, ends: Operand, axes: Operand = None, steps: Operand = None
) -> TensorLike:
    """A part of each of some axes."""
    first, last = ints(starts) or (), ints(ends) or ()
    along = ints(axes) or tuple(range(len(first)))
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, ints(steps) or (1,) * len(first),
                                      strict=True):  # fmt: skip
        beyond = end <= -x.shape[axis] - 1 and step < 0
        index[axis] = slice(start, None if beyond else end, step)
    return x[tuple(index)]


@operator("onnx.Gather")
def gather(x: TensorLike, indices: TensorLike, axis: int = 0) -> TensorLike:
    """Entries of an axis; rows of a table."""
    if axis == 0 and x.ndim == 2 and isinstance(x, Tensor):
        return indexing.rows_of(x, indices)
    return indexing.index(x, (None,) * (axis % x.ndim) + (indices,))


@operator("onnx.GatherElements")
def gather_elements(x: TensorLike, indices: TensorLike, axis: int = 0) -> TensorLike:
    """Elements along an axis."""
    return indexing.gather(x, axis, indices)


@operator("onnx.GatherND")
def gather_nd(x: TensorLike, indices: TensorLike, batch_dims: int = 0) -> TensorLike:
    """Elements by their whole places."""
    if batch_dims:
        raise ValueError("places within each sample are not there")
    places = raw(indices)
    return x[tuple(places[..., i] for i in range(places.shape[-1]))]


@operator("onnx.ScatterND")
def scatter_nd(
    x: TensorLike, indices: TensorLike, updates: TensorLike, reduction: str = "none"
) -> TensorLike:
    """Other elements at whole places."""
    places = raw(indices)
    where = tuple(places[..., i] for i in range(places.shape[-1]))
    if reduction not in ("none", "add"):
        raise ValueError(f"a scatter that takes the {reduction} is not there")
    return indexing.index_put(x, where, updates, reduction == "add")


@operator("onnx.ScatterElements")
def scatter_elements(
    x: TensorLike,
    indices: TensorLike,
    updates: TensorLike,
    axis: int = 0,
    reduction: str = "none",
) -> TensorLike:
    """Other elements along an axis."""
    if reduction == "add":
        return indexing.scatter_add(x, axis, indices, updates)
    if reduction != "none":
        raise ValueError(f"a scatter that takes the {reduction} is not there")
    return indexing.scatter(x, axis, indices, updates)


@operator("onnx.Expand")
def expand(x: TensorLike, shape: TensorLike) -> TensorLike:
    """Repeated to a shape, with which it is broadcast."""
    wanted = np.broadcast_shapes(x.shape, ints(shape) or ())
    return x if wanted == x.shape else np.broadcast_to(x, wanted)


@operator("onnx.Tile")
def tile(x: TensorLike, repeats: TensorLike) -> TensorLike:
    """The whole several times."""
    return np.tile(x, ints(repeats) or ())


@operator("onnx.Pad")
def pad(
    x: TensorLike, pads: Operand, constant_value: Operand = None, axes: Operand = None,
    mode: str = "constant",
) -> TensorLike:  # fmt: skip
    """With a border."""
    given = ints(pads) or ()
    along = ints(axes) or tuple(range(len(given) // 2))
    pairs = [(0, 0)] * x.ndim
    for i, axis in enumerate(along):
        pairs[axis] = (given[i], given[len(along) + i])
    while pairs and mode != "constant" and pairs[0] == (0, 0):
        pairs = pairs[1:]
    flat = tuple(n for pair in reversed(pairs) for n in pair)
    if mode == "constant":
        value = 0 if constant_value is None else raw(constant_value)
        return shapes.constant_pad(x, flat, value)
    modes = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    return functional.pad(x, flat, modes[mode])


@operator("onnx.Shape")
def shape_of(x: TensorLike, start: int = 0, end: int | None = None) -> Any:
    """The sizes."""
    return np.array(x.shape[start:end], np.int64)


@operator("onnx.Size")
def size_of(x: TensorLike) -> Any:
    """How many elements there are."""
    return np.array(x.size, np.int64)


@operator("onnx.Trilu")
def trilu(x: TensorLike, k: TensorLike | None = None, upper: int = 1) -> TensorLike:
    """One triangle."""
    return (np.triu if upper else np.tril)(x, 0 if k is None else int(raw(k)))


@operator("onnx.Einsum")
def einsum(*arrays: TensorLike, equation: str) -> TensorLike:
    """Products summed over letters."""
    return np.einsum(equation.replace(" ", ""), *arrays)


@operator("onnx.Constant")
def constant(**given: Any) -> Any:
    """An array that the program holds."""
    ((name, value),) = given.items()
    if name == "value":
        return value.array
    return np.array(value, np.float32 if "float" in name else np.int64)


@operator("onnx.ConstantOfShape")
def constant_of_shape(shape: TensorLike, value: Operand = None) -> Any:
    """One value in a shape."""
    filled = np.zeros(1, np.float32) if value is None else value.array
    return creation.full(ints(shape) or (), filled.reshape(-1)[0], filled.dtype)


@operator("onnx.Range")
def numbers(start: TensorLike, limit: TensorLike, delta: TensorLike) -> Any:
    """Numbers in steps."""
    return creation.arange(*(raw(x).item() for x in (start, limit, delta)), dtype=start.dtype)


@operator("onnx.Cast")
def cast(x: TensorLike, to: int, saturate: int = 1, round_mode: str = "up") -> TensorLike:
    """In another dtype, by ONNX's number of it."""
    return x.astype(DTYPES[to])


@operator("onnx.CastLike")
def cast_like(x: TensorLike, target: TensorLike, saturate: int = 1) -> TensorLike:
    """In the dtype of another array."""
    return x.astype(target.dtype)


#: ONNX's numbers of dtypes; bfloat16 becomes float32
DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64,
    9: np.bool_, 10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64, 16: np.float32,
}  # fmt: skip
