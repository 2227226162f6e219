"""Arithmetic of two arguments, norms, and the operators of tensors.

Operators take the shortest way to a node that there is for their operation, `FAST`.
"""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import meeting
from tracer.errors import TracingError
from tracer.operations import choices, unary
from tracer.operations.arguments import of_real
from tracer.operations.operators import binary_method, fast_binary, fast_unary
from tracer.operations.unary import Absolute, Square, pairs, times
from tracer.record.dispatch import UFUNCS, implements
from tracer.record.operation import Elementwise, operation
from tracer.record.recorder import current_cursor
from tracer.record.tensor import Tensor
from tracer.sweep.slopes import broadcast_tangent, lifted, summed


@operation("add", numpy=np.add)
class Add(Elementwise):
    saves = ()
    linear = True
    takes_complex = True
    forward = np.add
    examples = pairs

    def vjp(node, g):
        """g_x = g; g_y = g."""
        return g, g

    def jvp(node, tangents):
        """t_x + t_y."""
        (t_x, t_y), rank = tangents, len(node.shape)
        if t_x is not None and t_y is not None:
            return lifted(t_x, rank) + lifted(t_y, rank)
        return broadcast_tangent(t_y if t_x is None else t_x, node.shape)

    def through(node, entry):
        """The same, to what a constant of the output's shape or less was added to."""
        (parent,) = (parent for parent in node.parents if parent is not None)
        return entry.shifted() if parent.shape == node.shape else None

    def carry(node, slot, cotangent):
        """U_x[v,n] = U[v,n], the same structure; None where the input is broadcast."""
        return cotangent.select() if node.input_shape(slot) == node.shape else None


@operation("subtract", numpy=np.subtract)
class Subtract(Elementwise):
    saves = ()
    linear = True
    takes_complex = True
    forward = np.subtract
    examples = pairs

    def vjp(node, g):
        """g_x = g; g_y = -g."""
        return g, lambda: -g

    def jvp(node, tangents):
        """t_x - t_y."""
        (t_x, t_y), rank = tangents, len(node.shape)
        if t_x is not None and t_y is not None:
            return lifted(t_x, rank) - lifted(t_y, rank)
        return broadcast_tangent(-t_y if t_x is None else t_x, node.shape)


@operation("multiply", numpy=np.multiply)
class Multiply(Elementwise):
    saves = ("inputs",)
    linear_in = (0, 1)
    takes_complex = True
    forward = np.multiply
    examples = pairs

    def vjp(node, g):
        """g_x = g * y; g_y = g * x, elementwise."""
        x, y = node.inputs
        return lambda: times(g, y), lambda: times(g, x)

    def jvp(node, tangents):
        """t_x * y + x * t_y, elementwise."""
        (x, y), (t_x, t_y), rank = node.inputs, tangents, len(node.shape)
        first = None if t_x is None else times(lifted(t_x, rank), y)
        if t_y is None:
            return first
        second = times(lifted(t_y, rank), x)
        return second if first is None else summed(first, second)


@operation("divide", numpy=np.divide)
class Divide(Elementwise):
    saves = ("inputs",)
    linear_in = (0,)
    takes_complex = True
    forward = np.divide
    examples = pairs

    def vjp(node, g):
        """g_x = g / y; g_y = -g * (x / y) / y, elementwise: y**2 may overflow."""
        (x, y), (numerator, _) = node.inputs, node.parents
        if numerator is None or not numerator.wants:  # g / y may overflow where g_y does not
            return lambda: g / y, lambda: -g * (x / y) / y
        g_x = g / y  # which both take
        return g_x, lambda: -g_x * (x / y)

    def jvp(node, tangents):
        """(t_x - (x / y) * t_y) / y, elementwise."""
        (x, y), (t_x, t_y), rank = node.inputs, tangents, len(node.shape)
        top = None if t_x is None else lifted(t_x, rank)
        if t_y is not None:
            moved = times(lifted(t_y, rank), x / y)
            top = -moved if top is None else top - moved
        return top / y


@operation("power", numpy=np.power)
class Power(Elementwise):
    """`x ** y`.

    The derivative by y, `x ** y * log(x)`, is zero where x is zero and y is not negative, and NaN
    where x is negative: between integers y there are no real powers. Of complex numbers it has the
    logarithm's principal value, which NumPy's powers are of.
    """

    takes_complex = True

    forward = np.power
    examples = pairs

    def vjp(node, g):
        """g_x = g * y * x**(y - 1), zero where y is 0; g_y = g * x**y * log(x), elementwise."""
        x, y = node.inputs

        def base():
            if isinstance(y, int | float | complex):
                return g * (y * x ** (y - 1)) if y else None
            power = meeting(y, g.dtype)  # less one, bytes would overflow and halves be rounded
            one = (x == 0) & (power == 0)  # 0 ** y is no slope there, nor is it infinite
            return g * np.where(one, 0, power * x ** np.where(one, 1, power - 1))

        def exponent():
            if g.dtype.kind == "c":
                return g * _complex_exponent_slope(x, y, node.output, g.dtype)
            if isinstance(x, int | float):
                if x > 0:
                    return g * (node.output * math.log(x))
                return g * (np.where(y >= 0, 0, math.nan).astype(g.dtype) if x == 0 else math.nan)
            positive = x > 0
            log = np.log(np.where(positive, x, 1), dtype=g.dtype)
            other = np.where((x == 0) & (y >= 0), 0, math.nan).astype(g.dtype)
            return g * np.where(positive, node.output * log, other)

        return base, exponent


def _complex_exponent_slope(x, y, power, dtype):
    """`x ** y * log(x)`, in a complex dtype; zero where x is zero and y's real part positive."""
    if isinstance(x, int | float | complex):
        x = np.asarray(x, dtype)
    none = x == 0
    log = np.log(meeting(np.where(none, 1, x), dtype))
    vanishing = np.where(np.real(y) > 0, 0, math.nan).astype(dtype)
    return np.where(none, vanishing, power * log)


@operation("arctan2", numpy=np.arctan2)
class Arctan2(Elementwise):
    saves = ("inputs",)
    forward = np.arctan2
    examples = pairs

    def vjp(node, g):
        """Of arctan2(y, x): g_y = g * (x / r) / r; g_x = -g * (y / r) / r for r = hypot(x, y).

        The square of r may overflow or vanish.
        """
        y, x = (meeting(v, g.dtype) if hasattr(v, "dtype") else v for v in node.inputs)
        r = np.hypot(x, y)
        return lambda: g * (x / r) / r, lambda: -g * (y / r) / r


def inverse_or_zero(x):
    """`1 / x`, and zero where x is zero: then a norm has the subgradient zero at zero."""
    zero = x == 0
    return np.where(zero, 0, 1 / np.where(zero, 1, x))


@operation("hypot", numpy=np.hypot)
class Hypot(Elementwise):
    """`sqrt(x ** 2 + y ** 2)`, with the subgradient zero at zero."""

    forward = np.hypot
    examples = pairs

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
        squares = [square_of_size(x) for x in inputs]
        return squares[0] if len(squares) == 1 else squares[0] + squares[1]
    squares = [
        _squared(p, depth - 1) if _comes_from_norm(p, depth - 1) else _square(x)
        for p, x in zip(node.parents, inputs, strict=True)
    ]
    return node.op(*squares, **node.params)


def square_of_size(x):
    """`|x| ** 2`, which is real, and smooth at zero."""
    if getattr(x, "dtype", None) is not None and x.dtype.kind == "c":
        return np.square(np.real(x)) + np.square(np.imag(x))
    return _square(x)


def _square(x):
    """The square of a tensor, an array or a number, which stays weak in its dtype."""
    return FAST[np.square](x) if isinstance(x, Tensor) else x * x


def finite_below(z):
    """The logarithm of a sum, 0 in place of that of nothing, from which all would differ by NaN."""
    return np.where(z == -math.inf, 0, z)


@operation("logaddexp", numpy=np.logaddexp)
class Logaddexp(Elementwise):
    forward = np.logaddexp
    examples = pairs

    def vjp(node, g):
        """g_x = g * exp(x - z); g_y = g * exp(y - z), for the output z; 0 where z is -inf."""
        (x, y), z = node.inputs, finite_below(node.output)
        return lambda: g * np.exp(x - z), lambda: g * np.exp(y - z)


@operation("logaddexp2", numpy=np.logaddexp2)
class Logaddexp2(Elementwise):
    forward = np.logaddexp2
    examples = pairs

    def vjp(node, g):
        """g_x = g * 2**(x - z); g_y = g * 2**(y - z), for the output z; 0 where z is -inf."""
        (x, y), z = node.inputs, finite_below(node.output)
        return lambda: g * np.exp2(x - z), lambda: g * np.exp2(y - z)


@operation("xlogy", numpy="xlogy")
class Xlogy(Elementwise):
    """`x * log(y)`, zero where x is zero."""

    saves = ("inputs",)
    examples = pairs

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


@implements(np.float_power)
def float_power(x, y):
    """Powers in float64 at least, as NumPy takes them."""
    base, exponent = (
        v.astype(np.result_type(v.dtype, np.float64), copy=False) if isinstance(v, Tensor) else v
        for v in (x, y)
    )
    return np.power(base, exponent)


OPERATIONS = [
    *(Add, Subtract, Multiply, Divide, Power, Arctan2, Hypot, Root),
    *(Logaddexp, Logaddexp2, Xlogy),
]
#: elementwise ones of NumPy's ufuncs and others
ELEMENTWISE = [*unary.OPERATIONS, *choices.OPERATIONS, *OPERATIONS]


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


def _sign(of_real):
    """`np.sign`, which is flat for real numbers, and `z / |z|` for complex ones."""

    def sign(x):
        if x.dtype.kind != "c":
            return of_real(x)
        return x * inverse_or_zero(abs(x))

    return sign


def _of_real(function, name):
    return lambda x: function(of_real(x, name))


def _fast(op, ufunc):
    squares = (NEAR_NORMS, square_of_norm) if op in (Square, Multiply) else ()
    call = (fast_binary if ufunc.nin == 2 else fast_unary)(op, *squares)
    return noted(call) if op in NORMS else call


#: ufunc -> a function that records the same as its operation, with less overhead
FAST = {
    function: _fast(op, function)
    for op in ELEMENTWISE
    for function in op.numpy
    if isinstance(function, np.ufunc)
}
_any_power = FAST[np.power]
FAST[np.sign] = _sign(FAST[np.sign])
FAST[np.fabs] = _of_real(FAST[np.fabs], "np.fabs")
FAST[np.power] = lambda x, y: _power(x, y) if isinstance(x, Tensor) else _any_power(x, y)
for _op in ELEMENTWISE:
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
assert UFUNCS
