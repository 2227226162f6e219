"""Activations for which a rule of their own is faster or more exact than that of their formula.

All are written to neither overflow nor lose their sign in float32, and to give PyTorch's gradient
at their kinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracer import Elementwise, Operation, Summed, operation, samples_first
from tracer.extend import (
    POOLED,
    SMALL,
    Axis,
    Generator,
    Node,
    Params,
    blocks,
    by_symmetry,
    compiled,
    in_parallel,
    in_single,
    lifted,
)
from tracer_layers.activations.blockwise import blockwise, scaled, several
from tracer_layers.activations.gated import (
    gelu,
    gelu_and_slope,
    gelu_slope,
    gelu_tanh,
    gelu_tanh_slope,
)
from tracer_layers.module.rules import data_axis, where_open

#: bytes of a block of samples
BLOCK_BYTES = 4 << 20
#: bytes up to which comparing with a number takes no longer than with a row, with what blocks take
FEW_BYTES = 96 << 10


def _cases(*options: Params) -> Callable[[Generator], list[Any]]:
    """Example inputs on both sides of zero and away from kinks, once for each set of params."""

    def examples(rng: Generator) -> list[Any]:
        x = rng.uniform(0.1, 0.4, (2, 3)) * rng.choice([-1.0, 1.0], (2, 3))
        return [((x,), params) for params in options or ({},)]

    return examples


# -- piecewise linear -------------------------------------------------------------------------


@operation("relu")
class Rectify(Elementwise):
    """`max(x, 0)`, with gradient 0 at 0."""

    piecewise_linear = True
    saves = ("output",)
    examples = _cases()

    def forward(x):
        fast = compiled().activate("relu", x)
        if fast is not None:
            return fast
        if type(x) is not np.ndarray or x.nbytes <= FEW_BYTES:
            return np.maximum(x, 0)
        zero, out = np.zeros_like(x[:1]), np.empty_like(x)

        def rectify(block):  # a row of zeros takes a third of the time of a number
            np.maximum(x[block], zero, out=out[block])

        in_parallel(rectify, blocks(len(x), x.nbytes, BLOCK_BYTES, like=x), like=x)
        return out

    def vjp(node, g):
        """g where y > 0 (or is NaN), 0 elsewhere."""
        y = node.output
        fast = compiled().activate_vjp("relu", g, y)
        if fast is not None:
            return (fast,)
        if not type(g) is type(y) is np.ndarray or y.nbytes <= SMALL:
            return (where_open(np.logical_not(y <= 0), g),)
        out = np.empty_like(g)

        def pull(block):
            where_open(np.logical_not(y[block] <= 0), g[:, block], out[:, block])

        in_parallel(pull, blocks(len(y), g.nbytes, BLOCK_BYTES, like=y), like=y)
        return (out,)


@operation("leaky_relu")
class LeakyRectify(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    examples = _cases({"negative_slope": 0.2})

    def forward(x, *, negative_slope):
        return np.where(x > 0, x, x * negative_slope)

    def vjp(node, g):
        """g where x > 0, g * negative_slope elsewhere."""
        return (np.where(node.inputs[0] > 0, g, g * node.params["negative_slope"]),)


@operation("prelu")
class ParametricRectify(Operation):
    """`x` where it is positive, `slope * x` elsewhere.

    `slope` is `[1]`, or `[C]` for the channels on axis 1 of `x`.
    """

    saves = ("inputs",)
    linear_in = (1,)

    def forward(x, slope):
        return np.where(x > 0, x, x * _per_channel(slope, x))

    def vjp(node, g):
        """g_x = g where x > 0, g * slope elsewhere; g_slope[v,c] = sum of g * x where x <= 0.

        The sum is over samples and places of a channel c, or of all channels for a single slope.
        """
        x, slope = node.inputs
        return (
            lambda: np.where(x > 0, g, g * _per_channel(slope, x)),
            lambda: _summed(_slope_terms(node, g)),
        )

    def jvp(node, tangents):
        """t_x where x > 0, t_x * slope + x * t_slope elsewhere."""
        (x, slope), (t_x, t_slope) = node.inputs, tangents
        above = below = 0
        if t_x is not None:
            above, below = t_x, t_x * _per_channel(slope, x)
        if t_slope is not None:
            each = np.reshape(t_slope, (len(t_slope), -1, *(1,) * max(0, x.ndim - 2)))
            below = below + x * lifted(each, x.ndim)
        return np.where(x > 0, above, below)

    def batch_axis(node, axes):
        return data_axis(axes)

    def parameter_cotangent(node, slot, g):
        """U[v,n,c] = sum_t (g x)[v,n,c,t] where x <= 0, a `Summed`."""
        terms, axis = _slope_terms(node, g), node.batch_axis
        if slot == 0 or (axis == 1 and terms.shape[-1] > 1):
            return None
        terms = samples_first(terms, axis - (axis > 1 and terms.shape[-1] > 1), lead=1)
        rows, samples, *uses, slopes = terms.shape
        return Summed(np.reshape(terms, (rows, samples, math.prod(uses), slopes)))

    def examples(rng):
        x = rng.choice([-1.0, 1.0], (2, 3, 2)) * rng.uniform(0.1, 1, (2, 3, 2))
        return [((x, rng.random(3)), {}), ((x, rng.random(1)), {})]


def _summed(terms):
    return np.sum(terms, axis=tuple(range(1, terms.ndim - 1)))


def _per_channel(slope, x):
    return np.reshape(slope, (-1, *(1,) * max(0, x.ndim - 2)))


def _slope_terms(node, g):
    """What reaches the slopes `[V, ..., slopes]`, before it is summed."""
    x, slope = node.inputs
    terms = np.where(x > 0, 0, g * x)
    if slope.shape[0] == 1:
        return terms[..., None]
    return np.moveaxis(terms, 2, -1)


@operation("hardtanh")
class Clamp(Elementwise):
    """Clipping to `[min_val, max_val]`, with gradient 0 at both ends."""

    piecewise_linear = True
    saves = ("inputs",)
    examples = _cases({"min_val": -0.2, "max_val": 0.3})

    def forward(x, *, min_val, max_val):
        return np.clip(x, min_val, max_val)

    def vjp(node, g):
        """g where min_val < x < max_val, 0 elsewhere."""
        x = node.inputs[0]
        outside = (x <= node.params["min_val"]) | (x >= node.params["max_val"])
        return (np.where(outside, 0, g),)


@operation("softshrink")
class SoftShrink(Elementwise):
    """`x` moved towards zero by `lambd`, not beyond."""

    piecewise_linear = True
    saves = ("inputs",)
    examples = _cases({"lambd": 0.25})

    def forward(x, *, lambd):
        return x - np.clip(x, -lambd, lambd)

    def vjp(node, g):
        """g where |x| > lambd, 0 elsewhere."""
        return (_shrunk(node, g),)


@operation("hardshrink")
class HardShrink(Elementwise):
    """`x` where it is larger than `lambd` in magnitude, zero elsewhere."""

    piecewise_linear = True
    saves = ("inputs",)
    examples = _cases({"lambd": 0.25})

    def forward(x, *, lambd):
        return np.where(abs(x) <= lambd, 0, x)

    def vjp(node, g):
        """g where |x| > lambd, 0 elsewhere."""
        return (_shrunk(node, g),)


def _shrunk(node, g):
    x, lambd = node.inputs[0], node.params["lambd"]
    return np.where((x >= -lambd) & (x <= lambd), 0, g)


@operation("threshold")
class Cut(Elementwise):
    """`x` where it is above `threshold`, `value` elsewhere."""

    piecewise_linear = True
    saves = ("inputs",)
    examples = _cases({"threshold": 0.25, "value": 2.0})

    def forward(x, *, threshold, value):
        return np.where(x <= threshold, value, x)

    def vjp(node, g):
        """g where x > threshold, 0 elsewhere."""
        return (np.where(node.inputs[0] <= node.params["threshold"], 0, g),)


# -- exponentials -----------------------------------------------------------------------------


@operation("sigmoid")
class Logistic(Elementwise):
    """`1 / (1 + exp(-x))`, by an exponential that never overflows."""

    saves = ("output",)
    examples = _cases()

    def forward(x):
        fast = compiled().activate("sigmoid", x)
        if fast is not None:
            return fast
        small = np.exp(-abs(x))
        return np.where(x >= 0, 1, small) / (1 + small)

    def vjp(node, g):
        """g * y * (1 - y), elementwise."""
        y = node.output
        fast = compiled().activate_vjp("sigmoid", g, y)
        return (g * (y * (1 - y)) if fast is None else fast,)


@operation("softplus")
class SoftRectify(Elementwise):
    """`log(1 + exp(beta x)) / beta`, and `x` where `beta x` is above `threshold`."""

    saves = ("inputs",)
    examples = _cases({"beta": 1.0, "threshold": 20.0}, {"beta": 3.0, "threshold": 0.5})

    def forward(x, *, beta, threshold):
        scaled = x * beta
        return np.where(scaled > threshold, x, np.logaddexp(scaled, 0) / beta)

    def vjp(node, g):
        """g * sigmoid(beta * x), or g where beta * x > threshold."""
        scaled = node.inputs[0] * node.params["beta"]
        linear = scaled > node.params["threshold"]
        return (np.where(linear, g, g * Logistic(scaled)),)


@operation("logsigmoid")
class LogLogistic(Elementwise):
    """`-log(1 + exp(-x))`."""

    saves = ("inputs",)
    examples = _cases()

    def forward(x):
        return -np.logaddexp(-x, 0)

    def vjp(node, g):
        """g * sigmoid(-x), elementwise."""
        return (g * Logistic(-node.inputs[0]),)


@operation("elu")
class ExponentialLinear(Elementwise):
    """`scale x` where positive, `scale alpha (exp(rate x) - 1)` elsewhere: ELU, CELU and SELU."""

    saves = ("inputs",)
    examples = _cases(
        {"alpha": 1.0, "scale": 1.0, "rate": 1.0}, {"alpha": 1.3, "scale": 1.1, "rate": 0.7}
    )

    def forward(x, *, alpha, scale, rate):
        below = np.expm1(np.minimum(x, 0) * rate)
        return np.where(x > 0, x * scale, below * (scale * alpha))

    def vjp(node, g):
        """g * scale where x > 0, g * scale * alpha * rate * exp(rate * x) elsewhere."""
        x, p = node.inputs[0], node.params
        positive = x > 0
        below = np.exp(np.where(positive, 0, x) * p["rate"])
        slope = below * (p["scale"] * p["alpha"] * p["rate"])
        return (g * np.where(positive, p["scale"], slope),)


@operation("silu")
class SigmoidWeighted(Elementwise):
    """`x sigmoid(x)` (Elfwing et al. 2018)."""

    saves = ("inputs",)
    examples = _cases()

    def forward(x):
        fast = compiled().activate("silu", x)
        return blockwise(lambda x: x * Logistic(x), x) if fast is None else fast

    def vjp(node, g):
        """g * s * (1 + x * (1 - s)) with s = sigmoid(x), elementwise."""
        return (_pulled("silu", node, g, _silu_slope),)


def _silu_slope(x):
    s = Logistic(x)
    return s * (1 + x * (1 - s))


@operation("mish")
class SoftplusGated(Elementwise):
    """`x tanh(softplus(x))` (Misra 2019)."""

    saves = ("inputs",)
    examples = _cases()

    def forward(x):
        return x * np.tanh(np.logaddexp(x, 0))

    def vjp(node, g):
        """g * (t + x * (1 - t**2) * sigmoid(x)) with t = tanh(softplus(x)), elementwise."""
        x = node.inputs[0]
        t = np.tanh(SoftRectify(x, beta=1.0, threshold=20.0))
        return (g * (t + x * (1 - t * t) * Logistic(x)),)


@operation("gelu")
class GaussianGated(Elementwise):
    """`x Phi(x)`, with the normal distribution's Phi (Hendrycks and Gimpel 2016).

    NumPy keeps the slope, which it has for a fifth of the time together with the value. A kernel
    makes it again, which takes no longer than to read and write it.
    """

    saves = ("inputs",)
    examples = _cases()

    def forward(x):
        fast = compiled().activate("gelu", x)
        return blockwise(gelu, x) if fast is None else fast

    def forward_keeping(x):
        fast = compiled().activate("gelu", x)
        return several(gelu_and_slope, x, 2) if fast is None else (fast, None)

    def vjp(node, g):
        """g * (Phi(x) + x * phi(x)) with the normal density phi = Phi', elementwise."""
        if node.kept is not None:
            return (scaled(g, lambda slope: slope, node.kept),)
        return (_pulled("gelu", node, g, gelu_slope),)


@operation("gelu_tanh")
class TanhGated(Elementwise):
    """GELU with Phi approximated by a tanh of a cubic."""

    saves = ("inputs",)
    examples = _cases()

    def forward(x):
        fast = compiled().activate("gelu_tanh", x)
        return blockwise(gelu_tanh, x) if fast is None else fast

    def vjp(node, g):
        """g * (1 + t + x * (1 - t**2) * u') / 2 with t = tanh(u), elementwise.

        u = sqrt(2 / pi) * (x + 0.044715 * x**3), u' = sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2).
        """
        return (_pulled("gelu_tanh", node, g, gelu_tanh_slope),)


def _pulled(name, node, g, slope):
    """`g` times the slope of a function of the input, by a kernel that has its name or by NumPy."""
    x = node.inputs[0]
    fast = compiled().activate_vjp(name, g, x)
    return scaled(g, slope, x) if fast is None else fast


# -- along an axis ----------------------------------------------------------------------------


def _along_axis(rng: Generator) -> list[Any]:
    x = rng.standard_normal((2, 3, 4))
    return [((x,), {"axis": -1}), ((x,), {"axis": -2})]


def _unless_normalised(node: Node, axis: Axis) -> Axis:
    """Samples stay where they are; where they are what is normalised over, they are coupled."""
    rank = len(node.shape)
    return POOLED if isinstance(axis, int) and axis - rank == node.params["axis"] else axis


@operation("softmax")
class NormalisedExponential(Operation):
    """`exp(x) / sum(exp(x))` along a negative axis."""

    saves = ("output",)
    examples = _along_axis
    jvp = by_symmetry

    @in_single
    def forward(x, *, axis):
        if not x.size:
            return x.copy()
        out = np.exp(x - x.max(axis=axis, keepdims=True))
        out /= out.sum(axis=axis, keepdims=True)
        return out

    def vjp(node, g):
        """y * (g - sum_c g_c y_c), along the axis."""
        y = node.output
        mean = np.sum(g * y, axis=node.params["axis"], keepdims=True)
        return (y * (g - mean),)

    def batch_axis(node, axes):
        return _unless_normalised(node, axes[0])


@operation("log_softmax")
class LogNormalisedExponential(Operation):
    """`x - log(sum(exp(x)))` along a negative axis."""

    saves = ("output",)
    examples = _along_axis

    @in_single
    def forward(x, *, axis):
        if not x.size:
            return x.copy()
        shifted = x - x.max(axis=axis, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        return shifted

    def vjp(node, g):
        """g - softmax(x) * sum_c g_c, along the axis."""
        total = np.sum(g, axis=node.params["axis"], keepdims=True)
        return (g - np.exp(node.output) * total,)

    def jvp(node, tangents):
        """t - sum_c softmax(x)_c t_c, along the axis."""
        (t,), axis = tangents, node.params["axis"]
        return t - np.sum(np.exp(node.output) * t, axis=axis, keepdims=True)

    def batch_axis(node, axes):
        return _unless_normalised(node, axes[0])
