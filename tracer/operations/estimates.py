"""Statistics of samples: without NaN, quantiles, covariances. NumPy's functions, of others."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import (
    ABSENT,
    constant,
    flag,
    negative_axes,
    of_real,
    operand,
    raw,
    refuse,
)
from tracer.operations.arithmetic import root, square_of_size
from tracer.operations.products import conjugate
from tracer.record.dispatch import implements, refuse_out


def _numbers(a, where, fill):
    """`a` with `fill` where it is NaN or left out, and where it is neither."""
    a = operand(a)
    known = ~np.isnan(a)
    if where is not ABSENT:
        known = known & raw(where)
    return np.where(known, a, fill), known


@implements(np.nansum)
def nansum(a, axis=None, dtype=None, out=None, keepdims=ABSENT, initial=ABSENT, where=ABSENT):
    a, _ = _numbers(a, where, 0)
    return np.sum(a, axis, dtype, out, keepdims=flag(keepdims), initial=initial)


@implements(np.nanprod)
def nanprod(a, axis=None, dtype=None, out=None, keepdims=ABSENT, initial=ABSENT, where=ABSENT):
    a, _ = _numbers(a, where, 1)
    return np.prod(a, axis, dtype, out, keepdims=flag(keepdims), initial=initial)


@implements(np.nancumsum)
def nancumsum(a, axis=None, dtype=None, out=None):
    return np.cumsum(_numbers(a, ABSENT, 0)[0], axis, dtype, out)


@implements(np.nancumprod)
def nancumprod(a, axis=None, dtype=None, out=None):
    return np.cumprod(_numbers(a, ABSENT, 1)[0], axis, dtype, out)


@implements(np.nanmean)
def nanmean(a, axis=None, dtype=None, out=None, keepdims=ABSENT, *, where=ABSENT):
    a, known = _numbers(a, where, 0)
    total = np.sum(a, axis, dtype, out, keepdims=flag(keepdims))
    return _over(total, known, axis, keepdims, 0)


def _over(total, known, axis, keepdims, ddof):
    """A sum over how many there are, less `ddof`; NaN where none are left."""
    count = np.sum(raw(known), axis, keepdims=flag(keepdims)) - ddof
    count = np.where(count > 0, count, math.nan).astype(total.dtype)
    return total / count


@implements(np.nanvar)
def nanvar(
    a, axis=None, dtype=None, out=None, ddof=0, keepdims=ABSENT,
    *, where=ABSENT, mean=ABSENT, correction=ABSENT,
):  # fmt: skip
    refuse_out("nanvar", out)
    refuse("nanvar", "write out the mean of squares that is meant", mean=mean)
    if correction is not ABSENT:
        ddof = correction
    a = operand(a)
    a, known = _numbers(a if dtype is None else a.astype(dtype), where, 0)
    centre = _over(np.sum(a, axis, keepdims=True), known, axis, True, 0)
    away = np.where(known, a - centre, 0)
    total = np.sum(square_of_size(away), axis, keepdims=flag(keepdims))
    return _over(total, known, axis, keepdims, ddof)


@implements(np.nanstd)
def nanstd(
    a, axis=None, dtype=None, out=None, ddof=0, keepdims=ABSENT,
    *, where=ABSENT, mean=ABSENT, correction=ABSENT,
):  # fmt: skip
    """The root of `nanvar`, with the subgradient zero where all elements are equal."""
    options = {"where": where, "mean": mean, "correction": correction}
    return root(nanvar(a, axis, dtype, out, ddof, keepdims, **options), order=2)


def _nan_extreme(name, worst):
    extreme = getattr(np, name.removeprefix("nan"))

    @implements(getattr(np, name))
    def handler(a, axis=None, out=None, keepdims=ABSENT, initial=ABSENT, where=ABSENT):
        a, known = _numbers(a, where, worst)
        found = extreme(a, axis, out, keepdims=flag(keepdims), initial=initial)
        if initial is not ABSENT:
            return found
        some = np.any(raw(known), axis, keepdims=flag(keepdims))
        return np.where(some, found, math.nan)

    handler.__name__ = name
    return handler


nanmax, nanmin = _nan_extreme("nanmax", -math.inf), _nan_extreme("nanmin", math.inf)


# -- quantiles ----------------------------------------------------------------------------------


def _quantile(name, scale):
    @implements(getattr(np, name))
    def handler(
        a, q, axis=None, out=None, overwrite_input=False, method="linear", keepdims=False,
        *, weights=None, interpolation=None,
    ):  # fmt: skip
        refuse_out(name, out)
        refuse(name, "repeat the elements with np.repeat", weights=weights)
        refuse(name, "write method=", interpolation=interpolation)
        if method != "linear":
            raise TracingError(f'np.{name} on tensors takes method="linear", got {method!r}')
        a, q = of_real(operand(a), f"np.{name}"), constant(q, name, "q", "give numbers")
        alone = isinstance(q, int | float) and a.dtype.kind == "f"  # and then decides no dtype
        q = np.asarray(q, a.dtype if alone else float) / scale
        if ((q < 0) | (q > 1)).any():
            raise ShapeError(f"np.{name} takes values of q from 0 to {scale}, got {q * scale}")
        return _between(a, q, axis, flag(keepdims))

    handler.__name__ = name
    return handler


def _between(a, q, axis, keepdims):
    """Values between two neighbours of the sorted elements; NaN if any is NaN."""
    axes = negative_axes(axis, a.ndim)
    last = np.moveaxis(a, axes, range(-len(axes), 0))
    size = math.prod(a.shape[i] for i in axes)
    ordered = np.sort(np.reshape(last, (*last.shape[: a.ndim - len(axes)], size)), axis=-1)
    place = q * (size - 1)
    low = np.floor(place).astype(int)
    there = backend.of(a).from_host
    part = there(np.asarray(place - low, q.dtype))
    start, end = (ordered[..., there(np.minimum(i, size - 1))] for i in (low, low + 1))
    step = end - start  # NumPy goes from the nearer end
    found = np.where(part < 0.5, start + step * part, end - step * (1 - part))
    largest = ordered[..., -1].reshape(ordered.shape[:-1] + (1,) * q.ndim)
    found = np.where(np.isnan(largest), largest, found)
    found = np.moveaxis(found, range(found.ndim - q.ndim, found.ndim), range(q.ndim))
    return np.expand_dims(found, axes) if keepdims else found


quantile, percentile = _quantile("quantile", 1), _quantile("percentile", 100)


# -- covariances --------------------------------------------------------------------------------


@implements(np.cov)
def cov(
    m, y=None, rowvar=True, bias=False, ddof=None, fweights=None, aweights=None, *, dtype=None
):  # fmt: skip
    """Covariances of variables, which are the rows, `[D, D]`, or a number for one variable."""
    m = _variables(m, rowvar)
    if y is not None:
        y = operand(y)  # of which NumPy takes one row for a variable, however `rowvar` is
        m = np.concatenate([m, _variables(y, rowvar or (y.ndim == 2 and len(y) == 1))])
    if m.dtype.kind not in "fc" or dtype is not None:
        m = m.astype(float if dtype is None else dtype)
    else:
        m = m.astype(np.result_type(m.dtype, np.float64), copy=False)
    ddof = (0 if bias else 1) if ddof is None else ddof
    weights = [constant(w, "cov", name, "give numbers") for w, name in (
        (fweights, "fweights"), (aweights, "aweights")
    )]  # fmt: skip
    if all(w is None for w in weights):
        away, total = m - np.mean(m, axis=1, keepdims=True), m.shape[1] - ddof
        return np.squeeze(away @ conjugate(away.T) / (total if total > 0 else math.nan))
    f, a = (np.ones(m.shape[1]) if w is None else np.asarray(w, float) for w in weights)
    w = f * a
    away = m - np.sum(m * (w / w.sum()), axis=1, keepdims=True)
    total = w.sum() - ddof * (w * a).sum() / w.sum()
    return np.squeeze((away * w) @ conjugate(away.T) / (total if total > 0 else math.nan))


def _variables(m, rowvar):
    m = operand(m)
    if m.ndim > 2:
        raise ShapeError(f"np.cov takes arrays of one or two axes, got {list(m.shape)}")
    if m.ndim < 2:
        return np.reshape(m, (1, -1))
    return m if rowvar else m.T


@implements(np.corrcoef)
def corrcoef(x, y=None, rowvar=True, *, dtype=None, **ignored):
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    deviations = np.sqrt(np.real(np.diagonal(c)))
    c = c / deviations[:, None] / deviations
    if c.dtype.kind == "c":
        return np.clip(np.real(c), -1, 1) + 1j * np.clip(np.imag(c), -1, 1)
    return np.clip(c, -1, 1)


OPERATIONS: list = []
