"""Activations in blocks that stay in cache, and GELU of float32 by the normal tail."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tests.tracer_native.conftest import running
from tracer.arrays.compiled import NONE
from tracer_layers.activations import blockwise as blocks
from tracer_layers.activations import gated
from tracer_layers.activations.blockwise import blockwise, scaled

FUNCTIONS = {
    "gelu": nn.functional.gelu,
    "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "silu": nn.functional.silu,
}


@pytest.fixture(autouse=True)
def on_numpy():
    with running(NONE):
        yield


def test_gelu_of_float32_is_nearer_than_that_by_the_error_function():
    x = np.linspace(-16, 16, 64_001, dtype=np.float32)
    y, slope = gated.gelu_and_slope(x)
    wide = x.astype(np.float64)
    exact, steep = wide * scipy.special.ndtr(wide), gated.gelu_slope(wide)
    assert y.dtype == slope.dtype == np.float32
    assert np.abs(y - exact).max() < 3e-7
    assert np.abs(x * gated.normal_cdf(x) - exact).max() > 3e-7
    np.testing.assert_allclose(slope, steep, rtol=0, atol=3e-7)
    tail = (wide < -1) & (wide > -13)
    np.testing.assert_allclose(y[tail], exact[tail], rtol=3e-4, atol=0)
    np.testing.assert_array_equal(gated.gelu(x), y)


def test_gelu_of_what_is_no_number_and_of_infinity():
    x = np.tile(np.float32([np.nan, np.inf, 3e38]), 1000)
    with np.errstate(over="raise", invalid="raise"):
        y, slope = gated.gelu_and_slope(x)
    np.testing.assert_array_equal(y[:3], x[:3])
    np.testing.assert_array_equal(slope[:3], [np.nan, 1, 1])


def laid_out(x, layout):
    if layout == "moved":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    return x[:, ::2] if layout == "sliced" else x


@given(
    shape=st.tuples(*[st.integers(0, 6)] * 3),
    layout=st.sampled_from(["rows", "moved", "sliced"]),
    function=st.sampled_from(sorted(FUNCTIONS)),
    dtype=st.sampled_from([np.float32, np.float64]),
    rows=st.integers(1, 3),
)
def test_blocks_give_what_the_whole_gives(shape, layout, function, dtype, rows):
    """Values and gradients, in whatever order elements lie in memory."""
    rng = np.random.default_rng(0)
    x = laid_out(rng.standard_normal(shape).astype(dtype), layout)
    v = rng.standard_normal((rows, *x.shape)).astype(dtype)

    def results():
        with tracer.Tape():
            y = FUNCTIONS[function](tracer.parameter(x))
        return y.data, y.node.op.vjp(y.node, v)[0]

    y, pulled = results()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 64)
        others = results()
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(others[0], y, rtol=2 * eps, atol=2 * eps)
    np.testing.assert_allclose(others[1], pulled, rtol=4 * eps, atol=4 * eps)


def test_a_layout_is_kept_and_cotangents_of_another_one_are_taken():
    x = laid_out(np.random.default_rng(0).standard_normal((40, 50, 60)), "moved")
    y = blockwise(np.exp, x)
    assert y.strides == x.strides
    np.testing.assert_array_equal(y, np.exp(x))
    g = np.ones((2, *x.shape))
    np.testing.assert_array_equal(scaled(g, np.exp, x), np.stack([y, y]))
    np.testing.assert_array_equal(scaled(np.stack([x, x]), np.exp, x)[1], x * y)
