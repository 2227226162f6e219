"""Functions of `scipy.special`: a table of them, with their derivatives.

Those of one argument are as in `tracer.operations.unary`, where the commonest are. Orders and
shapes of others (`v` of `jv(v, x)`, `a` of `gammainc(a, x)`) have no derivative in closed form:
such an argument is refused while it wants a gradient.
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import meeting
from tracer.errors import TracingError
from tracer.operations.arguments import raw
from tracer.operations.arithmetic import Xlogy
from tracer.operations.unary import BY_NAME, between, of_input, of_output, pairs, special, times
from tracer.record.dispatch import implements
from tracer.record.operation import Elementwise, operation
from tracer.record.recorder import current_tape
from tracer.record.tensor import Tensor

HALF_SQRT_PI = float(np.sqrt(np.pi) / 2)
SQRT_TWO_PI = float(np.sqrt(2 * np.pi))
SQRT_HALF = float(np.sqrt(0.5))
SQRT_TWO_OVER_PI = float(np.sqrt(2 / np.pi))
LOG_PI = float(np.log(np.pi))
#: functions that have a derivative by their last argument alone -> the names of the others
OF_LAST: dict[str, list[str]] = {}


def of_arrays(name):
    """A function of `scipy.special` of several arguments, from the library of the arrays given."""

    def call(*inputs):
        like = next((x for x in inputs if backend.is_array(x)), inputs[-1])
        out = backend.of(like).special(name)(*inputs)
        wide = np.result_type(*inputs)  # of which some of SciPy's loops have a wider one
        return out.astype(wide, copy=False) if wide.kind == "f" and out.dtype.kind == "f" else out

    return call


def of_two(name, by_first, by_second, slopes, uses_output=False):
    """An elementwise operation of two arguments, with the derivative by each as a function of both.

    With `uses_output` the derivative is that function times the output.
    """

    @operation(name, numpy=name)
    class OfTwo(Elementwise):
        saves = ("inputs", "output") if uses_output else ("inputs",)
        forward = of_arrays(name)
        examples = pairs

        def vjp(node, g):
            x, y = (_met(v, g.dtype) for v in node.inputs)
            scaled = g * node.output if uses_output else g
            return tuple(
                lambda by=by: scaled * _narrow(by(x, y), g.dtype) for by in (by_first, by_second)
            )

        vjp.__doc__ = f"g * df/dx, g * df/dy with {slopes}, elementwise."

    return OfTwo


def of_last(name, before, derivative, slope, constants, domain):
    """An elementwise operation that has a derivative by the last of its arguments alone.

    `before` are the names of the others, and `constants` their values in the examples.
    """

    @operation(name)
    class OfLast(Elementwise):
        saves = ("inputs",)
        forward = of_arrays(name)

        def vjp(node, g):
            def by_last():
                slope = derivative(*(_met(v, g.dtype) for v in node.inputs))
                return times(g, _narrow(slope, g.dtype))

            return *[None] * len(before), by_last

        vjp.__doc__ = f"g * dy/dx with dy/dx = {slope}, elementwise; none by {', '.join(before)}."

        def examples(rng):
            x = rng.uniform(*domain, (2, 3))
            ranks = [np.arange(1, 4, dtype=np.int16) + np.int16(i) for i in range(len(before))]
            return [((*constants, x), {}), ((*ranks, x), {})]

    @implements(name)
    def call(*inputs):
        for argument, value in zip(before, inputs, strict=False):
            _refuse_gradient(name, argument, value)
        return OfLast(*inputs)

    call.__name__ = name
    OF_LAST[name] = before
    return OfLast


def _met(value, dtype):
    """Data in the dtype of the cotangent; a number as it is."""
    return meeting(value, dtype) if hasattr(value, "dtype") else value


def _narrow(value, dtype):
    """A factor in the dtype of what it is multiplied with; numbers among inputs widen it."""
    return value.astype(dtype) if getattr(value, "dtype", dtype) != dtype else value


def _refuse_gradient(function, argument, value):
    """Raise `TracingError` for an argument that wants a gradient and has none."""
    wants = isinstance(value, Tensor) and value.node is not None and value.node.wants
    if wants and current_tape() is not None:
        raise TracingError(
            f"scipy.special.{function} has no derivative by its argument `{argument}`, which wants "
            f"a gradient: it is not in closed form; give {argument}.detach() where it is a constant"
        )


def op(name):
    """An operation by its name, of the tables here and in `unary`; of numbers it gives a number."""

    def call(*inputs):
        made = (BY_NAME.get(name) or _BY_NAME[name])(*inputs)
        return float(made) if isinstance(made, np.generic) else made

    return call


gammaln, digamma, sign = op("gammaln"), op("digamma"), op("sign")
j0, j1, y0, y1, i0, i1, i0e, i1e, k0, k1 = map(op, "j0 j1 y0 y1 i0 i1 i0e i1e k0 k1".split())
jv, yv, iv, ive, kv, kve, yn = map(op, "jv yv iv ive kv kve yn".split())
betaln, xlog1py, hyp1f1 = map(op, "betaln xlog1py hyp1f1".split())


def _beta_density(a, b, x):
    return np.exp(Xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b))


def _gamma_density(a, x):
    return np.exp(Xlogy(a - 1, x) - x - gammaln(a))


def _t_density(df, t):
    """Above a billion degrees of freedom, or infinitely many, that of the normal distribution."""
    normal = raw(df) > 1e9
    if np.any(normal):
        df = np.where(normal, 1e9, df)
    scale = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * (op("log")(df) + LOG_PI)
    density = np.exp(scale - (df + 1) / 2 * np.log1p(t * t / df))
    if not np.any(normal):
        return density
    return np.where(normal, np.exp(-0.5 * t * t) / SQRT_TWO_PI, density)


def one(table, name, derivative, slope, domain=(0.2, 0.9)):
    """An entry of one argument: `table` is `of_input` or `of_output`."""
    return table(name, special(name), derivative, slope, domain, numpy=name)


# fmt: off
TABLE = [
    of_two("beta",     lambda a, b: digamma(a) - digamma(a + b),
                       lambda a, b: digamma(b) - digamma(a + b),
                       "df/da = beta(a, b) * (digamma(a) - digamma(a + b))", uses_output=True),
    of_two("betaln",   lambda a, b: digamma(a) - digamma(a + b),
                       lambda a, b: digamma(b) - digamma(a + b),
                       "df/da = digamma(a) - digamma(a + b)"),
    of_two("xlog1py",  lambda x, y: np.log1p(np.where((x == 0) & (y <= -1), 0, y)),
                       lambda x, y: x / (1 + y), "df/dx = log1p(y), df/dy = x / (1 + y)"),
    of_two("rel_entr", lambda x, y: np.log(x / y) + 1,
                       lambda x, y: -x / y, "df/dx = log(x / y) + 1, df/dy = -x / y"),
    of_two("kl_div",   lambda x, y: np.log(x / y),
                       lambda x, y: 1 - x / y, "df/dx = log(x / y), df/dy = 1 - x / y"),
    one(of_input,  "entr",     lambda x: -np.log(x) - 1,          "-log(x) - 1"),
    one(of_output, "erfinv",   lambda y: HALF_SQRT_PI * np.exp(y * y),
                               "sqrt(pi) / 2 * exp(y**2)"),
    one(of_output, "erfcinv",  lambda y: -HALF_SQRT_PI * np.exp(y * y),
                               "-sqrt(pi) / 2 * exp(y**2)"),
    one(of_output, "ndtri",    lambda y: SQRT_TWO_PI * np.exp(0.5 * y * y),
                               "sqrt(2 * pi) * exp(y**2 / 2)"),
    one(of_input,  "erfcx",    lambda x: 2 * x * op("erfcx")(x) - 1 / HALF_SQRT_PI,
                               "2 * x * erfcx(x) - 2 / sqrt(pi)"),
    one(of_input,  "log_ndtr", lambda x: InverseMills(x),
                               "sqrt(2 / pi) / erfcx(-x / sqrt(2))"),
    one(of_input,  "exprel",   lambda x: 0.5 * hyp1f1(2, 3, x),   "hyp1f1(2, 3, x) / 2"),
    one(of_input,  "exp10",    lambda x: op("exp10")(x) * float(np.log(10)), "log(10) * 10**x"),
    one(of_input,  "gamma",    lambda x: op("gamma")(x) * digamma(x), "gamma(x) * digamma(x)",
                               domain=(1.2, 2.0)),
    one(of_input,  "rgamma",   lambda x: -op("rgamma")(x) * digamma(x), "-rgamma(x) * digamma(x)",
                               domain=(1.2, 2.0)),
    one(of_input,  "dawsn",    lambda x: 1 - 2 * x * op("dawsn")(x), "1 - 2 * x * dawsn(x)"),
    one(of_input,  "expi",     lambda x: np.exp(x) / x,           "exp(x) / x"),
    one(of_input,  "exp1",     lambda x: -np.exp(-x) / x,         "-exp(-x) / x"),
    one(of_input,  "j0",       lambda x: -j1(x),                  "-j1(x)"),
    one(of_input,  "j1",       lambda x: 0.5 * (j0(x) - jv(2, x)), "(j0(x) - jv(2, x)) / 2"),
    one(of_input,  "y0",       lambda x: -y1(x),                  "-y1(x)"),
    one(of_input,  "y1",       lambda x: 0.5 * (y0(x) - yn(2, x)), "(y0(x) - yn(2, x)) / 2"),
    of_input("i0", special("i0"), lambda x: i1(x), "i1(x)", numpy=("i0", np.i0)),
    one(of_input,  "i1",       lambda x: 0.5 * (i0(x) + iv(2, x)), "(i0(x) + iv(2, x)) / 2"),
    one(of_input,  "i0e",      lambda x: i1e(x) - sign(x) * i0e(x), "i1e(x) - sign(x) * i0e(x)"),
    one(of_input,  "i1e",      lambda x: 0.5 * (i0e(x) + ive(2, x)) - sign(x) * i1e(x),
                               "(i0e(x) + ive(2, x)) / 2 - sign(x) * i1e(x)"),
    one(of_input,  "k0",       lambda x: -k1(x),                  "-k1(x)"),
    one(of_input,  "k1",       lambda x: -0.5 * (k0(x) + kv(2, x)), "-(k0(x) + kv(2, x)) / 2"),
    of_last("jv",  ["v"],  lambda v, x: 0.5 * (jv(v - 1, x) - jv(v + 1, x)),
            "(jv(v - 1, x) - jv(v + 1, x)) / 2",   (1.5,), (0.5, 2.0)),
    of_last("yv",  ["v"],  lambda v, x: 0.5 * (yv(v - 1, x) - yv(v + 1, x)),
            "(yv(v - 1, x) - yv(v + 1, x)) / 2",   (1.5,), (0.5, 2.0)),
    of_last("yn",  ["n"],  lambda n, x: 0.5 * (yn(n - 1, x) - yn(n + 1, x)),
            "(yn(n - 1, x) - yn(n + 1, x)) / 2",   (2,), (0.5, 2.0)),
    of_last("iv",  ["v"],  lambda v, x: 0.5 * (iv(v - 1, x) + iv(v + 1, x)),
            "(iv(v - 1, x) + iv(v + 1, x)) / 2",   (1.5,), (0.5, 2.0)),
    of_last("ive", ["v"],  lambda v, x: 0.5 * (ive(v - 1, x) + ive(v + 1, x)) - sign(x) * ive(v, x),
            "(ive(v - 1, x) + ive(v + 1, x)) / 2 - sign(x) * ive(v, x)", (1.5,), (0.5, 2.0)),
    of_last("kv",  ["v"],  lambda v, x: -0.5 * (kv(v - 1, x) + kv(v + 1, x)),
            "-(kv(v - 1, x) + kv(v + 1, x)) / 2",  (1.5,), (0.5, 2.0)),
    of_last("kve", ["v"],  lambda v, x: kve(v, x) - 0.5 * (kve(v - 1, x) + kve(v + 1, x)),
            "kve(v, x) - (kve(v - 1, x) + kve(v + 1, x)) / 2", (1.5,), (0.5, 2.0)),
    of_last("betainc",   ["a", "b"], _beta_density,
            "x**(a - 1) * (1 - x)**(b - 1) / beta(a, b)",  (1.7, 2.3), (0.2, 0.8)),
    of_last("betaincc",  ["a", "b"], lambda a, b, x: -_beta_density(a, b, x),
            "-x**(a - 1) * (1 - x)**(b - 1) / beta(a, b)", (1.7, 2.3), (0.2, 0.8)),
    of_last("gammainc",  ["a"], _gamma_density,
            "x**(a - 1) * exp(-x) / gamma(a)",  (1.7,), (0.2, 2.0)),
    of_last("gammaincc", ["a"], lambda a, x: -_gamma_density(a, x),
            "-x**(a - 1) * exp(-x) / gamma(a)", (1.7,), (0.2, 2.0)),
    of_last("stdtr",     ["df"], _t_density, "the density of Student's t",
            (3.5,), (-2.0, 2.0)),
    of_last("hyp1f1",    ["a", "b"], lambda a, b, x: a / b * hyp1f1(a + 1, b + 1, x),
            "a / b * hyp1f1(a + 1, b + 1, x)", (1.7, 2.3), (-1.0, 1.0)),
]
# fmt: on


@operation("inverse_mills")
class InverseMills(Elementwise):
    """The slope of `log_ndtr`: the normal density over its integral, without over- or underflow."""

    examples = between(-2, 2)

    def forward(x):
        return SQRT_TWO_OVER_PI / backend.of(x).special("erfcx")(-SQRT_HALF * x)

    def vjp(node, g):
        """g * dy/dx with dy/dx = -y * (x + y), elementwise."""
        (x,), y = node.inputs, node.output
        return (-g * y * (x + y),)


@operation("gammasgn", numpy="gammasgn")
class GammaSign(Elementwise):
    saves = ()
    piecewise_linear = True
    forward = special("gammasgn")
    examples = between(0.2, 0.8)

    def vjp(node, g):
        """Zero: it is constant between its steps."""
        return (None,)


OPERATIONS = [*TABLE, InverseMills, GammaSign]
_BY_NAME = {each.name: each for each in OPERATIONS}
for _name in ("erfcx", "dawsn", "exp1", "expi"):  # whose slopes hold for complex numbers, too
    _BY_NAME[_name].takes_complex = True
