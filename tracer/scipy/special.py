"""`scipy.special` for tensors: what is no ufunc there, and every ufunc that has a rule.

`from tracer.scipy.special import expit, logsumexp` serves programs that take SciPy's by name.
"""

import numpy as np

from tracer import hooks
from tracer.errors import TracingError
from tracer.operations import special
from tracer.operations.arguments import cast, integer, negative_axes, operand, raw
from tracer.operations.arithmetic import ELEMENTWISE
from tracer.operations.reductions import LogSumExp
from tracer.operations.unary import BY_NAME, Polygamma
from tracer.record import dispatch, hints
from tracer.record.tensor import Tensor

__all__ = ["log_softmax", "logsumexp", "multigammaln", "polygamma", "softmax"]


def _floats(a):
    """An array or tensor of floats."""
    a = operand(a)
    return a if a.dtype.kind == "f" else cast(a, float)


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False):
    """`log(sum(b * exp(a)))` over `axis`, without overflow.

    `b` weighs what is added, and may be negative: with `return_sign` the result is the logarithm of
    the sum's magnitude, and its sign.
    """
    a = _floats(a)
    if b is None:
        out = LogSumExp(a, axis=negative_axes(axis, a.ndim), keepdims=bool(keepdims))
        return (out, np.ones_like(raw(out))) if return_sign else out
    b = operand(b)
    none = raw(b) == 0
    a = np.where(none & ~np.isfinite(raw(a)), -np.inf, a)
    options = {} if a.size else {"initial": -np.inf}
    top = np.max(np.where(none, -np.inf, _constant(a)), axis=axis, keepdims=True, **options)
    top = np.where(np.isfinite(top), top, 0)
    above = a - top  # above 0 where b is, of which there is a derivative by b
    most = above.dtype.type(0.9 * np.log(np.finfo(above.dtype).max))
    total = np.sum(b * np.exp(np.where(none, np.minimum(above, most), above)), axis, keepdims=True)
    sign = np.sign(_constant(total))
    if not return_sign:
        total = np.where(sign < 0, np.nan, total)
    positive = np.where(sign < 0, -total, total)
    out = np.where(sign == 0, -np.inf, np.log(np.where(sign == 0, 1, positive)) + top)
    if not keepdims:
        axes = tuple(range(out.ndim)) if axis is None else axis
        out, sign = np.squeeze(out, axes), np.squeeze(sign, axes)
    return (out, raw(sign)) if return_sign else out


def _constant(a):
    """The same values, which no gradient flows through, and whose samples are known."""
    return a.detach() if isinstance(a, Tensor) else a


def softmax(x, axis=None):
    """`exp(x)` over its sum along `axis`, an int, several or None for all."""
    return np.exp(log_softmax(x, axis))


def log_softmax(x, axis=None):
    """The logarithm of `softmax`, without overflow."""
    x = _floats(x)
    return x - LogSumExp(x, axis=negative_axes(axis, x.ndim), keepdims=True)


def polygamma(n, x):
    """The derivative of order `n` of the digamma function; `n` is an integer, not an array."""
    if isinstance(n, Tensor) or np.ndim(n):
        raise TracingError(
            f"tracer.scipy.special.polygamma takes one order, an integer, got {n!r}: call it for "
            f"each order"
        )
    return Polygamma(_floats(x), n=integer(n, "the order of polygamma"))


def multigammaln(a, d):
    """The logarithm of the multivariate gamma function of dimension `d`."""
    a, d = _floats(a), integer(d, "`d` of multigammaln")
    if (raw(a) <= 0.5 * (d - 1)).any():
        raise ValueError(f"multigammaln takes a > (d - 1) / 2, which is {0.5 * (d - 1)}")
    constant = float(d * (d - 1) * 0.25 * np.log(np.pi))
    return sum(BY_NAME["gammaln"](a - j / 2) for j in range(d)) + constant


def _of_ufunc(name):
    """A ufunc of SciPy's for tensors, arrays, lists and numbers."""

    def call(*inputs):
        if name not in dispatch.SPECIAL:
            hooks.load()
        given = [x if isinstance(x, int | float) else operand(x) for x in inputs]
        return dispatch.SPECIAL[name](*given)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`scipy.special.{name}`, elementwise, with its derivatives."
    return call


#: SciPy's ufuncs that have rules
UFUNCS = sorted(
    {f for op in [*ELEMENTWISE, *special.OPERATIONS] for f in op.numpy if isinstance(f, str)}
    | set(special.OF_LAST)
)
for _name in UFUNCS:
    if _name not in __all__:
        globals()[_name] = _of_ufunc(_name)
        __all__ += [_name]
jn = globals()["jv"]
__all__ += ["jn"]


def __getattr__(name):
    hooks.load()
    if name in dispatch.SPECIAL:  # of a plugin
        return _of_ufunc(name)
    way = None if name.startswith("_") else "scipy.special has it for arrays, as of tensor.data"
    raise hints.missing("module 'tracer.scipy.special'", name, way, __all__)
