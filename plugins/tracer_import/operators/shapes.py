"""Other shapes of the same elements, and arrays joined, split and repeated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.extend import TensorLike, raw
from tracer_import.operators.context import like, sizes
from tracer_import.operators.table import OPERATORS, operator
from tracer_layers import functional

Sizes = Sequence[int]


@operator("view.default", "reshape.default", "_unsafe_view.default", "view_copy.default")
def reshape(self: TensorLike, size: Sizes) -> TensorLike:
    """The elements in another shape."""
    return np.reshape(self, sizes(size))


@operator("view_as.default", "reshape_as.default", "tracer.reshape_as")
def reshape_as(self: TensorLike, other: TensorLike) -> TensorLike:
    """The elements in the shape of another array."""
    return np.reshape(self, other.shape)


@operator("flatten.using_ints")
def flatten(self: TensorLike, start_dim: int = 0, end_dim: int = -1) -> TensorLike:
    """Several axes as one."""
    if self.ndim == 0:
        return np.reshape(self, (1,))
    start, end = start_dim % self.ndim, end_dim % self.ndim
    return np.reshape(self, (*self.shape[:start], -1, *self.shape[end + 1 :]))


@operator("unflatten.int")
def unflatten(self: TensorLike, dim: int, sizes: Sizes) -> TensorLike:
    """One axis as several."""
    dim %= self.ndim
    return np.reshape(self, (*self.shape[:dim], *sizes, *self.shape[dim + 1 :]))


@operator("squeeze.default", "squeeze.dim", "squeeze.dims", "squeeze_copy.dim")
def squeeze(self: TensorLike, dim: int | Sizes | None = None) -> TensorLike:
    """Without axes of size 1."""
    if self.ndim == 0:
        return self
    axes = range(self.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    gone = {axis % self.ndim for axis in axes if self.shape[axis] == 1}
    kept = tuple(n for axis, n in enumerate(self.shape) if axis not in gone)
    return np.reshape(self, kept) if gone else self


@operator("unsqueeze.default", "unsqueeze_copy.default")
def unsqueeze(self: TensorLike, dim: int) -> TensorLike:
    """With another axis, of size 1."""
    return np.expand_dims(self, dim)


@operator("permute.default", "permute_copy.default")
def permute(self: TensorLike, dims: Sizes) -> TensorLike:
    """The axes in another order."""
    return np.transpose(self, tuple(dims))


@operator("transpose.int", "swapaxes.default", "swapdims.default")
def transpose(self: TensorLike, dim0: int, dim1: int) -> TensorLike:
    """Two axes exchanged."""
    return np.swapaxes(self, dim0, dim1) if self.ndim else self


@operator(
    *("t.default", "numpy_T.default", "mT.default", "mH.default"),
    *("matrix_H.default", "adjoint.default"),
)
def matrix_transpose(self: TensorLike) -> TensorLike:
    """The last two axes exchanged; programs are of real numbers, which are their conjugates."""
    return np.swapaxes(self, -1, -2) if self.ndim > 1 else self


@operator("movedim.int", "movedim.intlist", "moveaxis.int")
def movedim(self: Any, source: Any, destination: Any) -> TensorLike:
    """Axes moved elsewhere."""
    return np.moveaxis(self, source, destination)


@operator("expand.default", "expand_copy.default", "broadcast_to.default")
def expand(self: TensorLike, size: Sizes, implicit: bool = False) -> TensorLike:
    """Axes of size 1 repeated to a shape; -1 keeps a size."""
    size = sizes(size)
    lead = len(size) - self.ndim
    own = (*(1,) * lead, *self.shape)
    shape = tuple(n if n != -1 else old for n, old in zip(size, own, strict=True))
    return self if shape == self.shape else np.broadcast_to(self, shape)


@operator("expand_as.default")
def expand_as(self: TensorLike, other: TensorLike) -> TensorLike:
    """Repeated to the shape of another array."""
    return np.broadcast_to(self, other.shape)


@operator("broadcast_tensors.default")
def broadcast_tensors(tensors: Sequence[TensorLike]) -> tuple[TensorLike, ...]:
    """All in the shape that they have together."""
    shape = np.broadcast_shapes(*(x.shape for x in tensors))
    return tuple(np.broadcast_to(x, shape) for x in tensors)


@operator("repeat.default", "tile.default")
def repeat(self: TensorLike, repeats: Sizes = (), dims: Sizes = ()) -> TensorLike:
    """The whole array several times along each axis."""
    return np.tile(self, sizes(repeats or dims))


@operator("repeat_interleave.self_int")
def repeat_interleave(
    self: TensorLike, repeats: int, dim: int | None = None, output_size: int | None = None
) -> TensorLike:
    """Each element several times."""
    return np.repeat(self, repeats, axis=dim)


@operator("cat.default", "concat.default", "concatenate.default")
def cat(tensors: Sequence[TensorLike], dim: int = 0) -> TensorLike:
    """Arrays one after another along an axis."""
    full = [x for x in tensors if x.shape != (0,)] or list(tensors)[:1]
    return np.concatenate(full, axis=dim) if len(full) > 1 else full[0]


@operator("stack.default")
def stack(tensors: Sequence[TensorLike], dim: int = 0) -> TensorLike:
    """Arrays along a new axis."""
    return np.stack(list(tensors), axis=dim)


def _parts(self: TensorLike, counts: Sequence[int], dim: int) -> tuple[TensorLike, ...]:
    """Parts of these sizes along an axis."""
    lead, start, parts = (slice(None),) * (dim % self.ndim), 0, []
    for count in counts:
        parts.append(self[(*lead, slice(start, start + count))])
        start += count
    return tuple(parts)


@operator("split.Tensor")
def split(self: TensorLike, split_size: int, dim: int = 0) -> tuple[TensorLike, ...]:
    """Parts of one size, the last of what is left."""
    size = self.shape[dim]
    return _parts(self, [min(split_size, size - i) for i in range(0, size, split_size)], dim)


@operator("split_with_sizes.default", "split.sizes", "split_with_sizes_copy.default")
def split_with_sizes(self: TensorLike, split_sizes: Sizes, dim: int = 0) -> tuple[TensorLike, ...]:
    """Parts of the sizes given."""
    return _parts(self, sizes(split_sizes), dim)


@operator("chunk.default")
def chunk(self: TensorLike, chunks: int, dim: int = 0) -> tuple[TensorLike, ...]:
    """So many parts of about one size."""
    return split(self, max(1, -(-self.shape[dim] // chunks)), dim)


@operator("tensor_split.sections")
def tensor_split(self: TensorLike, sections: int, dim: int = 0) -> tuple[TensorLike, ...]:
    """So many parts, the first ones one larger."""
    size, more = divmod(self.shape[dim], sections)
    return _parts(self, [size + (i < more) for i in range(sections)], dim)


@operator("tensor_split.indices")
def tensor_split_at(self: TensorLike, indices: Sizes, dim: int = 0) -> tuple[TensorLike, ...]:
    """Parts that begin at these places."""
    size = self.shape[dim]
    edges = [0, *(min(max(i + size if i < 0 else i, 0), size) for i in sizes(indices)), size]
    counts = [max(0, b - a) for a, b in itertools.pairwise(edges)]
    return _parts(self, counts, dim)


@operator("unbind.int")
def unbind(self: TensorLike, dim: int = 0) -> tuple[TensorLike, ...]:
    """All entries of an axis."""
    lead: tuple[Any, ...] = (slice(None),) * (dim % self.ndim)
    return tuple(self[(*lead, i)] for i in range(self.shape[dim]))


@operator("tracer.replace_part")
def replace_part(
    self: TensorLike, src: TensorLike, target: str, part: int, rest: Sequence[Any],
    keywords: Sequence[tuple[str, Any]],
) -> TensorLike:  # fmt: skip
    """`self` in which one of the parts that an operator splits it into is another array."""
    parts = list(OPERATORS[target].function(self, *rest, **dict(keywords)))
    parts[part] = src
    known = dict(keywords)
    one_entry = target == "aten.unbind.int"
    dim = known.get("dim", rest[0 if one_entry else 1] if len(rest) > (not one_entry) else 0)
    return (np.stack if one_entry else np.concatenate)(parts, axis=dim)


@operator("flip.default")
def flip(self: TensorLike, dims: Sizes) -> TensorLike:
    """Axes the other way round."""
    return np.flip(self, tuple(dims))


@operator("roll.default")
def roll(self: TensorLike, shifts: Any, dims: Any = ()) -> TensorLike:
    """Elements moved along axes, and around."""
    if isinstance(shifts, int):
        return np.roll(self, shifts, dims if isinstance(dims, int) else None)
    return np.roll(self, tuple(shifts), tuple(dims) or None)


@operator("rot90.default")
def rot90(self: Any, k: int = 1, dims: Any = (0, 1)) -> TensorLike:
    """Turned by right angles."""
    return np.rot90(self, k, tuple(dims))


@operator("diagonal.default", "diagonal_copy.default")
def diagonal(self: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> TensorLike:
    """The diagonal of two axes, as the last axis."""
    return np.diagonal(self, offset, dim1, dim2)


@operator("tril.default")
def tril(self: TensorLike, diagonal: int = 0) -> TensorLike:
    """The lower triangle of the last two axes, 0 above."""
    return np.tril(self, diagonal)


@operator("triu.default")
def triu(self: TensorLike, diagonal: int = 0) -> TensorLike:
    """The upper triangle of the last two axes, 0 below."""
    return np.triu(self, diagonal)


@operator("pixel_shuffle.default")
def pixel_shuffle(self: TensorLike, upscale_factor: int) -> TensorLike:
    """Channels as pixels between pixels."""
    return functional.pixel_shuffle(self, upscale_factor)


@operator("pixel_unshuffle.default")
def pixel_unshuffle(self: TensorLike, downscale_factor: int) -> TensorLike:
    """Pixels between pixels as channels."""
    return functional.pixel_unshuffle(self, downscale_factor)


@operator("channel_shuffle.default")
def channel_shuffle(self: TensorLike, groups: int) -> TensorLike:
    """The channels of groups in turn."""
    return functional.channel_shuffle(self, groups)


@operator("constant_pad_nd.default")
def constant_pad(self: TensorLike, pad: Sizes, value: Any = 0) -> TensorLike:
    """With a border of one value; of the last axes, each before and after. Negative ones cut."""
    pad = sizes(pad)
    pairs = [(0, 0)] * (self.ndim - len(pad) // 2)
    pairs += [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    cut = tuple(
        slice(max(0, -before), n - max(0, -after))
        for n, (before, after) in zip(self.shape, pairs, strict=True)
    )
    inside = self[cut] if any(min(pair) < 0 for pair in pairs) else self
    wider = [(max(0, before), max(0, after)) for before, after in pairs]
    if not any(map(any, wider)):
        return inside
    return np.pad(inside, wider, constant_values=value)


@operator("pad.default", "_pad_enum.default")
def pad(
    self: TensorLike, pad: Sizes, mode: str = "constant", value: float | None = None
) -> TensorLike:
    """With a border, by any of PyTorch's modes."""
    if mode == "constant":
        return constant_pad(self, pad, 0 if value is None else value)
    return functional.pad(self, sizes(pad), mode)


@operator("reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default")
def reflection_pad(self: TensorLike, padding: Sizes) -> TensorLike:
    """With a border that is reflected."""
    return functional.pad(self, sizes(padding), "reflect")


@operator("replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default")
def replication_pad(self: TensorLike, padding: Sizes) -> TensorLike:
    """With a border of the outermost elements."""
    return functional.pad(self, sizes(padding), "replicate")


@operator("unfold.default")
def windows(self: TensorLike, dimension: int, size: int, step: int) -> TensorLike:
    """Windows along an axis, each in a new last axis."""
    if self.ndim == 0:
        return np.reshape(self, (size,))
    axis = dimension % self.ndim
    count = (self.shape[axis] - size) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(size)
    taken = np.take(self, like(places, self), axis=axis)
    return np.moveaxis(taken, axis + 1, -1)


@operator("im2col.default")
def im2col(
    self: TensorLike, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> TensorLike:
    """Patches as columns."""
    return functional.unfold(self, *map(sizes, (kernel_size, dilation, padding, stride)))


@operator("col2im.default")
def col2im(
    self: TensorLike, output_size: Sizes, kernel_size: Sizes, dilation: Sizes, padding: Sizes,
    stride: Sizes,
) -> TensorLike:  # fmt: skip
    """Columns added up as patches."""
    given = map(sizes, (output_size, kernel_size, dilation, padding, stride))
    return functional.fold(self, *given)


@operator("meshgrid.default", "meshgrid.indexing")
def meshgrid(tensors: Sequence[TensorLike], indexing: str = "ij") -> tuple[TensorLike, ...]:
    """Coordinates along each axis, as grids."""
    rank = len(tensors)
    shape = tuple(x.size for x in tensors)
    grids = [
        np.broadcast_to(np.reshape(x, (*(1,) * i, -1, *(1,) * (rank - i - 1))), shape)
        for i, x in enumerate(tensors)
    ]
    return tuple(np.swapaxes(x, 0, 1) if indexing == "xy" and rank > 1 else x for x in grids)


@operator("atleast_1d.default")
def atleast_1d(self: TensorLike) -> TensorLike:
    """With at least one axis."""
    return np.reshape(self, (1,)) if self.ndim == 0 else self


@operator("sym_size.int", "size.int")
def sym_size(self: TensorLike, dim: int) -> int:
    """The size of an axis."""
    return int(raw(self).shape[dim])


@operator("sym_numel.default", "numel.default")
def numel(self: TensorLike) -> int:
    """How many elements there are."""
    return int(raw(self).size)
