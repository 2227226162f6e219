"""What a distribution is: its standard form, moved and scaled, within its support.

A distribution is declared by functions of a standard value and of its shapes. What SciPy's methods
add is done here once: arguments by position and by name, `loc` and `scale`, zero density outside of
the support, NaN for shapes and scales that are none, frozen ones.
"""

import math

import numpy as np

from tracer.arrays import backend
from tracer.errors import TracingError
from tracer.operations.arguments import cast, operand, raw
from tracer.record import hints
from tracer.record.recorder import current_tape
from tracer.record.tensor import Tensor

INF = math.inf


class Distribution:
    """Functions of a family: `family.logpdf(x, *shapes, loc=0, scale=1)`, and frozen ones."""

    #: what can be asked for
    methods: tuple[str, ...] = ()

    def __init__(self, name, shapes=""):
        self.name, self.shapes = name, shapes.split()

    def __call__(self, *args, **keywords):
        """The distribution with these arguments: `norm(loc, scale).logpdf(x)`."""
        return Frozen(self, args, keywords)

    def __repr__(self):
        return f"tracer.scipy.stats.{self.name}"

    def __getattr__(self, name):
        way = f"it has {', '.join(self.methods)}; scipy.stats.{self.name} has others, for arrays"
        raise hints.missing(repr(self), name, None if name.startswith("_") else way, ())

    def _arguments(self, args, keywords, names):
        """The arguments behind the first, by name; `loc` is 0 and `scale` 1 where not given."""
        given = dict(zip(names, args, strict=False))
        unknown = [name for name in keywords if name not in names or name in given]
        given |= keywords
        missing = [name for name in self.shapes if name not in given]
        if len(args) > len(names) or unknown or missing:
            wanted = ", ".join(["x", *self.shapes, *(f"{n}=" for n in names[len(self.shapes) :])])
            what = f"got {unknown[0]!r}" if unknown else "got more"
            what = f"lacks {missing[0]!r}" if missing and not unknown else what
            raise TypeError(f"{self!r} takes ({wanted}), and {what}")
        return [given.get(name, 1 if name == "scale" else 0) for name in names]


class Frozen:
    """A distribution with its arguments: methods of a value alone."""

    def __init__(self, family, args, keywords):
        self.dist, self.args, self.kwds = family, args, keywords

    def __getattr__(self, name):
        method = getattr(self.dist, name)
        return lambda x: method(x, *self.args, **self.kwds)


# -- arrays ---------------------------------------------------------------------------------------


def floats(values):
    """Arrays or tensors of floats. Numbers are of the dtype and the library of the arrays."""
    given = [v if isinstance(v, int | float) else operand(v) for v in values]
    arrays = [v for v in given if not isinstance(v, int | float)]
    kinds = [v.dtype if v.dtype.kind == "f" else np.dtype(float) for v in arrays]
    dtype = np.result_type(*kinds) if arrays else np.dtype(float)
    library = backend.of(arrays[0]) if arrays else backend.NUMPY
    made = [
        library.from_host(np.asarray(v, dtype)) if isinstance(v, int | float) else v for v in given
    ]
    return [v if v.dtype.kind == "f" else cast(v, float) for v in made]


def masked(value, keep, other):
    """`value` where `keep`, which is plain, and `other` elsewhere; itself if all is kept."""
    if not backend.of(keep).asynchronous and keep.all():
        return value
    return np.where(keep, value, other)


def is_positive(*values):
    return _all([raw(v) > 0 for v in values])


def _all(conditions):
    out = conditions[0]
    for each in conditions[1:]:
        out = out & each
    return out


# -- continuous -----------------------------------------------------------------------------------


class Continuous(Distribution):
    """Declared by functions of z = (x - loc) / scale and of the shapes.

    `logpdf`, `cdf` and, where they are more exact than what follows from these, `sf`, `logcdf`,
    `logsf`. The support is from `low` to `high`, where the density may be left at zero (`open`).
    """

    methods = ("logpdf", "pdf", "logcdf", "cdf", "logsf", "sf")

    def __init__(
        self, name, shapes="", *, logpdf, cdf, sf, logcdf=None, logsf=None,
        low=-INF, high=INF, within=0.0, open=False,
    ):  # fmt: skip
        super().__init__(name, shapes)
        self._logpdf, self._cdf, self._sf = logpdf, cdf, sf
        self._logcdf = logcdf or (lambda *given: np.log(cdf(*given)))
        self._logsf = logsf or (lambda *given: np.log(sf(*given)))
        self._low, self._high, self._within, self._open = low, high, within, open

    def logpdf(self, x, *args, **keywords):
        """The logarithm of the density; -inf outside of the support."""
        z, shapes, scale, inside, valid = self._standard(x, args, keywords)
        out = self._logpdf(z, *shapes)
        if scale is not None:
            out = out - np.log(scale)
        return masked(masked(out, inside, -INF), valid, math.nan)

    def pdf(self, x, *args, **keywords):
        """The density; 0 outside of the support."""
        return np.exp(self.logpdf(x, *args, **keywords))

    def cdf(self, x, *args, **keywords):
        """The probability of values up to `x`."""
        return self._integral(self._cdf, 0.0, 1.0, x, args, keywords)

    def logcdf(self, x, *args, **keywords):
        """The logarithm of `cdf`."""
        return self._integral(self._logcdf, -INF, 0.0, x, args, keywords)

    def sf(self, x, *args, **keywords):
        """The probability of values above `x`."""
        return self._integral(self._sf, 1.0, 0.0, x, args, keywords)

    def logsf(self, x, *args, **keywords):
        """The logarithm of `sf`."""
        return self._integral(self._logsf, 0.0, -INF, x, args, keywords)

    def _standard(self, x, args, keywords):
        """z, the shapes, the scale or None for one, and where z and the arguments are such.

        Where they are not, z is one that is, so that no derivative is NaN there.
        """
        shifts = self._arguments(args, keywords, [*self.shapes, "loc", "scale"])
        scaled = type(shifts[-1]) is not int or shifts[-1] != 1
        z, *shapes, loc, scale = floats([x, *shifts])
        valid = is_positive(scale, *shapes)
        scale = masked(scale, raw(scale) > 0, 1)
        if type(shifts[-2]) is not int or shifts[-2] != 0:
            z = z - loc
        if scaled:
            z = z / scale
        shapes = [masked(s, raw(s) > 0, 1) for s in shapes]
        known = raw(z)
        inside = (known > self._low) if self._open else (known >= self._low)
        inside = inside & (known <= self._high) | (known != known)
        return masked(z, inside, self._within), shapes, scale if scaled else None, inside, valid

    def _integral(self, function, below, above, x, args, keywords):
        z, shapes, _, inside, valid = self._standard(x, args, keywords)
        out = function(z, *shapes)
        if not inside.all():
            loc, scale = floats(self._arguments(args, keywords, [*self.shapes, "loc", "scale"]))[
                -2:
            ]
            high = (raw(operand(x)) - raw(loc)) / raw(scale) > self._high
            out = np.where(inside, out, np.where(high, above, below))
        return masked(out, valid, math.nan)


# -- discrete -------------------------------------------------------------------------------------


class Discrete(Distribution):
    """Declared by functions of an integer k and of the shapes: `logpmf`, `cdf`, `sf`.

    `valid(*shapes)` says which shapes are such, and `high(*shapes)` the largest k. There is no
    derivative by k, nor by shapes that are `constant`.
    """

    methods = ("logpmf", "pmf", "logcdf", "cdf", "logsf", "sf")

    def __init__(
        self, name, shapes, *, logpmf, cdf, sf, valid, high=lambda *shapes: INF, constant=()
    ):
        super().__init__(name, shapes)
        self._logpmf, self._cdf, self._sf = logpmf, cdf, sf
        self._valid, self._high, self._constant = valid, high, constant

    def logpmf(self, k, *args, **keywords):
        """The logarithm of the probability of `k`; -inf where it is none."""
        k, shapes, valid = self._counts(k, args, keywords)
        inside = (k >= 0) & (k <= self._high(*map(raw, shapes))) & (np.floor(k) == k)
        out = self._logpmf(masked(k, inside, 0), *shapes)
        return masked(masked(out, inside, -INF), valid, math.nan)

    def pmf(self, k, *args, **keywords):
        """The probability of `k`."""
        return np.exp(self.logpmf(k, *args, **keywords))

    def cdf(self, k, *args, **keywords):
        """The probability of values up to `k`."""
        return self._integral(self._cdf, 0.0, 1.0, k, args, keywords)

    def sf(self, k, *args, **keywords):
        """The probability of values above `k`."""
        return self._integral(self._sf, 1.0, 0.0, k, args, keywords)

    def logcdf(self, k, *args, **keywords):
        """The logarithm of `cdf`."""
        return _log(self.cdf(k, *args, **keywords))

    def logsf(self, k, *args, **keywords):
        """The logarithm of `sf`."""
        return _log(self.sf(k, *args, **keywords))

    def _counts(self, k, args, keywords):
        """k as a plain array, the shapes, and where these are such."""
        given = self._arguments(args, keywords, [*self.shapes, "loc"])
        for name, value in zip(["k", *self.shapes, "loc"], [k, *given], strict=True):
            wants = isinstance(value, Tensor) and value.node is not None and value.node.wants
            if name in ("k", "loc", *self._constant) and wants and current_tape() is not None:
                raise TracingError(
                    f"{self!r} has no derivative by its argument `{name}`, which counts: give "
                    f"{name}.detach() where it is a constant"
                )
        *shapes, loc = floats(given)
        k = operand(k) if not isinstance(k, int | float) else np.asarray(k)
        if k.dtype.kind != "f" or shapes[-1].dtype != k.dtype:
            k = k.astype(shapes[-1].dtype)
        valid = self._valid(*map(raw, shapes))
        shapes = [masked(s, valid, 0.5) for s in shapes]
        return k - loc, shapes, valid

    def _integral(self, function, below, above, k, args, keywords):
        k, shapes, valid = self._counts(k, args, keywords)
        high = self._high(*map(raw, shapes))
        inside = (k >= 0) & (k < high)
        out = function(np.floor(masked(k, inside, 0)), *shapes)
        out = masked(out, inside, np.where(k < 0, below, above))
        return masked(out, valid, math.nan)


def _log(p):
    """The logarithm, -inf of zero, where no derivative is."""
    zero = raw(p) == 0
    return masked(np.log(masked(p, ~zero, 1)), ~zero, -INF)
