"""Real and imaginary parts, conjugates and angles of complex numbers.

Cotangents pair without conjugates: g at a complex z stands for the slope `Re(sum(g * dz))`, so that
the gradient of a real function of z = x + iy is `df/dx - i df/dy` (`tracer.record.rules`).
"""

import numpy as np

from tracer.operations.arguments import operand, raw
from tracer.operations.unary import DEGREE
from tracer.record.dispatch import implements
from tracer.record.operation import Elementwise, operation


def _in_disc(rng):
    return [((rng.uniform(0.3, 0.9, (2, 3)) + 1j * rng.uniform(0.3, 0.9, (2, 3)),), {})]


class OfComplex(Elementwise):
    """An operation on complex numbers, which others than those do not come to."""

    saves: tuple[str, ...] = ()
    takes_complex = True
    examples = staticmethod(_in_disc)


@operation("real")
class Real(OfComplex):
    linear = True

    def forward(x):
        return x.real.copy()

    def vjp(node, g):
        """g, as complex numbers: Re(g dz) = g dx for dz = dx + i dy."""
        return (g.astype(node.parents[0].dtype),)


@operation("imag")
class Imag(OfComplex):
    linear = True

    def forward(x):
        return x.imag.copy()

    def vjp(node, g):
        """-i g: Re(-i g dz) = g dy for dz = dx + i dy."""
        return (g * -1j,)


@operation("conjugate")
class Conjugate(OfComplex):
    linear = True
    forward = np.conjugate

    def vjp(node, g):
        """conj(g): Re(g conj(dz)) = Re(conj(g) dz)."""
        return (np.conj(g),)


@operation("angle")
class Angle(OfComplex):
    saves = ("inputs",)

    def forward(x):
        return np.angle(x)

    def vjp(node, g):
        """-i g / z, since d arg(z) = Im(dz / z)."""
        return (g * (-1j / node.inputs[0]),)


def _is_complex(x):
    return x.dtype.kind == "c"


@implements(np.real)
def real(val):
    val = operand(val)
    return Real(val) if _is_complex(val) else val


@implements(np.imag)
def imag(val):
    val = operand(val)
    return Imag(val) if _is_complex(val) else np.zeros_like(val)


@implements(np.conjugate)
def conjugate(x):
    return Conjugate(x) if _is_complex(x) else np.positive(x)


@implements(np.real_if_close)
def real_if_close(a, tol=100):
    """The real part where all imaginary parts are rounding errors, as NumPy finds."""
    a = operand(a)
    return real(a) if np.isrealobj(np.real_if_close(raw(a), tol)) else a


@implements(np.angle)
def angle(z, deg=False):
    z = operand(z)
    turned = Angle(z) if _is_complex(z) else np.arctan2(np.zeros_like(z), z)
    return turned / DEGREE if deg else turned


OPERATIONS = [Real, Imag, Conjugate, Angle]
