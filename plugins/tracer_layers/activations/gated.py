"""GELU and SiLU as functions of arrays: `x` times a gate, and its slope."""

from __future__ import annotations

import math

import numpy as np

import tracer
from tracer.extend import Array, TensorLike, in_single, widened

ROOT_HALF, DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
#: t = 1 / (1 + RATE a), and the coefficients of `Phi(-a) exp(a^2 / 2)` in it, from the highest on,
#: to 2e-8 near 0 and to 2e-4 of it where Phi(-a) is below 1e-6
RATE = np.float32(0.275)
TAIL = [
    np.float32(c)
    for c in (
        *(-0.11660896223293306, 0.46236191742926075, -0.3557787693505587, 0.3647751136023154),
        *(0.02096676317206092, 0.1254014354140442, -0.0011174801510845768),
    )
]
#: where Phi(-a) is less than any float32
FARTHEST = np.float32(14)
#: elements from which on `TAIL` pays: its passes are many, and each has its cost
MANY = 1 << 11


# -- GELU -------------------------------------------------------------------------------------


@in_single
def gelu(x: Array) -> Array:
    """`x Phi(x)`, with the normal distribution's Phi."""
    if _by_tail(x):
        size, tail, _ = _tail(x)
        return _gelu(x, size, tail)
    return x * normal_cdf(x)


@in_single
def gelu_and_slope(x: Array) -> tuple[Array, Array]:
    """The same, and `Phi(x) + x phi(x)` with the density phi."""
    if _by_tail(x):
        size, tail, bell = _tail(x)
        return _gelu(x, size, tail), _slope(x, size, tail, bell)
    cdf = normal_cdf(x)
    return x * cdf, cdf + x * normal_density(x)


def gelu_slope(x: TensorLike) -> TensorLike:
    """`Phi(x) + x phi(x)`; of tensors, too."""
    return normal_cdf(x) + x * normal_density(x)


def normal_cdf(x: TensorLike) -> TensorLike:
    return 0.5 * (1 + tracer.erf(x * ROOT_HALF))


def normal_density(x: TensorLike) -> TensorLike:
    return np.exp(-0.5 * (x * x)) * DENSITY


def _by_tail(x: Array) -> bool:
    return type(x) is np.ndarray and x.dtype == np.float32 and x.size >= MANY


def _tail(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`a = |x|`, `Phi(-a)` and `exp(-a^2 / 2)` of float32.

    SciPy's error function takes 7.5 ns an element, and this 1.5.
    """
    a = np.abs(x)
    np.minimum(a, FARTHEST, out=a)
    t = a * RATE
    t += np.float32(1)
    np.reciprocal(t, out=t)
    highest, *others = TAIL
    tail = t * highest
    for c in others[:-1]:
        tail += c
        tail *= t
    tail += others[-1]
    bell = np.multiply(a, a, out=t)
    bell *= np.float32(-0.5)
    np.exp(bell, out=bell)
    tail *= bell
    return a, tail, bell


def _gelu(x: np.ndarray, size: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """`max(x, 0) - |x| Phi(-|x|)`, which is `x Phi(x)`."""
    out = np.maximum(x, np.float32(0))
    out -= size * tail
    return out


def _slope(x: np.ndarray, size: np.ndarray, tail: np.ndarray, bell: np.ndarray) -> np.ndarray:
    """`1/2 + sign(x) (1/2 - Phi(-|x|) + |x| phi(x))`, written over the latter two arrays."""
    bell *= np.float32(DENSITY)
    bell *= size
    bell -= tail
    bell += np.float32(0.5)
    np.copysign(bell, x, out=bell)
    bell += np.float32(0.5)
    return bell


# -- others -----------------------------------------------------------------------------------


def gelu_tanh(x: TensorLike) -> TensorLike:
    """GELU with Phi approximated by a tanh of a cubic."""
    return 0.5 * x * (1 + np.tanh(_cubic(x)))


def gelu_tanh_slope(x: TensorLike) -> TensorLike:
    """`(1 + t + x (1 - t^2) u') / 2` with t = tanh(u).

    u = sqrt(2 / pi) (x + 0.044715 x^3), u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2).
    """
    x = widened(x)  # whose squares half precision may not hold
    t = np.tanh(_cubic(x))
    slope = math.sqrt(2 / math.pi) * (1 + (3 * 0.044715) * (x * x))
    return 0.5 * (1 + t) + (0.5 * x) * (1 - t * t) * slope


def _cubic(x: TensorLike) -> TensorLike:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
