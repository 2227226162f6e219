"""Elementwise functions that choose between their arguments, or round: pieces of linear ones."""

import numpy as np

from tracer.errors import TracingError
from tracer.operations.arguments import ABSENT, constant, integer, operand, raw, refuse
from tracer.operations.operators import fast_choice
from tracer.operations.unary import pairs
from tracer.record.dispatch import implements, refuse_out
from tracer.record.operation import Elementwise, operation
from tracer.record.tensor import Tensor


@operation("heaviside", numpy=np.heaviside)
class Heaviside(Elementwise):
    """A step from 0 to 1, with the value `y` where x is zero."""

    saves = ("inputs",)
    piecewise_linear = True
    forward = np.heaviside

    def vjp(node, g):
        """g_x = 0; g_y = g where x is zero, 0 elsewhere."""
        return None, lambda: np.where(node.inputs[0] == 0, g, 0)

    def examples(rng):
        return [((np.array([[0, 1, 0], [-1, 0, 2]], np.int8), rng.random(3)), {})]


def _chosen(g, wins, ties):
    """The gradient of an extreme: all of it to the winner, half of it at a tie."""
    return np.where(wins, g, np.where(ties, 0.5 * g, 0))


@operation("maximum", numpy=np.maximum)
class Maximum(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    forward = np.maximum
    examples = pairs

    def vjp(node, g):
        """g_x = g where x > y, g / 2 where x = y, 0 elsewhere; g_y alike where y > x."""
        x, y = node.inputs
        return lambda: _chosen(g, x > y, x == y), lambda: _chosen(g, y > x, x == y)


@operation("minimum", numpy=np.minimum)
class Minimum(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    forward = np.minimum
    examples = pairs

    def vjp(node, g):
        """g_x = g where x < y, g / 2 where x = y, 0 elsewhere; g_y alike where y < x."""
        x, y = node.inputs
        return lambda: _chosen(g, x < y, x == y), lambda: _chosen(g, y < x, x == y)


def _only_second_is_nan(x, y):
    return np.isnan(y) & ~np.isnan(x)


def _alike(x, y):
    return (x == y) | (np.isnan(x) & np.isnan(y))


@operation("fmax", numpy=np.fmax)
class Fmax(Elementwise):
    """The larger of two, or the one that is a number."""

    piecewise_linear = True
    saves = ("inputs",)
    forward = np.fmax
    examples = pairs

    def vjp(node, g):
        """g_x = g where x > y or y alone is NaN, g / 2 where neither is chosen; g_y alike."""
        x, y = node.inputs
        return (
            lambda: _chosen(g, (x > y) | _only_second_is_nan(x, y), _alike(x, y)),
            lambda: _chosen(g, (y > x) | _only_second_is_nan(y, x), _alike(x, y)),
        )


@operation("fmin", numpy=np.fmin)
class Fmin(Elementwise):
    """The smaller of two, or the one that is a number."""

    piecewise_linear = True
    saves = ("inputs",)
    forward = np.fmin
    examples = pairs

    def vjp(node, g):
        """g_x = g where x < y or y alone is NaN, g / 2 where neither is chosen; g_y alike."""
        x, y = node.inputs
        return (
            lambda: _chosen(g, (x < y) | _only_second_is_nan(x, y), _alike(x, y)),
            lambda: _chosen(g, (y < x) | _only_second_is_nan(y, x), _alike(x, y)),
        )


@operation("remainder", numpy=np.remainder)
class Remainder(Elementwise):
    saves = ("inputs",)
    forward = np.remainder
    examples = pairs

    def vjp(node, g):
        """Of x - y * floor(x / y): g_x = g; g_y = -g * floor(x / y), elementwise.

        The quotient is NumPy's, since x / y may be rounded up to an integer.
        """
        x, y = node.inputs
        return g, lambda: -g * np.floor_divide(x, y)


@operation("fmod", numpy=np.fmod)
class Fmod(Elementwise):
    saves = ("inputs",)
    forward = np.fmod
    examples = pairs

    def vjp(node, g):
        """Of x - y * trunc(x / y): g_x = g; g_y = -g * trunc(x / y), elementwise."""
        x, y = node.inputs
        return g, lambda: -g * np.rint((x - np.fmod(x, y)) / y)


@operation("floor_divide", numpy=np.floor_divide)
class FloorDivide(Elementwise):
    saves = ()
    forward = np.floor_divide

    def vjp(node, g):
        """Zero: it is constant between its steps."""
        return None, None

    def examples(rng):
        return [((rng.uniform(2.2, 2.8, 3), 2.0), {})]


@implements(np.divmod)
def divmod_(x, y):
    return np.floor_divide(x, y), np.remainder(x, y)


@implements(np.modf)
def modf(x):
    """The part behind the point, and the one before it, both with the sign of x."""
    whole = np.trunc(x)
    return np.copysign(np.where(np.isinf(x), 0, x - whole), x), whole


@implements(np.ldexp)
def ldexp(x, exponent):
    power = raw(exponent)
    if getattr(power, "dtype", np.dtype(int)).kind not in "iub":
        raise TracingError(f"np.ldexp takes integers as exponents, got {power.dtype}")
    x = operand(x)
    return x * np.ldexp(np.ones((), x.dtype), power)


@operation("copysign", numpy=np.copysign)
class Copysign(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    forward = np.copysign
    examples = pairs

    def vjp(node, g):
        """g_x = g where the signs of x and y agree, -g elsewhere; g_y = 0."""
        x, y = node.inputs
        return lambda: np.where(np.signbit(x) == np.signbit(y), g, -g), None


@operation("where")
class Where(Elementwise):
    """`np.where(condition, x, y)` with a raw condition."""

    saves = ("inputs",)
    linear = True
    takes_complex = True

    forward = np.where

    def vjp(node, g):
        """g_x = g where the condition holds, 0 elsewhere; g_y = g where it does not, else 0."""
        condition = node.inputs[0]
        return None, lambda: np.where(condition, g, 0), lambda: np.where(condition, 0, g)

    def examples(rng):
        return [((rng.random((2, 3)) > 0.5, rng.random((2, 3)), rng.random(3)), {})]


@operation("nan_to_num")
class NanToNum(Elementwise):
    """Replaces NaN and infinities; no gradient flows where it did."""

    saves = ("inputs",)

    def forward(x, *, nan, posinf, neginf):
        return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)

    def vjp(node, g):
        """g where x is finite, 0 elsewhere."""
        return (np.where(np.isfinite(node.inputs[0]), g, 0),)

    def examples(rng):
        return [((rng.random((2, 3)),), {"nan": 0.0, "posinf": None, "neginf": None})]


@implements(np.where)
def where(condition, x=None, y=None):
    if type(condition) is Tensor:
        if condition.node is not None and condition.node.wants:
            condition = condition != 0
    elif type(condition) is list or type(condition) is tuple:
        condition = operand(condition)
    if x is None and y is None:
        return np.nonzero(condition)
    if x is None or y is None:
        raise TracingError(
            "np.where takes a condition alone, or what to take where it holds and where it does "
            "not: write np.where(mask, t, 0)"
        )
    return _choice(condition, x, y)


_choice = fast_choice(Where)


@implements(np.clip)
def clip(a, a_min=ABSENT, a_max=ABSENT, out=None, *, min=ABSENT, max=ABSENT, **kwargs):
    refuse_out("clip", out)
    refuse("clip", "clip first, then select with np.where or use astype", **kwargs)
    low, high = _bound(a_min, min), _bound(a_max, max)
    if low is not None:
        a = np.maximum(a, low) if isinstance(low, Tensor) else _Clip(a, low=low)
    if high is not None:
        a = np.minimum(a, high) if isinstance(high, Tensor) else _Clip(a, high=high)
    return np.positive(a) if low is None and high is None else a


def _bound(first, second):
    """One bound of `np.clip`, which has two names; an array is copied, as the record keeps it."""
    if first is not ABSENT and second is not ABSENT:
        raise TracingError("np.clip takes a bound as a_min (a_max) or as min (max), got both")
    bound = second if first is ABSENT else first
    if bound is ABSENT or isinstance(bound, int | float | Tensor):
        return None if bound is ABSENT else bound
    return bound if bound is None else operand(bound).copy()


@operation("clip")
class _Clip(Elementwise):
    """Clipping to constants; at a bound the gradient passes, as in PyTorch."""

    piecewise_linear = True
    saves = ("inputs",)

    def forward(x, *, low=None, high=None):
        return np.clip(x, low, high)

    def vjp(node, g):
        """g where x >= low (x <= high), 0 elsewhere."""
        x, low, high = node.inputs[0], node.params.get("low"), node.params.get("high")
        inside = (x >= low) if high is None else (x <= high)
        return (np.where(inside, g, 0),)

    def examples(rng):
        return [((rng.random((2, 3)),), {"low": 0.5}), ((rng.random((2, 3)),), {"high": 0.5})]


@implements(np.nan_to_num)
def nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None):
    if not copy:
        raise TracingError(
            "np.nan_to_num(copy=False) writes into its argument, which tensors do not allow: "
            "write x = np.nan_to_num(x)"
        )
    instead = "use np.where(np.isnan(x), value, x)"
    values = {"nan": nan, "posinf": posinf, "neginf": neginf}
    return NanToNum(x, **{k: constant(v, "nan_to_num", k, instead) for k, v in values.items()})


@operation("round")
class Round(Elementwise):
    """`np.round` to some decimals: flat almost everywhere."""

    saves = ()
    piecewise_linear = True

    def forward(x, *, decimals):
        return np.round(x, decimals)

    def vjp(node, g):
        """Zero: it is constant between its steps."""
        return (None,)

    def examples(rng):
        return [((rng.uniform(0.21, 0.24, 3),), {"decimals": 1})]


@implements(np.round, np.around)
def round_(a, decimals=0, out=None):
    refuse_out("round", out)
    return Round(a, decimals=integer(decimals, "`decimals` of np.round"))


OPERATIONS = [
    *(Heaviside, Maximum, Minimum, Fmax, Fmin, Remainder, Fmod, FloorDivide, Copysign),
    *(Where, NanToNum, Round, _Clip),
]
