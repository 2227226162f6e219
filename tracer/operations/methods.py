"""Methods of NumPy's ufuncs: `np.add.reduce`, `accumulate`, `reduceat`, `outer`."""

import numpy as np

from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import converted, integer, of_real, one_axis, operand, raw
from tracer.operations.reductions import logsumexp
from tracer.record import dispatch
from tracer.record.dispatch import METHODS

#: ufunc -> the function that reduces by it
REDUCTIONS = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logaddexp: logsumexp,
}


def _reduce(ufunc, function):
    def handler(x, axis=0, dtype=None, keepdims=False, **options):
        if options:
            options = {k: v for k, v in options.items() if not (k == "where" and v is True)}
        if function is logsumexp:
            _check_float(dtype)
            x, initial = _of_logarithms(x, **options)
            total = function(converted(x, dtype), axis=axis, keepdims=keepdims)
            return total if initial is None else np.logaddexp(total, initial)
        return function(converted(x, dtype), axis=axis, keepdims=keepdims, **options)

    return handler


def _check_float(dtype):
    """Raise `ShapeError` for a dtype that logarithms of sums are not of."""
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise ShapeError(f"np.logaddexp.reduce takes a float `dtype`, got {np.dtype(dtype)}")


def _of_logarithms(x, where=True, initial=None):
    x = of_real(x, "np.logaddexp.reduce")
    return x if where is True else np.where(raw(where), x, -np.inf), initial


def _accumulate(function):
    def handler(x, axis=0, dtype=None):
        return function(x, axis=one_axis(axis, x.ndim), dtype=dtype)

    return handler


def _running(ufunc):
    """Of a ufunc whose order of brackets does not matter, in log2(length) steps."""

    def handler(x, axis=0, dtype=None):
        if ufunc is np.logaddexp:
            _check_float(dtype)
        axis = one_axis(axis, x.ndim)
        x, step = np.moveaxis(converted(x, dtype), axis, -1), 1
        while step < x.shape[-1]:
            x = np.concatenate([x[..., :step], ufunc(x[..., step:], x[..., :-step])], axis=-1)
            step *= 2
        return np.moveaxis(x, -1, axis)

    return handler


def _reduceat(function):
    def handler(x, indices, axis=0, dtype=None):
        if function is logsumexp:
            _check_float(dtype)
            x = of_real(x, "np.logaddexp.reduceat")
        axis = one_axis(axis, x.ndim)
        size = x.shape[axis]
        starts = [integer(i, "an index of ufunc.reduceat") for i in raw(indices)]
        for i in starts:
            if not 0 <= i < size:
                raise ShapeError(f"index {i} of ufunc.reduceat is out of range for {size} elements")
        moved = np.moveaxis(converted(x, dtype), axis, 0)
        parts = [
            function(moved[i:j], axis=0) if i < j else moved[i]
            for i, j in zip(starts, [*starts[1:], size], strict=True)
        ]
        return np.moveaxis(np.stack(parts), 0, axis)

    return handler


def outer(ufunc, x, y, **options):
    """The ufunc of each element of `x` with each of `y`, `[*x.shape, *y.shape]`."""
    if ufunc.nin != 2 or ufunc.signature is not None:
        raise TracingError(f"np.{ufunc.__name__}.outer is of functions of two numbers")
    x, y = operand(x), operand(y)
    return ufunc(np.reshape(x, x.shape + (1,) * y.ndim), y, **options)


for _ufunc, _function in REDUCTIONS.items():
    METHODS[_ufunc, "reduce"] = _reduce(_ufunc, _function)
    METHODS[_ufunc, "reduceat"] = _reduceat(_function)
METHODS[np.add, "accumulate"] = _accumulate(np.cumsum)
METHODS[np.multiply, "accumulate"] = _accumulate(np.cumprod)
for _ufunc in (np.maximum, np.minimum, np.logaddexp):
    METHODS[_ufunc, "accumulate"] = _running(_ufunc)
dispatch.GENERAL["outer"] = outer

OPERATIONS: list = []
