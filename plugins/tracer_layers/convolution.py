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

from tracer import Operation, Outer, Reindexed, Summed, operation
from tracer.errors import ShapeError
from tracer.operation import POOLED, UNKNOWN
from tracer.operations.indexing import Embed
from tracer_layers.rules import axes_of, data_axis
from tracer_layers.windows import BLOCK_BYTES, Unfold, Windows, windows


def _blocks(samples: int, bytes_per_sample: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // max(1, bytes_per_sample))
    for start in range(0, max(1, samples), step):
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
    inputs = channels // groups * math.prod(w.kernel)
    return first.reshape(*lead, groups, inputs, samples * math.prod(w.output))


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


def _column_bytes(x: Any, w: Windows) -> int:
    """Bytes of the columns of one sample."""
    elements = x.size // max(1, x.shape[-w.rank - 2] * math.prod(w.size)) * math.prod(w.output)
    return elements * math.prod(w.kernel) * x.dtype.itemsize


def _samples(x: Any, rank: int, block: slice) -> Any:
    return x[(..., block, *(slice(None),) * (rank + 1))]


def _lead(x: Any, y: Any, own: int) -> tuple[int, ...]:
    """The leading axes, broadcast, of two arrays whose last `own` axes are the operation's."""
    return np.broadcast_shapes(x.shape[: x.ndim - own], y.shape[: y.ndim - own])


def _merged(x: Any, weight: Any, own: int) -> Any:
    """`x` with its leading axes joined to the samples, where one weight serves them all."""
    if weight.ndim > own or x.ndim == own:
        return x
    return x.reshape(math.prod(x.shape[: 1 - own]), *x.shape[1 - own :])


def _sample_axis(node: Any, axes: Any, rank: int) -> Any:
    """Samples stay before the channels; what lies in channels or in space is mixed."""
    axis = data_axis(axes)
    if axis is UNKNOWN:
        return UNKNOWN
    from_end = axis - len(node.input_shape(0))
    return POOLED if from_end > -rank - 2 else len(node.shape) + from_end


def _check(x: Any, channels: int, rank: int) -> None:
    if x.ndim < rank + 2 or x.shape[-rank - 1] != channels:
        raise ShapeError(
            f"expects inputs [N, {channels}, {axes_of(rank)}] for in_channels={channels}, got "
            f"{list(x.shape)}: move the channels to axis 1, or give the layer other in_channels "
            f"or groups"
        )


def _geometry(node: Any) -> Windows:
    """The windows of a recorded convolution."""
    (x, weight), p = node.inputs[:2], node.params
    rank = len(p["stride"])
    return windows(x.shape[-rank:], weight.shape[-rank:], p["stride"], p["padding"], p["dilation"])


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
        _check(x, weight.shape[-rank - 1] * groups, rank)
        w = windows(x.shape[-rank:], weight.shape[-rank:], stride, padding, dilation)
        lead, data = _lead(x, weight, rank + 2), _merged(x, weight, rank + 2)
        samples, outputs = data.shape[-rank - 2], weight.shape[-rank - 2]
        matrices = _matrices(weight, rank, groups)
        inner = _lead(data, weight, rank + 2)
        dtype = np.result_type(*(a.dtype for a in (x, weight, bias) if a is not None))
        out = np.empty_like(x, shape=(*inner, samples, outputs, *w.output), dtype=dtype)
        shift = 0 if bias is None else bias.reshape(-1, *(1,) * rank)
        for block in _blocks(samples, _column_bytes(data, w) + out.nbytes // max(1, samples)):
            columns = _columns(_samples(data, rank, block), w, groups)
            product = matrices @ columns
            shaped = product.reshape(*inner, outputs, block.stop - block.start, *w.output)
            moved = np.moveaxis(shaped, -rank - 1, -rank - 2)
            np.add(moved, shift, out=_samples(out, rank, block))
        return out.reshape(*lead, x.shape[-rank - 2], outputs, *w.output)

    def vjp(node, g):
        x, weight, *_ = node.inputs
        w, groups = _geometry(node), node.params["groups"]
        return (
            lambda: ConvolutionTranspose(g, weight, windows=w, groups=groups),
            lambda: ConvolutionWeight(x, g, windows=w, groups=groups),
            lambda: _channel_sums(g, w.rank),
        )[: len(node.inputs)]

    def batch_axis(node, axes):
        return _sample_axis(node, axes, len(node.params["stride"]))

    def parameter_cotangent(node, slot, g):
        w, groups = _geometry(node), node.params["groups"]
        x, weight = node.inputs[:2]
        if x.ndim != w.rank + 2:
            return None
        samples, outputs, count = x.shape[0], g.shape[2], math.prod(w.output)
        right = np.reshape(g, (len(g), samples, groups, outputs // groups, count))
        right = np.transpose(right, (0, 1, 4, 2, 3))
        if slot == 2:
            return Summed(np.reshape(right, (len(g), samples, count, outputs)))

        def left(chosen):
            seen = Unfold(x[chosen], windows=w)
            seen = np.reshape(seen, (len(seen), groups, -1, count))
            return np.transpose(seen, (0, 3, 1, 2))

        return Outer(left, right, weight.shape)

    def flops(node):
        return 2 * math.prod(node.shape) * math.prod(node.inputs[1].shape[1:])

    def examples(rng):
        cases = []
        for w, groups, x, weight, _ in _cases(rng):
            params = {
                "stride": w.stride,
                "padding": w.padding,
                "dilation": w.dilation,
                "groups": groups,
            }
            cases.append(((x, weight, rng.random(len(weight))), params))
            cases.append(((x, weight), params))
        return cases


@operation("convolution_transpose")
class ConvolutionTranspose(Operation):
    """The transpose of the convolution by its input: `y [N, O, *output]` to `[N, C, *size]`.

    The weight is `[O, C/groups, *kernel]`; `bias [C]` is added if given.
    """

    saves = ("inputs",)
    linear_in = (0, 1, 2)
    broadcasts = True

    def forward(y, weight, bias=None, *, windows, groups):
        w = windows
        _check(y, weight.shape[-w.rank - 2], w.rank)
        lead, data = _lead(y, weight, w.rank + 2), _merged(y, weight, w.rank + 2)
        samples, channels = data.shape[-w.rank - 2], weight.shape[-w.rank - 1] * groups
        matrices = np.swapaxes(_matrices(weight, w.rank, groups), -1, -2)
        inner = _lead(data, weight, w.rank + 2)
        dtype = np.result_type(y.dtype, weight.dtype)
        out = np.empty_like(y, shape=(*inner, samples, channels, *w.size), dtype=dtype)
        for block in _blocks(samples, _column_bytes(out, w)):
            part = _channels_first(_samples(data, w.rank, block), w.rank, groups)
            added = _added(matrices @ part, w, channels, block.stop - block.start)
            _samples(out, w.rank, block)[...] = added
        out = out.reshape(*lead, y.shape[-w.rank - 2], channels, *w.size)
        return out if bias is None else out + bias.reshape(-1, *(1,) * w.rank)

    def vjp(node, g):
        y, weight, *_ = node.inputs
        w, groups = node.params["windows"], node.params["groups"]
        return (
            lambda: Convolution(
                g, weight, stride=w.stride, padding=w.padding, dilation=w.dilation, groups=groups
            ),
            lambda: ConvolutionWeight(g, y, windows=w, groups=groups),
            lambda: _channel_sums(g, w.rank),
        )[: len(node.inputs)]

    def batch_axis(node, axes):
        return _sample_axis(node, axes, node.params["windows"].rank)

    def parameter_cotangent(node, slot, g):
        """As of a convolution at every position of the output, with the weight's axes swapped."""
        w, groups = node.params["windows"], node.params["groups"]
        y, weight = node.inputs[:2]
        if y.ndim != w.rank + 2:
            return None
        samples, inputs, channels = *y.shape[:2], g.shape[2]
        count = math.prod(w.size)
        right = np.reshape(g, (len(g), samples, groups, channels // groups, count))
        right = np.transpose(right, (0, 1, 4, 2, 3))
        if slot == 2:
            return Summed(np.reshape(right, (len(g), samples, count, channels)))

        def left(chosen):
            seen = _spread(y[chosen], w)
            seen = np.reshape(seen, (len(seen), groups, -1, count))
            return np.transpose(seen, (0, 3, 1, 2))

        shape = (groups, inputs // groups, channels // groups, *w.kernel)
        swapped = (shape[0], shape[2], shape[1], *w.kernel)
        return Reindexed(
            Outer(left, right, swapped),
            weight.shape,
            pull=lambda stack: np.reshape(
                np.swapaxes(np.reshape(stack, (-1, *swapped)), 2, 3), (-1, *weight.shape)
            ),
            push=lambda direction: np.swapaxes(np.reshape(direction, shape), 1, 2),
            key=("swapped", groups),
        )

    def flops(node):
        weight = node.inputs[1]
        return 2 * math.prod(node.input_shape(0)) * math.prod(weight.shape[1:])

    def examples(rng):
        cases = []
        for w, groups, x, weight, y in _cases(rng):
            params = {"windows": w, "groups": groups}
            cases += [((y, weight), params), ((y, weight, rng.random(x.shape[1])), params)]
        return cases


def _spread(y: Any, w: Windows) -> Any:
    """`[N, O, *output]` to `[N, O, *kernel, *size]`: what each element of the kernel adds where.

    It is what windows of stride 1 see of the elements of `y`, set apart by the stride.
    """
    reach = [d * (k - 1) for d, k in zip(w.dilation, w.kernel, strict=True)]
    apart = [
        slice(r, r + (n - 1) * s + 1, s) for r, n, s in zip(reach, w.output, w.stride, strict=True)
    ]
    size = tuple(r + n for r, n in zip(reach, w.padded, strict=True))
    set_apart = Embed(y, indices=((slice(None), *apart),), shape=(y.shape[1], *size))
    ones, none = (1,) * w.rank, ((0, 0),) * w.rank
    seen = Unfold(set_apart, windows=windows(size, w.kernel, ones, none, w.dilation))
    return np.flip(seen, tuple(range(2, 2 + w.rank)))[(..., *w.interior)]


@operation("convolution_weight")
class ConvolutionWeight(Operation):
    """The transpose of the convolution by its weight: `x [N, C, *size]`, `y [N, O, *output]`."""

    saves = ("inputs",)
    linear_in = (0, 1)
    broadcasts = True

    def forward(x, y, *, windows, groups):
        w = windows
        lead = _lead(x, y, w.rank + 2)
        outputs, inputs = y.shape[-w.rank - 1], x.shape[-w.rank - 1] // groups
        total = None
        for block in _blocks(x.shape[-w.rank - 2], _column_bytes(x, w)):
            columns = _columns(_samples(x, w.rank, block), w, groups)
            part = _channels_first(_samples(y, w.rank, block), w.rank, groups)
            product = part @ np.swapaxes(columns, -1, -2)
            total = product if total is None else np.add(total, product, out=total)
        return total.reshape(*lead, outputs, inputs, *w.kernel)

    def vjp(node, g):
        (x, y), w = node.inputs, node.params["windows"]
        groups = node.params["groups"]
        return (
            lambda: ConvolutionTranspose(y, g, windows=w, groups=groups),
            lambda: Convolution(
                x, g, stride=w.stride, padding=w.padding, dilation=w.dilation, groups=groups
            ),
        )

    def batch_axis(node, axes):
        return POOLED

    def examples(rng):
        return [((x, y), {"windows": w, "groups": groups}) for w, groups, x, _, y in _cases(rng)]


def _channel_sums(g: Any, rank: int) -> Any:
    """`[V, ..., N, O, *output]` summed to `[V, O]`."""
    channels = g.ndim - rank - 1
    return np.sum(g, axis=tuple(i for i in range(1, g.ndim) if i != channels))


def _cases(rng: Any) -> list[Any]:
    """Windows, groups, input, weight and output of small convolutions."""
    every = [
        (windows((5, 4), (3, 2), (2, 1), ((1, 0), (1, 1)), (1, 2)), 1, 2, 3),
        (windows((4,), (2,), (1,), ((0, 0),), (1,)), 2, 4, 2),
        (windows((2, 2), (1, 1), (1, 1), ((0, 0),) * 2, (1, 1)), 1, 2, 3),
        (windows((6,), (2,), (2,), ((1, -1),), (2,)), 2, 2, 2),
    ]
    return [
        (
            w,
            groups,
            rng.random((2, channels, *w.size)),
            rng.random((outputs, channels // groups, *w.kernel)),
            rng.random((2, outputs, *w.output)),
        )
        for w, groups, channels, outputs in every
    ]
