"""Elementwise functions: arithmetic, exponentials, trigonometry, extremes, roundings.

Functions of one argument stand in a table: the derivative in terms of the input x or of the output
y, whichever needs less, and its formula. Functions of two arguments follow, each a short class.
"""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import is_half, meeting
from tracer.errors import TracingError
from tracer.operations.arguments import ABSENT, constant, integer, operand, refuse
from tracer.operations.operators import binary_method, fast_binary, fast_choice, fast_unary
from tracer.record.dispatch import UFUNCS, implements, in_numpy, refuse_out
from tracer.record.operation import Elementwise, operation
from tracer.record.recorder import current_cursor
from tracer.record.tensor import Tensor


def _between(low, high):
    """Example inputs for a function of one argument: away from the ends of its domain."""
    return lambda rng: [((rng.uniform(low, high, (2, 3)),), {})]


def times(g, factor):
    """A stack `g [V, *shape]` times a factor that broadcasts to `shape`.

    Given as many axes as the stack has, the factor of a small stack takes NumPy 0.28 microseconds
    and not the 0.77 that its broadcasting takes.
    """
    return g * factor[None] if type(factor) is np.ndarray else g * factor


def of_input(name, function, derivative, slope, domain=(0.2, 0.9), numpy=None):
    """An elementwise operation whose derivative is written in terms of its input.

    `slope` is the formula of that derivative, which the rule's text states; a test evaluates it.
    """

    @operation(name, numpy=function if numpy is None else numpy)
    class OfInput(Elementwise):
        saves = ("inputs",)
        forward = function
        examples = _between(*domain)

        def vjp(node, g):
            return (times(g, derivative(node.inputs[0])),)

        vjp.__doc__ = f"g * dy/dx with dy/dx = {slope}, elementwise."

    return OfInput


def of_output(name, function, derivative, slope, domain=(0.2, 0.9), numpy=None):
    """An elementwise operation whose derivative is written in terms of its output, as above."""

    @operation(name, numpy=function if numpy is None else numpy)
    class OfOutput(Elementwise):
        saves = ("output",)
        forward = function
        examples = _between(*domain)

        def vjp(node, g):
            return (times(g, derivative(node.output)),)

        vjp.__doc__ = f"g * dy/dx with dy/dx = {slope}, elementwise."

    return OfOutput


def flat(name, function, numpy=None):
    """An elementwise operation whose derivative is zero almost everywhere."""

    @operation(name, numpy=function if numpy is None else numpy)
    class Flat(Elementwise):
        saves = ()
        piecewise_linear = True
        forward = function
        examples = _between(0.2, 0.4)

        def vjp(node, g):
            """Zero: it is constant between its steps."""
            return (None,)

    return Flat


def special(name):
    """A function of `scipy.special`, taken from the array's own library."""
    return lambda x: backend.of(x).special(name)(x)


LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))
DEGREE = float(np.pi / 180)
TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))
SQRT_TWO_PI = float(np.sqrt(2 * np.pi))

# fmt: off
UNARY = [
    of_output("exp",        np.exp,        lambda y: y,                "y"),
    of_output("exp2",       np.exp2,       lambda y: y * LN2,          "y * log(2)"),
    of_output("expm1",      np.expm1,      lambda y: y + 1,            "y + 1"),
    of_input("log",         np.log,        lambda x: 1 / x,            "1 / x"),
    of_input("log2",        np.log2,       lambda x: 1 / (x * LN2),    "1 / (x * log(2))"),
    of_input("log10",       np.log10,      lambda x: 1 / (x * LN10),   "1 / (x * log(10))"),
    of_input("log1p",       np.log1p,      lambda x: 1 / (x + 1),      "1 / (1 + x)"),
    of_output("sqrt",       np.sqrt,       lambda y: 0.5 / y,          "1 / (2 * y)"),
    of_output("cbrt",       np.cbrt,       lambda y: 1 / (3 * y * y),  "1 / (3 * y**2)"),
    of_input("square",      np.square,     lambda x: 2 * x,            "2 * x"),
    of_output("reciprocal", np.reciprocal, lambda y: -y * y,           "-y**2"),
    of_input("sin",         np.sin,        lambda x: np.cos(x),        "cos(x)"),
    of_input("cos",         np.cos,        lambda x: -np.sin(x),       "-sin(x)"),
    of_output("tan",        np.tan,        lambda y: 1 + y * y,        "1 + y**2"),
    of_input("arcsin",      np.arcsin,     lambda x: 1 / np.sqrt(1 - x * x), "1 / sqrt(1 - x**2)"),
    of_input("arccos",      np.arccos,     lambda x: -1 / np.sqrt(1 - x * x),
                                           "-1 / sqrt(1 - x**2)"),
    of_input("arctan",      np.arctan,     lambda x: 1 / (1 + x * x),  "1 / (1 + x**2)"),
    of_input("sinh",        np.sinh,       lambda x: np.cosh(x),       "cosh(x)"),
    of_input("cosh",        np.cosh,       lambda x: np.sinh(x),       "sinh(x)"),
    of_output("tanh",       np.tanh,       lambda y: 1 - y * y,        "1 - y**2"),
    of_input("arcsinh",     np.arcsinh,    lambda x: 1 / np.sqrt(x * x + 1), "1 / sqrt(x**2 + 1)"),
    of_input("arccosh",     np.arccosh,    lambda x: 1 / np.sqrt(x * x - 1),
                                           "1 / sqrt(x**2 - 1)", domain=(1.2, 2.0)),
    of_input("arctanh",     np.arctanh,    lambda x: 1 / (1 - x * x),  "1 / (1 - x**2)"),
    of_input("absolute",    np.absolute,   lambda x: np.sign(x),
                                           "sign(x)", numpy=(np.absolute, np.fabs)),
    of_input("sinc",        np.sinc,       lambda x: _sinc_slope(x),
                                           "(cos(pi * x) - sinc(x)) / x", numpy=()),
    of_input("erf",         special("erf"),      lambda x: TWO_OVER_SQRT_PI * np.exp(-x * x),
                                                 "2 / sqrt(pi) * exp(-x**2)", numpy="erf"),
    of_input("erfc",        special("erfc"),     lambda x: -TWO_OVER_SQRT_PI * np.exp(-x * x),
                                                 "-2 / sqrt(pi) * exp(-x**2)", numpy="erfc"),
    of_input("ndtr",        special("ndtr"),     lambda x: np.exp(-0.5 * x * x) / SQRT_TWO_PI,
                                                 "exp(-x**2 / 2) / sqrt(2 * pi)", numpy="ndtr"),
    of_output("expit",      special("expit"),    lambda y: y * (1 - y),
                                                 "y * (1 - y)", numpy="expit"),
    of_output("log_expit",  special("log_expit"), lambda y: -np.expm1(y),
                                                  "-expm1(y)", numpy="log_expit"),
    of_input("logit",       special("logit"),    lambda x: 1 / (x * (1 - x)),
                                                 "1 / (x * (1 - x))", numpy="logit"),
    of_input("gammaln",     special("gammaln"),  lambda x: _digamma(x),
                                                 "digamma(x)", numpy="gammaln"),
    of_input("digamma",     special("digamma"),  lambda x: _trigamma(x),
                                                 "polygamma(1, x)", numpy=("psi", "digamma")),
    flat("sign",  np.sign),
    flat("floor", np.floor),
    flat("ceil",  np.ceil),
    flat("trunc", np.trunc, numpy=(np.trunc, in_numpy("fix"))),
    flat("rint",  np.rint),
]
# fmt: on

BY_NAME = {op.name: op for op in UNARY}
Square, Sqrt, Exp, Log, Tanh = (BY_NAME[n] for n in ("square", "sqrt", "exp", "log", "tanh"))
Erf, Expit, LogExpit = (BY_NAME[n] for n in ("erf", "expit", "log_expit"))
Absolute = BY_NAME["absolute"]
Absolute.piecewise_linear = True


@implements(np.sinc)
def sinc(x):
    return BY_NAME["sinc"](x)


def _sinc_slope(x):
    """Derivative of sin(pi x)/(pi x), by its series near zero, where the quotient cancels."""
    near = abs(x) < 1e-2
    t = np.where(near, x, 0)
    series = t * (np.pi**2 * t * t / 5 - 2) * (np.pi**2 / 6)
    safe = np.where(near, 1, x)
    return np.where(near, series, (np.cos(np.pi * safe) - np.sinc(safe)) / safe)


@operation("polygamma", numpy="polygamma")
class Polygamma(Elementwise):
    """The n-th derivative of digamma, `polygamma(n, x)` with n fixed."""

    saves = ("inputs",)

    def forward(x, *, n):
        return backend.of(x).special("polygamma")(n, x).astype(x.dtype)

    def vjp(node, g):
        """g * polygamma(n + 1, x), elementwise."""
        return (g * Polygamma(node.inputs[0], n=node.params["n"] + 1),)

    def examples(rng):
        return [((rng.uniform(1, 2, 3),), {"n": 1})]


def _digamma(x):
    return BY_NAME["digamma"](x)


def _trigamma(x):
    return Polygamma(x, n=1)


@operation("negative", numpy=np.negative)
class Negative(Elementwise):
    saves = ()
    linear = True
    forward = np.negative
    examples = _between(-1, 1)

    def vjp(node, g):
        """-g."""
        return (-g,)


@operation("positive", numpy=np.positive)
class Positive(Elementwise):
    saves = ()
    linear = True
    forward = np.positive
    examples = _between(-1, 1)

    def vjp(node, g):
        """g."""
        return (g,)


def _pairs(rng):
    """Example inputs for a function of two: same shape, broadcast rows and columns, numbers."""
    a, b = rng.uniform(0.5, 1.0, (2, 3)), rng.uniform(1.5, 2.0, (2, 3))
    arrays = [((a, b), {}), ((a[:, :1], b[0]), {}), ((b[:1], a), {})]
    return [*arrays, ((a, 1.7), {}), ((0.8, b), {})]


@operation("add", numpy=np.add)
class Add(Elementwise):
    saves = ()
    linear = True
    forward = np.add
    examples = _pairs

    def vjp(node, g):
        """g_x = g; g_y = g."""
        return g, g

    def carry(node, slot, cotangent):
        """U_x[v,n] = U[v,n], the same structure; None where the input is broadcast."""
        return cotangent.select() if node.input_shape(slot) == node.shape else None


@operation("subtract", numpy=np.subtract)
class Subtract(Elementwise):
    saves = ()
    linear = True
    forward = np.subtract
    examples = _pairs

    def vjp(node, g):
        """g_x = g; g_y = -g."""
        return g, lambda: -g


@operation("multiply", numpy=np.multiply)
class Multiply(Elementwise):
    saves = ("inputs",)
    linear_in = (0, 1)
    forward = np.multiply
    examples = _pairs

    def vjp(node, g):
        """g_x = g * y; g_y = g * x, elementwise."""
        x, y = node.inputs
        return lambda: times(g, y), lambda: times(g, x)


@operation("divide", numpy=np.divide)
class Divide(Elementwise):
    saves = ("inputs",)
    linear_in = (0,)
    forward = np.divide
    examples = _pairs

    def vjp(node, g):
        """g_x = g / y; g_y = -g * (x / y) / y, elementwise: y**2 may overflow."""
        x, y = node.inputs
        return lambda: g / y, lambda: -g * (x / y) / y


@operation("power", numpy=np.power)
class Power(Elementwise):
    """`x ** y`.

    The derivative by y, `x ** y * log(x)`, is zero where x is zero and y is not negative, and NaN
    where x is negative: between integers y there are no real powers.
    """

    forward = np.power
    examples = _pairs

    def vjp(node, g):
        """g_x = g * y * x**(y - 1), zero where y is 0; g_y = g * x**y * log(x), elementwise."""
        x, y = node.inputs

        def base():
            if isinstance(y, int | float):
                return g * (y * x ** (y - 1)) if y else None
            power = meeting(y, g.dtype)  # less one, bytes would overflow and halves be rounded
            one = (x == 0) & (power == 0)  # 0 ** y is no slope there, nor is it infinite
            return g * np.where(one, 0, power * x ** np.where(one, 1, power - 1))

        def exponent():
            if isinstance(x, int | float):
                if x > 0:
                    return g * (node.output * math.log(x))
                return g * (np.where(y >= 0, 0, math.nan).astype(g.dtype) if x == 0 else math.nan)
            positive = x > 0
            log = np.log(np.where(positive, x, 1), dtype=g.dtype)
            other = np.where((x == 0) & (y >= 0), 0, math.nan).astype(g.dtype)
            return g * np.where(positive, node.output * log, other)

        return base, exponent


@operation("arctan2", numpy=np.arctan2)
class Arctan2(Elementwise):
    saves = ("inputs",)
    forward = np.arctan2
    examples = _pairs

    def vjp(node, g):
        """Of arctan2(y, x): g_y = g * x / (x**2 + y**2); g_x = -g * y / (x**2 + y**2)."""
        y, x = (meeting(v, g.dtype) if hasattr(v, "dtype") else v for v in node.inputs)
        scaled = g / (x * x + y * y)
        return lambda: scaled * x, lambda: -scaled * y


def inverse_or_zero(x):
    """`1 / x`, and zero where x is zero: then a norm has the subgradient zero at zero."""
    zero = x == 0
    return np.where(zero, 0, 1 / np.where(zero, 1, x))


@operation("hypot", numpy=np.hypot)
class Hypot(Elementwise):
    """`sqrt(x ** 2 + y ** 2)`, with the subgradient zero at zero."""

    forward = np.hypot
    examples = _pairs

    def vjp(node, g):
        """g_x = g * x / h; g_y = g * y / h, for the output h; zero where h is."""
        x, y = node.inputs
        scaled = g * inverse_or_zero(node.output)
        return lambda: scaled * x, lambda: scaled * y


@operation("root")
class Root(Elementwise):
    """`x ** (1 / order)` of a sum of powers, where a norm comes from: with slope zero at zero."""

    examples = staticmethod(lambda rng: [((rng.uniform(1, 2, 3),), {"order": p}) for p in (2, 3)])

    def forward(x, *, order):
        return np.sqrt(x) if order == 2 else x ** (1 / order)

    def vjp(node, g):
        """g * y / (p * x) for y = x**(1 / p), which is g / (2 * y) for p = 2; zero where x is."""
        y, order = node.output, node.params["order"]
        if order == 2:
            return (g * (0.5 * inverse_or_zero(y)),)
        return (g * (y * inverse_or_zero(node.inputs[0]) / order),)


def noted(call):
    """A function that records a norm, and says so: squares are looked into where there is one."""

    def noting(*args, **options):
        cursor = current_cursor()
        if cursor is not None:
            cursor.tape.snapshots.norms = True
        return call(*args, **options)

    noting.__name__ = getattr(call, "__name__", "root")
    return noting


root = noted(Root)

#: operations whose results have squares that are smooth where they are zero
NORMS = frozenset((Root, Hypot, Absolute))
PRODUCTS = frozenset((Multiply, Divide))
#: these, and operations that move or scale what they are given; those that move add themselves
NEAR_NORMS = {*NORMS, *PRODUCTS}


def square_of_norm(x):
    """The square of a norm, also of one that was moved or scaled, without the root; or None.

    It is smooth where the norm is zero and has no derivatives of its own. Elsewhere the square is
    taken of the norm as it stands, which may be what a quantity takes for the output of a model.
    """
    if not _comes_from_norm(x.node, depth=3) or not bool((x._value == 0).any()):
        return None
    return _squared(x.node)


def _comes_from_norm(node, depth):
    """Whether a node is a norm or a few moves and factors from one, and has what that is made of.

    The inputs of a factor are saved, those of a move are not asked for.
    """
    if node is None or node.op not in NEAR_NORMS or depth == 0:
        return False
    if node.op in NORMS:
        return node.params.get("order", 2) == 2 and node.inputs[0] is not None
    whole = node.op not in PRODUCTS or all(v is not None for v in node.inputs)
    return whole and any(_comes_from_norm(p, depth - 1) for p in node.parents)


def _squared(node, depth=3):
    inputs = [
        v if p is None else Tensor(v, p) for v, p in zip(node.inputs, node.parents, strict=True)
    ]
    if node.op is Root:
        return inputs[0]
    if node.op in NORMS:
        squares = [_square(x) for x in inputs]
        return squares[0] if len(squares) == 1 else squares[0] + squares[1]
    squares = [
        _squared(p, depth - 1) if _comes_from_norm(p, depth - 1) else _square(x)
        for p, x in zip(node.parents, inputs, strict=True)
    ]
    return node.op(*squares, **node.params)


def _square(x):
    """The square of a tensor, an array or a number, which stays weak in its dtype."""
    return FAST[np.square](x) if isinstance(x, Tensor) else x * x


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


@operation("logaddexp", numpy=np.logaddexp)
class Logaddexp(Elementwise):
    forward = np.logaddexp
    examples = _pairs

    def vjp(node, g):
        """g_x = g * exp(x - z); g_y = g * exp(y - z), for the output z."""
        x, y = node.inputs
        return lambda: g * np.exp(x - node.output), lambda: g * np.exp(y - node.output)


@operation("logaddexp2", numpy=np.logaddexp2)
class Logaddexp2(Elementwise):
    forward = np.logaddexp2
    examples = _pairs

    def vjp(node, g):
        """g_x = g * 2**(x - z); g_y = g * 2**(y - z), for the output z."""
        x, y = node.inputs
        return lambda: g * np.exp2(x - node.output), lambda: g * np.exp2(y - node.output)


@operation("xlogy", numpy="xlogy")
class Xlogy(Elementwise):
    """`x * log(y)`, zero where x is zero."""

    saves = ("inputs",)
    examples = _pairs

    def forward(x, y):
        xlogy = backend.of(x if backend.is_array(x) else y).special("xlogy")
        return xlogy(x, y).astype(np.result_type(x, y), copy=False)

    def vjp(node, g):
        """g_x = g * log(y), zero where x is and y is not positive; g_y = g * x / y, elementwise."""
        x, y = node.inputs

        def factor():
            none = (x == 0) & (y <= 0)
            return g * np.log(np.where(none, 1, y), dtype=g.dtype)

        return factor, lambda: g * x / y


def _chosen(g, wins, ties):
    """The gradient of an extreme: all of it to the winner, half of it at a tie."""
    return np.where(wins, g, np.where(ties, 0.5 * g, 0))


@operation("maximum", numpy=np.maximum)
class Maximum(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    forward = np.maximum
    examples = _pairs

    def vjp(node, g):
        """g_x = g where x > y, g / 2 where x = y, 0 elsewhere; g_y alike where y > x."""
        x, y = node.inputs
        return lambda: _chosen(g, x > y, x == y), lambda: _chosen(g, y > x, x == y)


@operation("minimum", numpy=np.minimum)
class Minimum(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    forward = np.minimum
    examples = _pairs

    def vjp(node, g):
        """g_x = g where x < y, g / 2 where x = y, 0 elsewhere; g_y alike where y < x."""
        x, y = node.inputs
        return lambda: _chosen(g, x < y, x == y), lambda: _chosen(g, y < x, x == y)


@operation("fmax", numpy=np.fmax)
class Fmax(Elementwise):
    """The larger of two, or the one that is a number."""

    piecewise_linear = True
    saves = ("inputs",)
    forward = np.fmax
    examples = _pairs

    def vjp(node, g):
        """g_x = g where x > y or y is NaN, g / 2 where x = y, 0 elsewhere; g_y alike."""
        x, y = node.inputs
        return (
            lambda: _chosen(g, (x > y) | np.isnan(y), x == y),
            lambda: _chosen(g, (y > x) | np.isnan(x), x == y),
        )


@operation("fmin", numpy=np.fmin)
class Fmin(Elementwise):
    """The smaller of two, or the one that is a number."""

    piecewise_linear = True
    saves = ("inputs",)
    forward = np.fmin
    examples = _pairs

    def vjp(node, g):
        """g_x = g where x < y or y is NaN, g / 2 where x = y, 0 elsewhere; g_y alike."""
        x, y = node.inputs
        return (
            lambda: _chosen(g, (x < y) | np.isnan(y), x == y),
            lambda: _chosen(g, (y < x) | np.isnan(x), x == y),
        )


@operation("remainder", numpy=np.remainder)
class Remainder(Elementwise):
    saves = ("inputs",)
    forward = np.remainder
    examples = _pairs

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
    examples = _pairs

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


@operation("copysign", numpy=np.copysign)
class Copysign(Elementwise):
    piecewise_linear = True
    saves = ("inputs",)
    forward = np.copysign
    examples = _pairs

    def vjp(node, g):
        """g_x = g where the signs of x and y agree, -g elsewhere; g_y = 0."""
        x, y = node.inputs
        return lambda: np.where(np.signbit(x) == np.signbit(y), g, -g), None


@operation("where")
class Where(Elementwise):
    """`np.where(condition, x, y)` with a raw condition."""

    saves = ("inputs",)
    linear = True

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


@operation("astype")
class Astype(Elementwise):
    """Conversion to another dtype; no gradient flows through integers and booleans."""

    saves = ()
    linear = True

    def forward(x, dtype):
        return x.astype(dtype)

    def vjp(node, g):
        """g in the dtype of x, in its own for x of half precision; 0 of ints and booleans."""
        if node.dtype.kind != "f":
            return None, None
        dtype = node.parents[0].dtype
        return g if is_half(dtype) else g.astype(dtype), None  # what is kept in half precision

    def examples(rng):
        return [((rng.random(3), np.dtype(np.float64)), {})]


@implements(np.astype)
def astype(x, dtype, /, *, copy=True, device=None):
    dtype = np.dtype(dtype)
    if dtype.kind == "c" and x.dtype.kind != "c":
        raise TracingError(
            f"astype({dtype}) makes complex numbers of a tensor, which have no derivatives here: "
            f"write its real and imaginary parts as two real tensors"
        )
    if dtype.kind not in "fiub":
        raise TracingError(
            f"astype({dtype}) makes no numbers of a tensor: convert its array, "
            f"tensor.data.astype({dtype.str!r}), where no derivative is wanted"
        )
    if not copy and x.dtype == dtype:
        return x  # as NumPy gives the array itself
    out = Astype(x, dtype)
    if dtype.kind != "f" and isinstance(out, Tensor) and out.node is not None:
        out.node.wants = False  # it may be an index, or a number that a loop counts to
    return out


def _method_astype(self, dtype, order="K", casting="unsafe", subok=True, copy=True):
    """The tensor in another dtype; without a gradient in integers and booleans."""
    if not np.can_cast(self.dtype, dtype, casting):
        raise TracingError(f"astype from {self.dtype} to {dtype} breaks casting={casting!r}")
    return astype(self, dtype, copy=copy)


@implements(np.float_power)
def float_power(x, y):
    """Powers in float64 at least, as NumPy takes them."""
    base, exponent = (
        v.astype(np.float64, copy=False) if isinstance(v, Tensor) else v for v in (x, y)
    )
    return np.power(base, exponent)


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


@implements(np.deg2rad, np.radians)
def deg2rad(x):
    return x * DEGREE


@implements(np.rad2deg, np.degrees)
def rad2deg(x):
    return x / DEGREE


@implements(np.copy)
def copy(a, order="K", subok=False):
    """The same values; in which `order` they lie in memory is no property of a tensor."""
    return np.positive(a)


OPERATIONS = [
    *UNARY,
    *(Polygamma, Negative, Positive, Add, Subtract, Multiply, Divide, Power, Arctan2, Hypot),
    *(Logaddexp, Logaddexp2, Xlogy, Maximum, Minimum, Fmax, Fmin, Remainder, Fmod, FloorDivide),
    *(Copysign, Heaviside, Root, Where, NanToNum, Astype, Round, _Clip),
]


def _power(x, y, modulo=None):
    """`x ** 2` and `x ** 0.5` by the cheaper operations."""
    if modulo is not None:
        raise TracingError("pow(t, n, m) is of integers: write t**n % m")
    kind = type(y)
    if kind is int or (kind is float and x.dtype.kind == "f"):
        if y == 2:
            return FAST[np.square](x)
        if y == 0.5:
            return FAST[np.sqrt](x)
    elif isinstance(y, np.generic) and y == 2 and x.dtype == np.result_type(x.dtype, y):
        return FAST[np.square](x)
    return _any_power(x, y)


def _fast(op, ufunc):
    squares = (NEAR_NORMS, square_of_norm) if op in (Square, Multiply) else ()
    call = (fast_binary if ufunc.nin == 2 else fast_unary)(op, *squares)
    return noted(call) if op in NORMS else call


#: ufunc -> a function that records the same as its operation, with less overhead
FAST = {
    function: _fast(op, function)
    for op in OPERATIONS
    for function in op.numpy
    if isinstance(function, np.ufunc)
}
_any_power = FAST[np.power]
FAST[np.power] = lambda x, y: _power(x, y) if isinstance(x, Tensor) else _any_power(x, y)
for _op in OPERATIONS:
    _op.fast = {f: FAST[f] for f in _op.numpy if f in FAST}

for _name, _ufunc in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "mod": np.remainder,
    "floordiv": np.floor_divide,
}.items():
    setattr(Tensor, f"__{_name}__", binary_method(FAST[_ufunc]))
    setattr(Tensor, f"__r{_name}__", binary_method(FAST[_ufunc], reflected=True))

Tensor.__pow__ = binary_method(_power)
Tensor.__rpow__ = binary_method(_any_power, reflected=True)
Tensor.__neg__ = FAST[np.negative]
Tensor.__pos__ = FAST[np.positive]
Tensor.__abs__ = FAST[np.absolute]
Tensor.astype = _method_astype
assert UFUNCS
