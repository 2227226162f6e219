"""Reductions over axes, and cumulative sums and products."""

import functools
import math

import numpy as np

from tracer.dispatch import METHODS, implements, refuse_out
from tracer.dtypes import in_single, is_half, narrowed, widened
from tracer.errors import ShapeError, TracingError
from tracer.operation import POOLED, Operation, operation
from tracer.operations.arithmetic import operand, raw

_ABSENT = np._NoValue


def negative_axes(axis, rank):
    """An `axis` argument as a sorted tuple of negative ints."""
    return _negative_axes(tuple(axis) if type(axis) is list else axis, rank)


@functools.cache
def _negative_axes(axis, rank):
    if axis is None:
        return tuple(range(-rank, 0))
    axes = axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if not -rank <= a < rank:
            raise ShapeError(f"axis {a} is out of range for an array with {rank} axes")
    found = {a - rank if a >= 0 else a for a in axes}
    if len(found) != len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return tuple(sorted(found))


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
    examples = _cases

    def forward(x, *, axis, keepdims):
        return np.add.reduce(x, axis=axis, keepdims=keepdims)

    def vjp(node, g):
        return (spread(node, g),)


@operation("mean")
class Mean(Reduction):
    saves = ()
    linear = True
    examples = _cases

    def forward(x, *, axis, keepdims):
        if is_half(x.dtype):  # added up in float32, as np.mean does
            return Mean.forward(widened(x), axis=axis, keepdims=keepdims).astype(x.dtype)
        return np.add.reduce(x, axis=axis, keepdims=keepdims) / reduced(x.shape, axis)

    def vjp(node, g):
        return (spread(node, g / reduced(node.input_shape(0), node.params["axis"])),)


class _Extreme(Reduction):
    """The gradient of the largest (smallest) element; ties share it evenly."""

    piecewise_linear = True
    examples = staticmethod(_cases)


def _extreme_vjp(node, g):
    x = node.inputs[0]
    wins = x == restore(node, node.output, lead=0)
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
    examples = _cases

    def forward(x, *, axis, keepdims):
        return np.prod(x, axis=axis, keepdims=keepdims)

    def vjp(node, g):
        return (restore(node, g) * _product_of_others(node.inputs[0], node.params["axis"]),)


def _product_of_others(x, axes):
    """For each element the product of the other ones that it is multiplied with."""
    rank = x.ndim
    order = [i for i in range(rank) if i - rank not in axes] + [a + rank for a in axes]
    moved = np.transpose(x, order)
    flat = moved.reshape(*moved.shape[: rank - len(axes)], -1)
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

    @in_single
    def forward(x, *, axis, keepdims):
        top = np.max(x, axis=axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0)
        out = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
        return out if keepdims else np.squeeze(out, axis)

    def vjp(node, g):
        y = restore(node, node.output, lead=0)
        return (restore(node, g) * np.exp(node.inputs[0] - y),)


@operation("cumsum")
class Cumsum(Operation):
    saves = ()
    linear = True
    plain_options = True

    def forward(x, *, axis):
        return np.cumsum(x, axis=axis)

    def vjp(node, g):
        axis = node.params["axis"]
        return (np.flip(np.cumsum(np.flip(g, axis), axis), axis),)

    def batch_axis(node, axes):
        rank = len(node.shape)
        return POOLED if node.params["axis"] + rank == axes[0] else axes[0]

    def examples(rng):
        x = rng.random((2, 3))
        return [((x,), {"axis": -1}), ((x,), {"axis": -2})]


def _no_extras(name, out, *options):
    """Refuse `out`, `initial` and `where`."""
    refuse_out(name, out)
    for option in options:
        if option is not None and option is not _ABSENT:
            raise TracingError(
                f"np.{name} on tensors takes no `initial` or `where`: apply np.where beforehand"
            )


def _reduce(op, name, function):
    @implements(function)
    def handler(
        a,
        axis=None,
        dtype=None,
        out=None,
        keepdims=False,
        initial=_ABSENT,
        where=_ABSENT,
    ):
        if out is not None or initial is not _ABSENT or where is not _ABSENT:
            _no_extras(name, out, initial, where)
        if dtype is not None:
            a = a.astype(dtype)
        axes = negative_axes(axis, a.ndim)
        return op(a, axis=axes, keepdims=False if keepdims is _ABSENT else keepdims)

    return handler


def _flag(keepdims):
    return False if keepdims is _ABSENT else bool(keepdims)


sum_ = _reduce(Sum, "sum", np.sum)
prod_ = _reduce(Prod, "prod", np.prod)


@implements(np.mean)
def mean(a, axis=None, dtype=None, out=None, keepdims=False, *, where=_ABSENT):
    if out is not None or where is not _ABSENT:
        _no_extras("mean", out, where)
    a = a if dtype is None else a.astype(dtype)
    return Mean(a, axis=negative_axes(axis, a.ndim), keepdims=_flag(keepdims))


@implements(np.max, np.amax)
def max_(a, axis=None, out=None, keepdims=False, initial=_ABSENT, where=_ABSENT):
    _no_extras("max", out, initial, where)
    return Max(a, axis=negative_axes(axis, a.ndim), keepdims=_flag(keepdims))


@implements(np.min, np.amin)
def min_(a, axis=None, out=None, keepdims=False, initial=_ABSENT, where=_ABSENT):
    _no_extras("min", out, initial, where)
    return Min(a, axis=negative_axes(axis, a.ndim), keepdims=_flag(keepdims))


@implements(np.var)
def var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **extras):
    correction = extras.pop("correction", _ABSENT)
    _no_extras("var", out, *extras.values())
    ddof = ddof if correction is _ABSENT else correction
    axes = negative_axes(axis, a.ndim)
    count = math.prod(a.shape[i] for i in axes)
    wide = widened(a)
    centred = wide - Mean(wide, axis=axes, keepdims=True)
    squares = Sum(np.square(centred), axis=axes, keepdims=_flag(keepdims))
    squares = squares / (count - ddof) if count > ddof else squares * math.nan
    return narrowed(squares, a.dtype)


@implements(np.std)
def std(a, *args, **kwargs):
    return np.sqrt(np.var(a, *args, **kwargs))


@implements(np.ptp)
def ptp(a, axis=None, out=None, keepdims=False):
    refuse_out("ptp", out)
    return np.max(a, axis, keepdims=_flag(keepdims)) - np.min(a, axis, keepdims=_flag(keepdims))


@implements(np.average)
def average(a, axis=None, weights=None, returned=False, *, keepdims=False):
    if returned:
        raise TracingError("np.average on tensors takes no `returned`: use np.sum(weights)")
    if weights is None:
        return np.mean(a, axis, keepdims=_flag(keepdims))
    weights = operand(weights)
    if weights.ndim == 1 and axis is not None and a.ndim > 1:
        shape = [1] * a.ndim
        shape[axis] = -1
        weights = weights.reshape(shape)
    total = np.sum(np.broadcast_to(weights, a.shape), axis, keepdims=_flag(keepdims))
    return np.sum(a * weights, axis, keepdims=_flag(keepdims)) / total


@implements(np.cumsum)
def cumsum(a, axis=None, dtype=None, out=None):
    _no_extras("cumsum", out)
    if axis is None:
        a, axis = np.ravel(a), -1
    (axis,) = negative_axes(axis, a.ndim)
    return Cumsum(a if dtype is None else a.astype(dtype), axis=axis)


@implements(np.cumprod)
def cumprod(a, axis=None, dtype=None, out=None):
    _no_extras("cumprod", out)
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.moveaxis(_products(np.moveaxis(a, axis, -1), exclusive=False), -1, axis)


def logsumexp(x, axis=None, keepdims=False):
    """`log(sum(exp(x)))` over `axis` (an int, a tuple or None: all) without overflow."""
    return LogSumExp(x, axis=negative_axes(axis, x.ndim), keepdims=keepdims)


def _ufunc_reduce(function):
    def handler(x, axis=0, dtype=None, keepdims=False, initial=_ABSENT, where=True):
        _no_extras("ufunc.reduce", None, initial, None if where is True else where)
        return function(x, axis=axis, keepdims=keepdims)

    return handler


for _ufunc, _function in {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logaddexp: logsumexp,
}.items():
    METHODS[_ufunc, "reduce"] = _ufunc_reduce(_function)
METHODS[np.add, "accumulate"] = lambda x, axis=0, dtype=None: np.cumsum(x, axis=axis)
METHODS[np.multiply, "accumulate"] = lambda x, axis=0, dtype=None: np.cumprod(x, axis=axis)
METHODS[np.add, "reduceat"] = lambda x, indices, axis=0, dtype=None: _reduceat(x, indices, axis)


def _reduceat(x, indices, axis):
    stops = [*indices[1:], x.shape[axis]]
    moved = np.moveaxis(x, axis, 0)
    parts = [
        np.sum(moved[i:j], axis=0) if i < j else moved[i]
        for i, j in zip(indices, stops, strict=True)
    ]
    return np.moveaxis(np.stack(parts), 0, axis)


OPERATIONS = [Sum, Mean, Max, Min, Prod, LogSumExp, Cumsum]
