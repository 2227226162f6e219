"""Elementwise functions of one argument: a table of them, with their derivatives.

The derivative is in terms of the input x or of the output y, whichever needs less, and has its
formula beside it.
"""

import numpy as np
from numpy import ndarray

from tracer.arrays import backend
from tracer.arrays.compiled import compiled
from tracer.operations.arguments import of_real
from tracer.record.dispatch import implements, in_numpy
from tracer.record.operation import Elementwise, operation


def between(low, high):
    """Example inputs for a function of one argument: away from the ends of its domain."""
    return lambda rng: [((rng.uniform(low, high, (2, 3)),), {})]


def pairs(rng):
    """Example inputs for a function of two: same shape, broadcast rows and columns, numbers."""
    a, b = rng.uniform(0.5, 1.0, (2, 3)), rng.uniform(1.5, 2.0, (2, 3))
    arrays = [((a, b), {}), ((a[:, :1], b[0]), {}), ((b[:1], a), {})]
    return [*arrays, ((a, 1.7), {}), ((0.8, b), {})]


def times(g, factor):
    """A stack `g [V, *shape]` times a factor that broadcasts to `shape`.

    Given as many axes as the stack has, the factor of a small stack takes NumPy 0.28 microseconds
    and not the 0.77 that its broadcasting takes. A stack that is recorded meets the factor itself,
    which the record knows and need not copy.
    """
    return g * factor[None] if type(g) is type(factor) is ndarray else g * factor


def of_input(name, function, derivative, slope, domain=(0.2, 0.9), numpy=None):
    """An elementwise operation whose derivative is written in terms of its input.

    `slope` is the formula of that derivative, which the rule's text states; a test evaluates it.
    """

    @operation(name, numpy=function if numpy is None else numpy)
    class OfInput(Elementwise):
        saves = ("inputs",)
        forward = function
        examples = between(*domain)

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
        examples = between(*domain)

        def vjp(node, g):
            return (times(g, derivative(node.output)),)

        vjp.__doc__ = f"g * dy/dx with dy/dx = {slope}, elementwise."

    return OfOutput


@operation("tanh", numpy=np.tanh)
class Tanh(Elementwise):
    """NumPy's, which is as fast as a kernel on two threads; its gradient takes one pass by one."""

    saves = ("output",)
    forward = np.tanh
    examples = between(0.2, 0.9)

    def vjp(node, g):
        """g * dy/dx with dy/dx = 1 - y**2, elementwise."""
        y = node.output
        fast = compiled().activate_vjp("tanh", g, y)
        return (times(g, 1 - y * y) if fast is None else fast,)


def flat(name, function, numpy=None):
    """An elementwise operation whose derivative is zero almost everywhere."""

    @operation(name, numpy=function if numpy is None else numpy)
    class Flat(Elementwise):
        saves = ()
        piecewise_linear = True
        forward = function
        examples = between(0.2, 0.4)

        def vjp(node, g):
            """Zero: it is constant between its steps."""
            return (None,)

    return Flat


def special(name):
    """A function of `scipy.special`, taken from the array's own library."""
    return lambda x: backend.of(x).special(name)(x)


@operation("erf", numpy="erf")
class Erf(Elementwise):
    """SciPy's, or a kernel's, which takes a tenth of its time on one core."""

    saves = ("inputs",)
    examples = between(0.2, 0.9)

    def forward(x):
        fast = compiled().activate("erf", x)
        return backend.of(x).special("erf")(x) if fast is None else fast

    def vjp(node, g):
        """g * dy/dx with dy/dx = 2 / sqrt(pi) * exp(-x**2), elementwise."""
        x = node.inputs[0]
        fast = compiled().activate_vjp("erf", g, x)
        return (times(g, TWO_OVER_SQRT_PI * np.exp(-x * x)) if fast is None else fast,)


LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))
DEGREE = float(np.pi / 180)
TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))
SQRT_TWO_PI = float(np.sqrt(2 * np.pi))
# fmt: off
UNARY = [
    of_output("exp",        np.exp,        lambda y: y,                "y"),
    of_output("exp2",       np.exp2,       lambda y: y * LN2,          "y * log(2)",
                            numpy=(np.exp2, "exp2")),
    of_output("expm1",      np.expm1,      lambda y: y + 1,            "y + 1",
                            numpy=(np.expm1, "expm1")),
    of_input("log",         np.log,        lambda x: 1 / x,            "1 / x"),
    of_input("log2",        np.log2,       lambda x: 1 / (x * LN2),    "1 / (x * log(2))"),
    of_input("log10",       np.log10,      lambda x: 1 / (x * LN10),   "1 / (x * log(10))"),
    of_input("log1p",       np.log1p,      lambda x: 1 / (x + 1),      "1 / (1 + x)",
                            numpy=(np.log1p, "log1p")),
    of_output("sqrt",       np.sqrt,       lambda y: 0.5 / y,          "1 / (2 * y)"),
    of_output("cbrt",       np.cbrt,       lambda y: 1 / (3 * y * y),  "1 / (3 * y**2)",
                            numpy=(np.cbrt, "cbrt")),
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
    Tanh,
    of_input("arcsinh",     np.arcsinh,    lambda x: 1 / np.sqrt(x * x + 1), "1 / sqrt(x**2 + 1)"),
    of_input("arccosh",     np.arccosh,    lambda x: _arccosh_slope(x),
                                           "1 / sqrt(x**2 - 1)", domain=(1.2, 2.0)),
    of_input("arctanh",     np.arctanh,    lambda x: 1 / (1 - x * x),  "1 / (1 - x**2)"),
    of_input("absolute",    np.absolute,   lambda x: _absolute_slope(x),
                                           "sign(x)", numpy=(np.absolute, np.fabs)),
    of_input("sinc",        np.sinc,       lambda x: _sinc_slope(x),
                                           "(cos(pi * x) - sinc(x)) / x", numpy=()),
    Erf,
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
Square, Sqrt, Exp, Log = (BY_NAME[n] for n in ("square", "sqrt", "exp", "log"))
Expit, LogExpit = (BY_NAME[n] for n in ("expit", "log_expit"))
Absolute = BY_NAME["absolute"]
Absolute.piecewise_linear = True
#: functions whose slopes hold for complex numbers as they stand
ANALYTIC = (
    "exp exp2 expm1 log log2 log10 log1p sqrt square reciprocal sin cos tan arcsin arccos arctan "
    "sinh cosh tanh arcsinh arccosh arctanh sinc erf erfc "
    "ndtr"
).split()
for _op in (*(BY_NAME[name] for name in ANALYTIC), Absolute):
    _op.takes_complex = True


@implements(np.sinc)
def sinc(x):
    return BY_NAME["sinc"](x)


def _arccosh_slope(x):
    """By two roots where one would take another branch, as left of the imaginary axis."""
    if x.dtype.kind == "c":
        return 1 / (np.sqrt(x - 1) * np.sqrt(x + 1))
    return 1 / np.sqrt(x * x - 1)


def _absolute_slope(x):
    """The sign; of a complex z its conjugate, since d|z| = Re(conj(z) dz) / |z|."""
    sign = np.sign(x)
    return np.conj(sign) if sign.dtype.kind == "c" else sign


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
    takes_complex = True
    forward = np.negative
    examples = between(-1, 1)

    def vjp(node, g):
        """-g."""
        return (-g,)


@operation("positive", numpy=np.positive)
class Positive(Elementwise):
    saves = ()
    linear = True
    takes_complex = True
    forward = np.positive
    examples = between(-1, 1)

    def vjp(node, g):
        """g."""
        return (g,)


@implements(np.deg2rad, np.radians)
def deg2rad(x):
    return of_real(x, "np.deg2rad") * DEGREE


@implements(np.rad2deg, np.degrees)
def rad2deg(x):
    return of_real(x, "np.rad2deg") / DEGREE


@implements(np.copy)
def copy(a, order="K", subok=False):
    """The same values; in which `order` they lie in memory is no property of a tensor."""
    return np.positive(a)


OPERATIONS = [*UNARY, Polygamma, Negative, Positive]
