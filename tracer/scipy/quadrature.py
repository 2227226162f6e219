"""`quad`: SciPy's integral of a function, with derivatives by limits and parameters (Leibniz).

d/dp int_a^b f(x, p) dx = f(b) db/dp - f(a) da/dp + int_a^b df/dp dx
"""

import numpy as np
from scipy import integrate

from tracer.api.closures import captured, plainly
from tracer.api.linearisation import Linearisation
from tracer.api.opaque import Call, plain
from tracer.arrays.trees import flatten
from tracer.errors import TracingError
from tracer.record.frames import INTERNAL_FILES
from tracer.record.tensor import Tensor
from tracer.scipy.adjoints import plain_tree

INTERNAL_FILES.add(__file__)

#: the golden section
GOLDEN = 0.6180339887498949
#: options of `quad` that go with derivatives, as `quad_vec` calls them
SHARED = {"epsabs": "epsabs", "epsrel": "epsrel", "points": "points"}
#: options of `quad` that change what is integrated, or what comes back
CHANGING = ("weight", "wvar", "wopts", "complex_func", "full_output")


def quad(func, a, b, args=(), **options):
    """`scipy.integrate.quad`: the integral of `func(x, *args)` from `a` to `b`, and its error.

    Limits may be infinite. Derivatives are by both limits, floats in `args` (arrays, also nested)
    and tensors around `func`; the integrals that they are go to the same `epsabs` and `epsrel`.
    Options are SciPy's. Raises `TracingError` for those that change what is integrated (`weight`),
    where derivatives are wanted.
    """
    args = args if isinstance(args, tuple) else (args,)
    ends = float(plain(a)), float(plain(b))
    seen = _Seen(func, ends, args)
    found = plainly(lambda: integrate.quad(seen, *ends, **options))
    if not seen.around and not any(isinstance(x, Tensor) for x in flatten((a, b, args))[0]):
        return found
    if wrong := [o for o in CHANGING if options.get(o)]:
        raise TracingError(
            f"quad has no derivatives with {wrong[0]}=: write the weight into the function, and "
            f"leave {wrong[0]} out"
        )
    kept = {key: options[key] for key in SHARED if options.get(key) is not None}
    known = [np.asarray(found[0])]

    def compute(a, b, *args):
        if known:
            return known.pop()
        return np.asarray(integrate.quad(_plainly(func, args), float(a), float(b), **options)[0])

    limits = [np.asarray(x, float) if not isinstance(x, Tensor) else x for x in (a, b)]
    value = _recorded(func, compute, limits, args, seen.around, kept)
    return (value, *found[1:])


def _integral(func, a, b, args, options):
    """The integral of a vector, recorded where it depends on tensors."""

    def compute(a, b, *args):
        return integrate.quad_vec(_plainly(func, args), float(a), float(b), **options)[0]

    around = _Seen(func, (float(plain(a)), float(plain(b))), args).around
    return _recorded(func, compute, [a, b], args, around, options)


def _recorded(
    func,
    compute,
    limits,
    args,
    around,
    options,
):
    def rule(site, cotangents):
        (g,), (a, b, *parameters) = cotangents, site.inputs
        nodes = dict(site.around)

        def at(x, *inputs):
            """The integrand at a place and what it is of, as variables of a record."""
            point = (x, *inputs)
            return Linearisation(
                lambda x, *inputs: func(x, *site.call.args([a, b, *inputs])[2:]),
                point,
                range(len(point)),
                around=nodes,
            )

        def end(x):
            return np.sum(g * at(x, *parameters).value()) if np.isfinite(plain(x)) else None

        def slopes(x, g, *inputs):
            record = at(x, *inputs)
            pulled = record.pull(record.cotangents(g))[1:]
            return np.concatenate([np.reshape(p, -1) for p in pulled])

        low, high = (end(x) if w else None for x, w in zip((a, b), site.wanted, strict=False))
        entries = [None if low is None else -low, high]
        every = [*parameters, *nodes.values()]
        if not every:
            return entries
        if any(isinstance(x, Tensor) for x in (a, b, g, *every)):
            whole = _integral(slopes, a, b, (g, *parameters), options)
        else:
            f = _plainly(slopes, (g, *parameters))
            whole = integrate.quad_vec(f, float(plain(a)), float(plain(b)), **options)[0]
        begin = 0
        for value in every:
            shape = np.shape(plain(value))
            size = int(np.prod(shape))
            entries.append(np.reshape(whole[begin : begin + size], shape))
            begin += size
        return entries

    return Call("quad", compute, (*limits, *args), rule, around).run()


class _Seen:
    """An integrand for plain numbers, and the tensors `around` it that it takes.

    They are looked for inside of the interval and, if there are none, wherever it gives a tensor.
    """

    def __init__(self, func, ends, args):
        self.func, self.args = func, plain_tree(tuple(args))
        self.around = captured(func, _inside(*sorted(ends)), *self.args)

    def __call__(self, x):
        value = self.func(x, *self.args)
        if isinstance(value, Tensor) and not self.around:
            self.around = captured(self.func, x, *self.args)
        return plain(value)


def _plainly(func, args):
    return lambda x: plain(func(x, *args))


def _inside(low, high):
    """A place in an interval, which no round number is, where integrands may have their poles."""
    if np.isfinite(low) and np.isfinite(high):
        return low + GOLDEN * (high - low)
    if np.isfinite(low):
        return low + GOLDEN
    return high - GOLDEN if np.isfinite(high) else GOLDEN
