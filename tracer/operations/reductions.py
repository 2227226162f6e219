"""Reductions over axes, and cumulative sums and products."""

import functools
import math

import numpy as np

from tracer.arrays.dtypes import in_single, is_half, narrowed, widened
from tracer.errors import ShapeError
from tracer.operations.arguments import (
    ABSENT,
    flag,
    negative_axes,
    one_axis,
    operand,
    raw,
    refuse,
    several_axes,
)
from tracer.operations.arithmetic import finite_below, root, square_of_size
from tracer.record.axes import POOLED
from tracer.record.dispatch import implements, in_numpy, refuse_out
from tracer.record.operation import Operation, operation
from tracer.sweep.slopes import by_contraction, by_stacks


@functools.lru_cache(maxsize=1024)
def kept_shape(shape, axes):
    """The shape of a reduction over `axes` with keepdims."""
    rank = len(shape)
    return tuple(1 if i - rank in axes else size for i, size in enumerate(shape))


@functools.lru_cache(maxsize=1024)
def reduced(shape, axes):
    """How many elements one of a reduction over `axes` is made of."""
    return math.prod(shape[a] for a in axes)


def restore(node, value, lead=1):
    """An output-like array (with `lead` leading axes) with the reduced axes back, of size 1."""
    kept = kept_shape(node.input_shape(0), node.params["axis"])
    return value.reshape((*value.shape[:lead], *kept))


#: elements that are written in less time than np.broadcast_to takes to check its arguments
FEW = 4096


def spread(node, g):
    """A cotangent of a sum over axes: the same for all that was added."""
    kept, shape = restore(node, g), (len(g), *node.input_shape(0))
    if type(kept) is not np.ndarray or math.prod(shape) > FEW:
        return np.broadcast_to(kept, shape)
    out = np.empty(shape, kept.dtype)
    out[...] = kept
    return out


def _reduced_axis(node, axes):
    rank = len(node.input_shape(0))
    reduced, axis = node.params["axis"], axes[0] - rank
    if axis in reduced:
        return POOLED
    if node.params["keepdims"]:
        return axes[0]
    return axes[0] - sum(a < axis for a in reduced)


class Reduction(Operation):
    """An operation over the axes `axis`, a tuple of negative ints."""

    batch_axis = staticmethod(_reduced_axis)
    plain_options = True


def _axes(node):
    return node.params["axis"]


def _cases(rng):
    x = rng.uniform(0.5, 1.5, (2, 3, 4))
    return [
        ((x,), {"axis": (-3, -2, -1), "keepdims": False}),
        ((x,), {"axis": (-1,), "keepdims": False}),
        ((x,), {"axis": (-2,), "keepdims": True}),
    ]


@operation("sum")
class Sum(Reduction):
    saves = ()
    linear = True
    takes_complex = True
    examples = _cases
    jvp = by_stacks

    def forward(x, *, axis, keepdims):
        return np.add.reduce(x, axis=axis, keepdims=keepdims)

    def vjp(node, g):
        """g_x[v,i] = g[v] for each element i of a sum."""
        return (spread(node, g),)


@operation("mean")
class Mean(Reduction):
    saves = ()
    linear = True
    takes_complex = True
    examples = _cases
    jvp = by_stacks

    def forward(x, *, axis, keepdims):
        if is_half(x.dtype):  # added up in float32, as np.mean does
            return Mean.forward(widened(x), axis=axis, keepdims=keepdims).astype(x.dtype)
        return np.add.reduce(x, axis=axis, keepdims=keepdims) / reduced(x.shape, axis)

    def vjp(node, g):
        """g_x[v,i] = g[v] / count for each of the count elements i of a mean."""
        count = reduced(node.input_shape(0), node.params["axis"])
        if is_half(g.dtype):  # whose largest number is 65504
            return (spread(node, narrowed(widened(g) / count, g.dtype)),)
        return (spread(node, g / count),)


class _Extreme(Reduction):
    """The gradient of the largest (smallest) element, or of what is NaN; ties share it evenly."""

    piecewise_linear = True
    examples = staticmethod(_cases)
    jvp = staticmethod(by_contraction(_axes))


def _extreme_vjp(node, g):
    """g_x[v,i] = g[v] / k for each of the k elements that attain it, or are NaN; else 0."""
    x = node.inputs[0]
    wins = (x == restore(node, node.output, lead=0)) | (x != x)
    share = 1 / np.sum(raw(wins), axis=node.params["axis"], keepdims=True)
    share = share.astype(g.dtype)
    return (np.where(wins, restore(node, g) * share, 0),)


@operation("max")
class Max(_Extreme):
    vjp = _extreme_vjp

    def forward(x, *, axis, keepdims):
        return np.max(x, axis=axis, keepdims=keepdims)


@operation("min")
class Min(_Extreme):
    vjp = _extreme_vjp

    def forward(x, *, axis, keepdims):
        return np.min(x, axis=axis, keepdims=keepdims)


@operation("prod")
class Prod(Reduction):
    """The product of elements; exact also where some are zero."""

    saves = ("inputs",)
    takes_complex = True
    examples = _cases
    jvp = by_contraction(_axes)

    def forward(x, *, axis, keepdims):
        return np.prod(x, axis=axis, keepdims=keepdims)

    def vjp(node, g):
        """g_x[v,i] = g[v] prod_j x[j] over the other elements j != i of a product."""
        return (restore(node, g) * _product_of_others(node.inputs[0], node.params["axis"]),)


def _product_of_others(x, axes):
    """For each element the product of the other ones that it is multiplied with."""
    rank = x.ndim
    order = [i for i in range(rank) if i - rank not in axes] + [a + rank for a in axes]
    moved = np.transpose(x, order)
    flat = moved.reshape(*moved.shape[: rank - len(axes)], reduced(x.shape, axes))
    before = _products(flat, exclusive=True)
    after = np.flip(_products(np.flip(flat, -1), exclusive=True), -1)
    return np.transpose((before * after).reshape(moved.shape), np.argsort(order).tolist())


def _products(x, exclusive):
    """Running products along the last axis in log2(length) multiplications of whole arrays."""
    count = x.shape[-1]
    if exclusive:
        x = np.concatenate([np.ones_like(raw(x)[..., :1]), x[..., : count - 1]], axis=-1)
    step = 1
    while step < count:
        x = np.concatenate([x[..., :step], x[..., step:] * x[..., : count - step]], axis=-1)
        step *= 2
    return x


@operation("logsumexp")
class LogSumExp(Reduction):
    """`log(sum(exp(x)))` without overflow."""

    examples = _cases
    jvp = by_contraction(_axes)

    @in_single
    def forward(x, *, axis, keepdims):
        options = {} if x.size else {"initial": -np.inf}
        top = np.max(x, axis=axis, keepdims=True, **options)
        top = np.where(np.isfinite(top), top, 0)
        total = np.sum(np.exp(x - top), axis=axis, keepdims=True)
        with np.errstate(divide="ignore"):  # of nothing, or of zeros, it is -inf
            out = np.log(total) + top
        return out if keepdims else np.squeeze(out, axis)

    def vjp(node, g):
        """g_x[v,i] = g[v] exp(x[i] - y) for the output y: g times the softmax; 0 for y = -inf."""
        y = restore(node, finite_below(node.output), lead=0)
        return (restore(node, g) * np.exp(node.inputs[0] - y),)


@operation("cumsum")
class Cumsum(Operation):
    saves = ()
    linear = True
    takes_complex = True
    plain_options = True
    jvp = by_stacks

    def forward(x, *, axis):
        return np.cumsum(x, axis=axis)

    def vjp(node, g):
        """g_x[v,i] = sum_j g[v,j] over j >= i, along the axis."""
        axis = node.params["axis"]
        return (np.flip(np.cumsum(np.flip(g, axis), axis), axis),)

    def batch_axis(node, axes):
        rank = len(node.shape)
        return POOLED if node.params["axis"] + rank == axes[0] else axes[0]

    def examples(rng):
        x = rng.random((2, 3))
        return [((x,), {"axis": -1}), ((x,), {"axis": -2})]


def _selected(a, where, otherwise):
    """`a`, with `otherwise` where it is left out."""
    if where is ABSENT or where is True:
        return a
    return np.where(raw(where), a, otherwise)


def _total(op, name, function, neutral, join):
    """`np.sum` or `np.prod`: what is left out counts as `neutral`, and `initial` is joined on."""

    @implements(function)
    def handler(
        a,
        axis=None,
        dtype=None,
        out=None,
        keepdims=False,
        initial=ABSENT,
        where=ABSENT,
    ):
        if out is not None or where is not ABSENT:
            refuse_out(name, out)
            a = _selected(a, where, neutral)
        if dtype is not None:
            a = a.astype(dtype)
        axes = negative_axes(axis, a.ndim)
        made = op(a, axis=axes, keepdims=False if keepdims is ABSENT else keepdims)
        return made if initial is ABSENT else join(made, initial)

    return handler


sum_ = _total(Sum, "sum", np.sum, 0, np.add)
prod_ = _total(Prod, "prod", np.prod, 1, np.multiply)


@implements(np.mean)
def mean(a, axis=None, dtype=None, out=None, keepdims=False, *, where=ABSENT):
    if out is not None:
        refuse_out("mean", out)
    a = a if dtype is None else a.astype(dtype)
    axes = negative_axes(axis, a.ndim)
    if where is ABSENT or where is True:
        return Mean(a, axis=axes, keepdims=keepdims is not False and flag(keepdims))
    wide = widened(a)
    total = Sum(_selected(wide, where, 0), axis=axes, keepdims=flag(keepdims))
    return narrowed(total / _count(where, wide, axes, keepdims), a.dtype)


def _count(where, a, axes, keepdims, ddof=0):
    """How many elements count, less `ddof`, or 0, in the dtype of `a`."""
    held = np.broadcast_to(raw(where), a.shape)
    count = np.sum(held, axis=axes, keepdims=flag(keepdims)) - ddof
    return np.maximum(count, 0).astype(a.dtype)


def _extreme(op, name, functions, worst, join):
    """`np.max` or `np.min`: what is left out counts as `worst`, and `initial` is joined on."""

    @implements(*functions)
    def handler(a, axis=None, out=None, keepdims=False, initial=ABSENT, where=ABSENT):
        axes = negative_axes(axis, a.ndim)
        if out is None and initial is ABSENT and where is ABSENT:
            return op(a, axis=axes, keepdims=flag(keepdims))
        refuse_out(name, out)
        if where is not ABSENT and where is not True:
            if initial is ABSENT:
                raise ShapeError(
                    f"np.{name} with `where` takes `initial`, which it is where nothing is chosen"
                )
            a = _selected(a, where, worst if a.dtype.kind == "f" else initial)
        if initial is not ABSENT and not reduced(a.shape, axes):  # of nothing it is the initial one
            shape = Sum(a, axis=axes, keepdims=flag(keepdims)).shape
            return np.broadcast_to(operand(initial).astype(a.dtype), shape)
        made = op(a, axis=axes, keepdims=flag(keepdims))
        return made if initial is ABSENT else join(made, initial)

    return handler


max_ = _extreme(Max, "max", (np.max, np.amax), -math.inf, np.maximum)
min_ = _extreme(Min, "min", (np.min, np.amin), math.inf, np.minimum)


@implements(np.var)
def var(
    a, axis=None, dtype=None, out=None, ddof=0, keepdims=False,
    *, where=ABSENT, mean=ABSENT, correction=ABSENT,
):  # fmt: skip
    refuse_out("var", out)
    if correction is not ABSENT:
        if ddof != 0:
            raise ShapeError("np.var takes `ddof` or `correction`, which are the same, got both")
        ddof = correction
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise ShapeError(f"np.var on tensors takes a float `dtype`, got {np.dtype(dtype)}")
    a = a if dtype is None else a.astype(dtype)
    axes = negative_axes(axis, a.ndim)
    wide = widened(a)
    if where is ABSENT or where is True:
        centre = Mean(wide, axis=axes, keepdims=True) if mean is ABSENT else mean
        squares = Sum(square_of_size(wide - centre), axis=axes, keepdims=flag(keepdims))
        count = math.prod(a.shape[i] for i in axes)
        squares = squares / (count - ddof) if count > ddof else squares * math.nan
        return narrowed(squares, a.dtype) if a.dtype.kind != "c" else squares
    if mean is ABSENT:
        total = Sum(_selected(wide, where, 0), axis=axes, keepdims=True)
        mean = total / _count(where, wide, axes, True)
    squares = square_of_size(_selected(wide - mean, where, 0))
    total = Sum(squares, axis=axes, keepdims=flag(keepdims))
    return narrowed(total / _count(where, squares, axes, keepdims, ddof), a.dtype)


@implements(np.std)
def std(
    a, axis=None, dtype=None, out=None, ddof=0, keepdims=False,
    *, where=ABSENT, mean=ABSENT, correction=ABSENT,
):  # fmt: skip
    """The root of the variance, with the subgradient zero where all elements are equal."""
    refuse_out("std", out)
    options = {"where": where, "mean": mean, "correction": correction}
    return root(var(a, axis, dtype, None, ddof, keepdims, **options), order=2)


@implements(np.ptp)
def ptp(a, axis=None, out=None, keepdims=False):
    refuse_out("ptp", out)
    return np.max(a, axis, keepdims=flag(keepdims)) - np.min(a, axis, keepdims=flag(keepdims))


@implements(np.average)
def average(a, axis=None, weights=None, returned=False, *, keepdims=False):
    refuse("average", "use np.sum(weights)", returned=returned or None)
    a = operand(a)
    if weights is None:
        return np.mean(a, axis, keepdims=flag(keepdims))
    weights = _aligned(operand(weights), a, axis)
    weights = weights.astype(
        np.result_type(a.dtype, weights.dtype), copy=False
    )  # as NumPy sums them
    total = np.sum(np.broadcast_to(weights, a.shape), axis, keepdims=flag(keepdims))
    return np.sum(a * weights, axis, keepdims=flag(keepdims)) / total


def _aligned(weights, a, axis):
    """The weights of `np.average` with the axes of `a`: they have its shape, or that of `axis`."""
    if weights.shape == a.shape:
        return weights
    axes = [] if axis is None else several_axes(axis, a.ndim)
    if not axes or weights.shape != tuple(a.shape[i] for i in axes):
        raise ShapeError(
            f"np.average takes weights of the array's shape {list(a.shape)}, or of its shape along "
            f"`axis`, got {list(weights.shape)} with axis={axis}"
        )
    weights = np.transpose(weights, sorted(range(len(axes)), key=axes.__getitem__))
    return weights.reshape([n if i - a.ndim in axes else 1 for i, n in enumerate(a.shape)])


@implements(np.cumsum)
def cumsum(a, axis=None, dtype=None, out=None):
    refuse_out("cumsum", out)
    if axis is None:
        a, axis = np.ravel(a), -1
    return Cumsum(a if dtype is None else a.astype(dtype), axis=one_axis(axis, a.ndim))


def _with_start(made, a, axis, start):
    """A running total with its start in front, as for `include_initial`."""
    shape = [1 if i - a.ndim == axis else n for i, n in enumerate(a.shape)]
    first = np.full_like(raw(made), start, shape=shape)
    return np.concatenate([first, made], axis=axis)


def _cumulative(name, function, start):
    @implements(in_numpy(name))
    def handler(x, /, *, axis=None, dtype=None, out=None, include_initial=False):
        refuse_out(name, out)
        if axis is None and x.ndim != 1:
            raise ShapeError(f"np.{name} takes an axis for an array of {x.ndim} axes")
        axis = one_axis(-1 if axis is None else axis, x.ndim)
        made = function(x, axis, dtype)
        return _with_start(made, x, axis, start) if include_initial else made

    return handler


cumulative_sum = _cumulative("cumulative_sum", np.cumsum, 0)
cumulative_prod = _cumulative("cumulative_prod", np.cumprod, 1)


@implements(np.cumprod)
def cumprod(a, axis=None, dtype=None, out=None):
    refuse_out("cumprod", out)
    if axis is None:
        a, axis = np.ravel(a), -1
    axis = one_axis(axis, a.ndim)
    a = a if dtype is None else a.astype(dtype)
    return np.moveaxis(_products(np.moveaxis(a, axis, -1), exclusive=False), -1, axis)


def logsumexp(x, axis=None, keepdims=False):
    """`log(sum(exp(x)))` over `axis` (an int, a tuple or None: all) without overflow."""
    return LogSumExp(x, axis=negative_axes(axis, x.ndim), keepdims=keepdims)


OPERATIONS = [Sum, Mean, Max, Min, Prod, LogSumExp, Cumsum]
