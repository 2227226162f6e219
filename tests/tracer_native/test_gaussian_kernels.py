"""Kernels of functions of each element, in units in the last place beside SciPy in float64."""

import numpy as np
import pytest
import scipy.special

from tests.tracer_native.conftest import running
from tracer_layers.activations import gated
from tracer_layers.activations.operations import GaussianGated, SigmoidWeighted, TanhGated

POINTS = np.concatenate(
    [
        *(np.linspace(-bound, bound, 20_001) for bound in (1e-3, 1.5, 6, 37)),
        *([0.0, -0.0], [1e30, -1e30]),
    ]
)
LONG = np.finfo(np.longdouble).eps


pytestmark = pytest.mark.usefixtures("all_sizes")


def gelu(x):
    """With an exponential of all digits of the square, which `scipy.special.ndtr` has not."""
    size = np.abs(x).astype(np.longdouble)
    tail = scipy.special.erfcx(np.abs(x) * np.sqrt(0.5)) / 2 * np.exp(-size * size / 2)
    return (np.maximum(x, 0) - size * tail).astype(np.float64)


def logistic_of_cubic(x):
    return scipy.special.expit(2 * gated._cubic(x))


def cubic_slope(x):
    s, rate = logistic_of_cubic(x), 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)
    return s + x * s * (1 - s) * rate


def silu_slope(x):
    s = scipy.special.expit(x)
    return s * (1 + x * (1 - s))


#: function -> it, its slope, and units in the last place that its values are off by, at most; of
#: cubics' exponentials also a number of units for each unit of their argument
FUNCTIONS = {
    "erf": (scipy.special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x), 3, 0),
    "gelu": (gelu, gated.gelu_slope, 8, 0),
    "gelu_tanh": (lambda x: x * logistic_of_cubic(x), cubic_slope, 5, 3),
    "silu": (lambda x: x * scipy.special.expit(x), silu_slope, 5, 0),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_and_slopes_to_units_in_the_last_place(kernels, function, dtype):
    forward, slope, units, more = FUNCTIONS[function]
    x, eps = POINTS.astype(dtype), np.finfo(dtype).eps
    wide = x.astype(np.float64)
    y, slopes = kernels.activate(function, x), kernels.activate_vjp(function, np.ones_like([x]), x)
    with np.errstate(all="ignore"):
        expected, steep = forward(wide), slope(wide)
        exponent = np.minimum(np.abs(2 * gated._cubic(wide)), 750)
        allowed = (units + more * exponent) * eps * np.abs(expected) + 100 * np.finfo(dtype).tiny
        allowed += LONG * wide * wide * np.abs(expected)  # where there are no longer numbers
        assert np.all(np.abs(y - expected) <= allowed)
        known = np.isfinite(steep)
        size = np.maximum(1, np.where(np.abs(wide) < 40, np.abs(wide), 0))
        assert np.all(np.abs(slopes[0] - steep)[known] <= (8 * eps * size)[known])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_no_number_stays_none_and_infinity_has_its_limit(kernels, function, dtype):
    y = kernels.activate(function, np.array([np.nan, np.inf, 3.0], dtype))
    assert np.isnan(y[0])
    assert y[1] == (1 if function == "erf" else np.inf)
    assert np.isnan(kernels.activate_vjp(function, np.ones((1, 1), dtype), y[:1])).all()


@pytest.mark.parametrize("op", [GaussianGated, TanhGated, SigmoidWeighted])
@pytest.mark.parametrize("rows", [1, 3])
def test_stacks_are_scaled_by_slopes_that_are_made_once(kernels, op, rows):
    """More numbers than one thread takes at once, and not as many as vectors hold."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((7, 5003)), rng.standard_normal((rows, 7, 5003))
    y, pulled = kernels.activate(op.name, x), kernels.activate_vjp(op.name, g, x)
    _, slope, *_ = FUNCTIONS[op.name]
    np.testing.assert_allclose(pulled, g * slope(x), rtol=1e-12, atol=1e-14)
    with running(kernels):
        np.testing.assert_array_equal(op.forward(x), y)
