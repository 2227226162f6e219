"""The arithmetic of convolutions: a convolution of arrays, and its transposes by both factors.

All multiply matrices of columns: what each window sees, unfolded for a block of samples into an
array that is used again. Blocks go to several threads. Elements of a kernel that see nothing but
padding, as eight of nine do in an input of one position, are left out: a ResNet-18 takes 104 ms for
64 images of 32 x 32, forward and backward, in place of 130. Results have their channels beside each
other in memory, as the products leave them, under the shape `[..., N, C, *size]`; whole windows are
then copied in rows of kernel and channels. Leading axes of both factors are broadcast.

Single-threaded, in float32, a convolution takes 1.05 to 1.2 times as long as its products (from 3
to 96 channels, kernels of 3 and 5), where channels first took 1.3 to 1.9 times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tracer.extend import (
    Array,
    DType,
    add_product,
    blocks,
    compiled,
    expect_blocks,
    in_parallel,
    one_thread,
    product,
    scratch,
    threads,
)
from tracer_layers.convolution.windows import Windows, unfolded, windows

#: bytes of the columns of a block of samples: two and a half times a core's second cache. From 32
#: to 64 channels with a kernel of 5, blocks of 0.6, 1.3, 2.5 and 5 MB take 20.6, 17.0, 16.5 and
#: 17.4 ms on 2 threads: what is lost in the cache is won from the interpreter
#: (`tracer.arrays.parallel`)
BLOCK_BYTES = 5 << 19


def convolve(
    x: Array,
    weight: Array,
    w: Windows,
    groups: int,
    dtype: DType | None = None,
    bias: Array | None = None,
) -> Array:
    """`x [..., N, C, *size]` with `weight [..., O, C/G, *kernel]` as `[..., N, O, *output]`."""
    expect_blocks()
    dtype = np.result_type(x.dtype, weight.dtype) if dtype is None else dtype
    data, out = _merged(x, weight, w.rank + 2), None
    if data.ndim == weight.ndim == w.rank + 2:
        out = compiled().convolve(data, weight, w, groups, bias)
    if out is None:
        taps, seen = w.visible
        matrices = _matrices(_grouped(weight[(..., *taps)], w.rank, groups), w.rank)
        out = _multiplied(data, matrices, seen, dtype, bias)
    lead = _lead(x, weight, w.rank + 2)
    return out.reshape(*lead, x.shape[-w.rank - 2], weight.shape[-w.rank - 2], *w.output)


def transpose(y: Array, weight: Array, w: Windows, groups: int) -> Array:
    """`y [..., N, O, *output]` with `weight [..., O, C/G, *kernel]` as `[..., N, C, *size]`."""
    expect_blocks()
    data, out = _merged(y, weight, w.rank + 2), None
    if data.ndim == weight.ndim == w.rank + 2:
        out = compiled().transpose(data, weight, w, groups)
    if out is None:
        taps, seen = w.visible
        out = _transposed(data, _grouped(weight[(..., *taps)], w.rank, groups), seen)
    lead = _lead(y, weight, w.rank + 2)
    return out.reshape(*lead, y.shape[-w.rank - 2], out.shape[-w.rank - 1], *w.size)


def correlate(x: Array, y: Array, w: Windows, groups: int) -> Array:
    """`x [..., N, C, *size]` with `y [..., N, O, *output]` as `[..., O, C/G, *kernel]`."""
    fast = _correlated_by_kernels(x, y, w, groups)
    if fast is not None:
        return fast
    taps, seen = w.visible
    if seen is not w:
        part = _correlated(x, y, seen, groups)
        whole = np.zeros_like(part, shape=(*part.shape[: part.ndim - w.rank], *w.kernel))
        whole[(..., *taps)] = part
        return whole
    return _correlated(x, y, w, groups)


def _correlated(x: Array, y: Array, w: Windows, groups: int) -> Array:
    """`correlate` by products of columns with rows, block by block."""
    every = _blocks(x, w)

    def part(some: list[slice]) -> Array:
        total = None
        for block in some:
            columns = _columns(_samples(x, w.rank, block), w, groups)
            rows = _rows(_samples(y, w.rank, block), w.rank, groups)
            columns = np.swapaxes(columns, -1, -2)
            if total is None:
                total = _times(columns, rows)
            else:
                _add_times(total, columns, rows)
        return total

    # a sum for each thread, and one more in case that they do not advance alike
    parts = min(len(every), 2 * threads())
    first, *others = in_parallel(part, [every[i::parts] for i in range(parts)], like=x)
    for other in others:
        first += other
    *lead, _, _, outputs = first.shape
    split = first.reshape(*lead, groups, *w.kernel, x.shape[-w.rank - 1] // groups, outputs)
    split = np.moveaxis(split, (-1, -2), (-w.rank - 2, -w.rank - 1))
    return split.reshape(*lead, groups * outputs, *split.shape[-w.rank - 1 :])


def _correlated_by_kernels(x: Array, y: Array, w: Windows, groups: int) -> Array | None:
    """`correlate` by compiled kernels, a call for each row of `y`; None if they do not take it."""
    own = w.rank + 2
    if not type(x) is type(y) is np.ndarray or x.ndim != own or y.size == 0:
        return None
    made = []
    for row in y.reshape(math.prod(y.shape[:-own]), *y.shape[-own:]):
        one = compiled().correlate(x, row, w, groups)
        if one is None:
            return None
        made.append(one)
    out = made[0] if len(made) == 1 else np.stack(made)
    return out.reshape(*y.shape[:-own], *made[0].shape)


def turned(array: Array, count: int) -> Array:
    """`[..., *a, *b]` as `[..., *b, *a]`, of `count` axes each."""
    first = array.ndim - 2 * count
    axes = range(first), range(first + count, array.ndim), range(first, first + count)
    return np.transpose(array, [axis for part in axes for axis in part])


# -- leading axes, samples and groups --------------------------------------------------------------


def _lead(x: Array, y: Array, own: int) -> tuple[int, ...]:
    """The leading axes, broadcast, of two arrays whose last `own` axes are the operation's."""
    return np.broadcast_shapes(x.shape[: x.ndim - own], y.shape[: y.ndim - own])


def _merged(x: Array, weight: Array, own: int) -> Array:
    """`x` with its leading axes joined to the samples, where one weight serves them all."""
    if weight.ndim > own or x.ndim == own:
        return x
    return x.reshape(math.prod(x.shape[: 1 - own]), *x.shape[1 - own :])


def _samples(x: Array, rank: int, block: slice) -> Array:
    return x[(..., block, *(slice(None),) * (rank + 1))]


def _blocks(x: Array, w: Windows) -> list[slice]:
    """Slices of the samples of `x [..., N, C, *size]` whose columns fit a block."""
    seen = x.size // max(1, math.prod(w.size)) * math.prod(w.output + w.kernel)
    return blocks(x.shape[-w.rank - 2], seen * x.dtype.itemsize, BLOCK_BYTES, like=x)


def _grouped(weight: Array, rank: int, groups: int) -> Array:
    """`[..., O, C/G, *kernel]` as `[..., G, O/G, C/G, *kernel]`."""
    *lead, outputs, _ = weight.shape[: weight.ndim - rank]
    return weight.reshape(*lead, groups, outputs // groups, *weight.shape[len(lead) + 1 :])


def _matrices(grouped: Array, rank: int) -> Array:
    """`[..., A, B, *kernel]` as `[..., K * B, A]`: columns of B channels are multiplied by it."""
    *lead, last, _ = grouped.shape[: grouped.ndim - rank]
    moved = np.moveaxis(grouped, (-rank - 1, -rank - 2), (-2, -1))
    return moved.reshape(*lead, math.prod(grouped.shape[len(lead) + 1 :]), last)


def _rows(y: Array, rank: int, groups: int) -> Array:
    """`[..., N, O, *output]` as `[..., G, N * P, O/G]`."""
    *lead, samples, outputs = y.shape[: y.ndim - rank]
    count = samples * math.prod(y.shape[y.ndim - rank :])
    rows = np.moveaxis(y, -rank - 1, -1).reshape(*lead, count, groups, outputs // groups)
    return np.moveaxis(rows, -2, -3)


# -- columns ---------------------------------------------------------------------------------------


def _times(a: Array, b: Array, out: Array | None = None) -> Array:
    """`np.matmul(a, b, out=out)`, of stacks of one matrix by `product`."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if math.prod(lead) != 1:
        return np.matmul(a, b, out=out)
    flat = product(_alone(a), _alone(b), None if out is None else _alone(out))
    return flat.reshape(*lead, *flat.shape)


def _add_times(total: Array, a: Array, b: Array) -> None:
    """`total += a @ b`, of stacks of one matrix by `add_product`."""
    if math.prod(total.shape[:-2]) != 1:
        total += a @ b
    else:
        add_product(_alone(total), _alone(a), _alone(b))


def _alone(stack: Array) -> Array:
    """The matrix of a stack of one."""
    return stack.reshape(stack.shape[-2:])


def _columns(x: Array, w: Windows, groups: int) -> Array:
    """`[..., N, C, *size]` as `[..., G, N * P, K * C/G]`: a row for each window."""
    *lead, samples, channels = x.shape[: x.ndim - w.rank]
    split = x.reshape(*lead, samples, groups, channels // groups, *w.size)
    split = np.moveaxis(split, -w.rank - 2, -w.rank - 3)
    if w.is_identity:
        seen = np.moveaxis(split, -w.rank - 1, -1)
    else:
        seen = unfolded(split, w, lambda name, shape: scratch(name, shape, x))
        seen = turned(seen, w.rank + 1)
    inputs = math.prod(w.kernel) * (channels // groups)
    return seen.reshape(*lead, groups, samples * math.prod(w.output), inputs)


def _added(columns: Array, w: Windows, samples: int, channels: int) -> Array:
    """The transpose of `_columns`: `[..., G, N * P, K * C/G]` as `[..., N, *size, C]`."""
    *lead, groups = columns.shape[:-2]
    each = channels // groups
    split = columns.reshape(*lead, groups, samples, *w.output, *w.kernel, each)
    out = np.zeros_like(columns, shape=(*lead, groups, samples, *w.padded, each), order="C")
    for place, seen in w.positions():
        out[(..., *seen, slice(None))] += split[(..., *place, slice(None))]
    out = np.moveaxis(out[(..., *w.interior, slice(None))], -w.rank - 3, -2)
    return out.reshape(*lead, samples, *w.size, channels)


def _multiplied(
    x: Array, matrices: Array, w: Windows, dtype: DType | None, bias: Array | None = None
) -> Array:
    """Columns of `x [..., N, C, *size]` times `matrices [..., G, K * C/G, O/G]`, plus a bias."""
    groups, _, outputs = matrices.shape[-3:]
    samples, count = x.shape[-w.rank - 2], math.prod(w.output)
    lead = np.broadcast_shapes(x.shape[: x.ndim - w.rank - 2], matrices.shape[:-3])
    shape = (*lead, samples * count, groups, outputs)
    memory = np.empty_like(x, shape=shape, dtype=dtype, order="C")
    rows = np.moveaxis(memory, -2, -3)

    def multiply(block: slice) -> None:
        part = rows[..., block.start * count : block.stop * count, :]
        _times(_columns(_samples(x, w.rank, block), w, groups), matrices, part)
        if bias is not None:
            np.add(part, bias.reshape(groups, 1, outputs), out=part)

    in_parallel(multiply, _blocks(x, w), like=x)
    out = memory.reshape(*lead, samples, *w.output, groups * outputs)
    return np.moveaxis(out, -1, -w.rank - 1)


# -- the transpose by the input --------------------------------------------------------------------


def _transposed(y: Array, grouped: Array, w: Windows) -> Array:
    """`y [..., N, O, *output]` with `grouped [..., G, O/G, C/G, *kernel]`, by what costs least."""
    plain = len(grouped) == 1 and grouped.ndim == w.rank + 3 and type(y) is np.ndarray
    if plain and len(y) >= threads():
        return _by_rows(y, grouped, w)
    if _gathering_pays(w, *grouped.shape[-w.rank - 2 : -w.rank]):
        return _gathered(y, grouped, w)
    return _scattered(y, grouped, w)


def _scattered(y: Array, grouped: Array, w: Windows) -> Array:
    """Columns are made of the outputs, and added up where they lie."""
    groups, _, channels = grouped.shape[-w.rank - 3 : -w.rank]
    matrices = np.swapaxes(_matrices(grouped, w.rank), -1, -2)
    lead = np.broadcast_shapes(y.shape[: y.ndim - w.rank - 2], matrices.shape[:-3])
    samples, channels = y.shape[-w.rank - 2], groups * channels
    dtype = np.result_type(y.dtype, grouped.dtype)
    shape = (*lead, samples, *w.size, channels)
    memory = np.empty_like(y, shape=shape, dtype=dtype, order="C")
    out = np.moveaxis(memory, -1, -w.rank - 1)
    every = (slice(None),) * (w.rank + 1)

    def add(block: slice) -> None:
        columns = _times(_rows(_samples(y, w.rank, block), w.rank, groups), matrices)
        memory[(..., block, *every)] = _added(columns, w, block.stop - block.start, channels)

    in_parallel(add, _blocks(out, w), like=y)
    return out


def _by_rows(y: Array, grouped: Array, w: Windows) -> Array:
    """As scattering, but what lies along the first axis is added up by the products themselves.

    That is for `[N, O, *output]` and one group. In a block, the first axis comes before the
    samples, so that what one element of the kernel's first axis reaches is a matrix. From 64 to 32
    channels with a kernel of 5, it takes 18.9 ms where gathering takes 22.8 and scattering 29.3;
    with a kernel of 3 from 96 to 64, 14.5, 20.0 and 18.0; from 192 to 192, 15.4, 17.8 and 19.6.
    """
    (first, *kernel), (stride, *_), (dilation, *_) = w.kernel, w.stride, w.dilation
    outputs, channels = grouped.shape[1:3]
    dtype = np.result_type(y.dtype, grouped.dtype)
    matrices = np.moveaxis(grouped[0], (2, 1), (0, -1)).astype(dtype, copy=False)
    matrices = matrices.reshape(first, outputs, -1)
    # positions that are the stride apart are beside each other: position p is [p % s, p // s]
    rows = -(-w.padded[0] // stride)
    memory = np.empty((len(y), *w.size, channels), dtype)

    def add(block: slice) -> None:
        some = np.moveaxis(y[block], (2, 1), (0, -1))
        values = scratch("values", some.shape, memory)
        values[...] = some
        values = values.reshape(-1, outputs)
        shape = (stride, rows, *some.shape[1:-1], *kernel, channels)
        columns = scratch("columns", shape, memory)
        columns[...] = 0
        for place in range(first):
            start, phase = divmod(place * dilation, stride)
            seen = columns[phase, start : start + w.output[0]]
            flat = seen.reshape(len(values), matrices.shape[-1])
            add_product(flat, values, matrices[place])
        shape = (stride, rows, some.shape[1], *w.padded[1:], channels)
        added = scratch("added", shape, memory)
        added[...] = 0
        each, every = (slice(None),) * 3, (slice(None),) * len(kernel)
        for place, seen in w.positions():
            if place[0] == 0:  # the others along the first axis are added up already
                added[(*each, *seen[1:])] += columns[(*each, *every, *place[1:])]
        found = np.moveaxis(added, 2, 0).swapaxes(1, 2)
        found = found.reshape(len(found), rows * stride, *found.shape[3:])
        memory[block] = found[(slice(None), *w.interior)]

    each = rows * stride * math.prod(w.output[1:]) * math.prod(kernel) * channels
    parts = blocks(len(y), len(y) * each * dtype.itemsize, BLOCK_BYTES, like=y)
    with one_thread():  # also if there is one block: see `product`
        in_parallel(add, parts, like=y)
    return np.moveaxis(memory, -1, 1)


class _Phase(NamedTuple):
    """Along one axis, the positions of an input that the same elements of the kernel reach.

    They are the stride apart. The first of `size` sees the outputs from number `first` on, each
    `step` from the next, and the last one those up to `last`; `taps` are the kernel's elements for
    these outputs.
    """

    positions: slice
    taps: tuple[int, ...]
    size: int
    first: int
    last: int
    step: int

    @property
    def slice_of_taps(self) -> slice:
        """The same elements as a slice, which goes down in equal steps."""
        step = self.taps[1] - self.taps[0] if len(self.taps) > 1 else -1
        return slice(self.taps[0], self.taps[-1] - 1 if self.taps[-1] else None, step)


def _phases(w: Windows, axis: int) -> Iterator[_Phase]:
    size, stride, before = w.size[axis], w.stride[axis], w.padding[axis][0]
    for start in range(min(stride, size)):
        distances = {k: start + before - w.dilation[axis] * k for k in range(w.kernel[axis])}
        seen = {d // stride: k for k, d in reversed(distances.items()) if d % stride == 0}
        outputs, taps = list(seen), tuple(seen.values())
        count = len(range(start, size, stride))
        if outputs and outputs[0] < w.output[axis]:
            step = outputs[1] - outputs[0] if len(outputs) > 1 else 1
            last = outputs[-1] + count - 1
            yield _Phase(slice(start, None, stride), taps, count, outputs[0], last, step)


@lru_cache(maxsize=4096)
def _all_phases(w: Windows) -> list[tuple[_Phase, ...]]:
    return list(itertools.product(*(_phases(w, axis) for axis in range(w.rank))))


def _gathering_pays(w: Windows, outputs: int, channels: int) -> bool:
    """Whether convolutions of the outputs take less time than columns that are added up.

    The former have columns of the outputs for all positions, the latter columns of the channels for
    all windows. Making an element of a column takes about as long as 10 products, adding it up as
    long as 25: from 64 outputs to 32 channels, with a kernel of 5, it is 38 to 60 ms, from 96 to 64
    with a kernel of 3, where positions are a third more than windows, 37 to 31 ms.
    """
    gathered = sum(
        math.prod(phase.size * len(phase.taps) for phase in phases) for phases in _all_phases(w)
    )
    scattered = math.prod(w.output) * math.prod(w.kernel)
    return gathered * outputs * (channels + 10) <= scattered * channels * (outputs + 25)


def _gathered(y: Array, grouped: Array, w: Windows) -> Array:
    """A convolution of the outputs for each phase of the positions."""
    swapped, parts = np.swapaxes(grouped, -w.rank - 2, -w.rank - 1), []
    dtype = np.result_type(y.dtype, grouped.dtype)
    for phases in _all_phases(w):
        starts = [max(phase.first, 0) for phase in phases]
        seen = y[(..., *(slice(start, None) for start in starts))]
        padding = tuple(
            (max(-phase.first, 0), phase.last - n + 1)
            for phase, n in zip(phases, w.output, strict=True)
        )
        kernel = swapped[(..., *(phase.slice_of_taps for phase in phases))]
        dilation = tuple(phase.step for phase in phases)
        sizes = seen.shape[seen.ndim - w.rank :], kernel.shape[kernel.ndim - w.rank :]
        inner = windows(*sizes, (1,) * w.rank, padding, dilation)
        parts.append(_multiplied(seen, _matrices(kernel, w.rank), inner, dtype))
    if math.prod(w.stride) == 1 and parts:
        return parts[0]
    groups, _, channels = grouped.shape[-w.rank - 3 : -w.rank]
    lead = np.broadcast_shapes(y.shape[: y.ndim - w.rank - 2], grouped.shape[: -w.rank - 3])
    shape = (*lead, y.shape[-w.rank - 2], *w.size, groups * channels)
    memory = np.zeros_like(y, shape=shape, dtype=dtype, order="C")
    out = np.moveaxis(memory, -1, -w.rank - 1)
    for phases, part in zip(_all_phases(w), parts, strict=True):
        out[(..., *(phase.positions for phase in phases))] = part
    return out
