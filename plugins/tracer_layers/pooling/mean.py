"""The mean of windows, over any number of spatial axes, and its transpose."""

from __future__ import annotations

import math

import numpy as np

from tracer import Operation, operation
from tracer.extend import Array, DType, backend, by_stacks, in_single
from tracer_layers.convolution.windows import Windows, windows
from tracer_layers.pooling.pooled import batch_axis_of, example_options, pooled_windows


@operation("avg_pool")
class MeanOfWindows(Operation):
    """The mean of each window over the last axes.

    It divides by `divisor_override`, else by the number of elements in the window, those of the
    padding among them if `count_include_pad`.
    """

    saves = ()
    linear = True
    batch_axis = batch_axis_of
    jvp = by_stacks

    @in_single
    def forward(
        x, *, kernel, stride, padding, ceil_mode, count_include_pad=True, divisor_override=None
    ):
        w = pooled_windows(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
        scale, kernels = _scale(x, w, count_include_pad, divisor_override), backend.kernels_for(x)
        if kernels is not None:
            return kernels.sum_of_windows(x, w) * scale
        padded, out = w.pad(x), None
        for _, seen in w.positions():
            part = padded[(..., *seen)]
            out = part.copy() if out is None else np.add(out, part, out=out)
        out *= scale
        return out

    def vjp(node, g):
        """g_x[v,...,i] = sum_p g[v,...,p] / divisor[p] over the windows p that hold i."""
        p = node.params
        size = node.input_shape(0)[-len(p["kernel"]) :]
        pairs = tuple((a, a) for a in p["padding"])
        w = windows(size, p["kernel"], p["stride"], pairs, (1,) * len(size), p["ceil_mode"])
        counting = {k: p[k] for k in ("count_include_pad", "divisor_override") if k in p}
        return (SpreadOverWindows(g, windows=w, **counting),)

    def examples(rng):
        cases = [{k: v for k, v in case.items() if k != "dilation"} for case in example_options()]
        cases += [
            cases[-1] | {"count_include_pad": False},
            cases[-1] | {"divisor_override": 3},
        ]
        return [((rng.random((2, 5, 4)),), params) for params in cases]


@operation("spread_over_windows")
class SpreadOverWindows(Operation):
    """The transpose of `avg_pool`: `[..., *output]` to `[..., *size]`."""

    saves = ()
    linear = True
    batch_axis = batch_axis_of
    jvp = by_stacks

    @in_single
    def forward(y, *, windows, count_include_pad=True, divisor_override=None):
        w = windows
        scaled = y * _scale(y, w, count_include_pad, divisor_override)
        kernels = backend.kernels_for(scaled)
        if kernels is not None:
            return kernels.spread_over_windows(scaled, w)
        out = np.zeros_like(y, shape=(*y.shape[: y.ndim - w.rank], *w.padded))
        for _, seen in w.positions():
            out[(..., *seen)] += scaled
        return out[(..., *w.interior)]

    def vjp(node, g):
        """g_y[v,...,p] = sum_i g[v,...,i] / divisor[p] over the i that window p holds."""
        w = node.params["windows"]
        params = {
            "kernel": w.kernel,
            "stride": w.stride,
            "padding": tuple(before for before, _ in w.padding),
            "ceil_mode": w.ceil_mode,
        }
        rest = {k: v for k, v in node.params.items() if k != "windows"}
        return (MeanOfWindows(g, **params, **rest),)

    def examples(rng):
        w = windows((5, 4), (3, 2), (2, 2), ((1, 1), (0, 0)), (1, 1), True)
        return [
            ((rng.random((2, *w.output)),), {"windows": w}),
            ((rng.random((2, *w.output)),), {"windows": w, "count_include_pad": False}),
        ]


def _scale(x: Array, w: Windows, include_padding: bool, divisor: int | None) -> Array | float:
    """One over the divisor of each window: a number, or an array `[*output]`."""
    if divisor is not None:
        return 1 / divisor
    if w.is_whole:
        return 1 / math.prod(w.kernel)
    return backend.of(x).constant(_reciprocals, w, include_padding, x.dtype)


def _reciprocals(w: Windows, include_padding: bool, dtype: DType) -> np.ndarray:
    return (1 / _counts(w, include_padding)).astype(dtype)


def _counts(w: Windows, include_padding: bool) -> np.ndarray:
    """`[*output]`: how many elements of the input, or of it and its padding, a window holds."""
    counts = np.ones(())
    for axis, count in enumerate(w.output):
        before, after = w.padding[axis]
        first = np.arange(count) * w.stride[axis] - before
        last = np.minimum(first + w.kernel[axis], w.size[axis] + after)
        if not include_padding:
            first, last = np.maximum(first, 0), np.minimum(last, w.size[axis])
        counts = counts[..., None] * (last - first)
    return counts
