"""Convolutions over any number of spatial axes.

Three operations are each other's derivatives, so that all orders and stacks of cotangents take the
same fast path: the convolution, its transpose (the gradient of the input) and the correlation of
input with output (the gradient of the weight). Each unfolds blocks of samples into a buffer that
stays in cache, and multiplies matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tracer import Operation, Outer, Summed, operation, samples_first
from tracer.errors import ShapeError
from tracer.operation import POOLED, UNKNOWN
from tracer_layers.rules import data_axis
from tracer_layers.windows import BLOCK_BYTES, Unfold, Windows, windows


def geometry(node: Any) -> Windows:
    """The windows of a recorded convolution."""
    x, weight = node.inputs[:2]
    return _windows(x.shape, weight.shape, node.params)


def _windows(x: tuple[int, ...], weight: tuple[int, ...], p: dict[str, Any]) -> Windows:
    rank = len(weight) - 2 if "stride" not in p else len(p["stride"])
    return windows(x[-rank:], weight[-rank:], p["stride"], p["padding"], p["dilation"])


def _blocks(samples: int, bytes_per_sample: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // max(1, bytes_per_sample))
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


def _columns(x: Any, w: Windows, groups: int) -> Any:
    """`[..., N, C, *size]` as `[..., G, C/G * K, N * P]`: a column for each window."""
    *lead, samples, channels = x.shape[: x.ndim - w.rank]
    first = np.moveaxis(x, -w.rank - 1, -w.rank - 2)
    if not w.is_identity:
        padded = np.moveaxis(w.pad(x), -w.rank - 1, -w.rank - 2)
        first = np.empty_like(x, shape=(*lead, channels, *w.kernel, samples, *w.output))
        for place, seen in w.positions():
            every = (slice(None),) * (w.rank + 1)
            first[(..., *place, *every)] = padded[(..., *seen)]
    return first.reshape(*lead, groups, -1, samples * math.prod(w.output))


def _added(columns: Any, w: Windows, channels: int, samples: int) -> Any:
    """The transpose of `_columns`: `[..., G, C/G * K, N * P]` as `[..., N, C, *size]`."""
    lead = columns.shape[:-3]
    split = columns.reshape(*lead, channels, *w.kernel, samples, *w.output)
    if w.is_identity:
        first = split.reshape(*lead, channels, samples, *w.size)
    else:
        first = np.zeros_like(columns, shape=(*lead, channels, samples, *w.padded))
        for place, seen in w.positions():
            every = (slice(None),) * (w.rank + 1)
            first[(..., *seen)] += split[(..., *place, *every)]
        first = first[(..., *w.interior)]
    return np.moveaxis(first, -w.rank - 2, -w.rank - 1)


def _matrices(weight: Any, rank: int, groups: int) -> Any:
    """`[..., O, C/G, *kernel]` as `[..., G, O/G, C/G * K]`."""
    *lead, outputs, _ = weight.shape[: weight.ndim - rank]
    return weight.reshape(*lead, groups, outputs // groups, -1)


def _channels_first(y: Any, rank: int, groups: int) -> Any:
    """`[..., N, O, *output]` as `[..., G, O/G, N * P]`."""
    *lead, samples, outputs = y.shape[: y.ndim - rank]
    windows_in_all = samples * math.prod(y.shape[y.ndim - rank :])
    moved = np.moveaxis(y, -rank - 1, -rank - 2)
    return moved.reshape(*lead, groups, outputs // groups, windows_in_all)


def _samples_of(x: Any, rank: int, block: slice) -> Any:
    return x[(..., block, *(slice(None),) * (rank + 1))]


def _lead(*shapes_and_ranks: tuple[tuple[int, ...], int]) -> tuple[int, ...]:
    """The leading axes, broadcast, of shapes whose last `rank` axes are the operation's own."""
    return np.broadcast_shapes(*(shape[: len(shape) - own] for shape, own in shapes_and_ranks))


def _batch_axis(node, axes):
    """The samples' axis, which stands before channels and spatial axes; others are mixed."""
    axis, rank = data_axis(axes), node.rank
    return POOLED if isinstance(axis, int) and axis > rank else axis


@operation("convolution")
class Convolution(Operation):
    """`x [N, C, *size]` with `weight [O, C/groups, *kernel]`, and `bias [O]` added if given.

    `stride` and `dilation` have an int for each spatial axis, `padding` a pair (before, after).
    Further leading axes of `x` and `weight` are broadcast.
    """

    saves = ("inputs",)
    linear_in = (0, 1, 2)
    broadcasts = True

    def forward(x, weight, bias=None, *, stride, padding, dilation, groups):
        rank = len(stride)
        _check(x, weight, rank, groups)
        w = windows(x.shape[-rank:], weight.shape[-rank:], stride, padding, dilation)
        merged = weight.ndim == rank + 2 and x.ndim > rank + 2
        data = x.reshape(-1, *x.shape[-rank - 1 :]) if merged else x
        matrices = _matrices(weight, rank, groups)
        lead = _lead((data.shape, rank + 2), (weight.shape, rank + 2))
        samples, outputs = data.shape[-rank - 2], weight.shape[-rank - 2]
        dtype = np.result_type(x.dtype, weight.dtype)
        out = np.empty_like(x, shape=(*lead, samples, outputs, *w.output), dtype=dtype)
        for block in _blocks(samples, _column_bytes(data, w)):
            columns = _columns(_samples_of(data, rank, block), w, groups)
            product = matrices @ columns
            shaped = product.reshape(*lead, outputs, block.stop - block.start, *w.output)
            _samples_of(out, rank, block)[...] = np.moveaxis(shaped, -rank - 1, -rank - 2)
        if bias is not None:
            out += bias.reshape(-1, *(1,) * rank)
        return out.reshape(*x.shape[: -rank - 1], outputs, *w.output) if merged else out

    def vjp(node, g):
        x, weight, *_ = node.inputs
        w, groups = geometry(node), node.params["groups"]
        return (
            lambda: ConvolutionTranspose(g, weight, windows=w, groups=groups),
            lambda: ConvolutionWeight(x, g, windows=w, groups=groups),
            lambda: _channel_sums(g, w.rank),
        )[: len(node.inputs)]

    def batch_axis(node, axes):
        return _sample_axis(node, axes, len(node.params["stride"]))

    def parameter_cotangent(node, slot, g):
        w, groups = geometry(node), node.params["groups"]
        x, weight = node.inputs[:2]
        if x.ndim != w.rank + 2:
            return None
        samples, outputs, count = x.shape[0], g.shape[2], math.prod(w.output)
        right = np.reshape(g, (len(g), samples, groups, outputs // groups, count))
        right = np.transpose(right, (0, 1, 4, 2, 3))
        if slot == 2:
            return Summed(np.reshape(right, (len(g), samples, count, outputs)))

        def left():
            seen = np.reshape(Unfold(x, windows=w), (samples, groups, -1, count))
            return np.transpose(seen, (0, 3, 1, 2))

        return Outer(left, right, weight.shape)

    def flops(node):
        return 2 * math.prod(node.shape) * math.prod(node.inputs[1].shape[1:])

    def examples(rng):
        return [((x, k, b), _options(p)) for x, k, b, p in _cases(rng)] + [
            ((x, k), _options(p)) for x, k, _, p in _cases(rng)
        ]
