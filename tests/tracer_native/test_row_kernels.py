"""Kernels of rows against their definitions: softmax, standardisation, and their gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracer_native.conftest import running
from tracer.arrays.compiled import NONE
from tracer_layers.attention import arrays
from tracer_layers.normalisation.operations import Standardise, _moments

DTYPES = [np.float32, np.float64]


pytestmark = pytest.mark.usefixtures("all_sizes")


@st.composite
def rows(draw):
    """`x [N, L, S]`, a mask `[L, S]` that hides some of each row, and a stack `[V, N, L, S]`."""
    shape = [draw(st.integers(1, n)) for n in (3, 5, 70)]
    rng, dtype = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from(DTYPES))
    x = (5 * rng.standard_normal(shape)).astype(dtype)
    mask = np.where(rng.random(shape[1:]) < 0.3, -np.inf, 0).astype(dtype)
    mask[:, 0] = 0.5
    stack = rng.standard_normal((draw(st.integers(1, 3)), *shape)).astype(dtype)
    return x, mask, stack


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def close(found, expected, scale=1.0):
    eps = np.finfo(found.dtype).eps
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=20 * eps, atol=10 * eps * scale)


@given(case=rows())
def test_softmax_and_its_gradient(kernels, case):
    x, mask, g = case
    y, masked = x.copy(), x.copy()
    assert kernels.softmax(y)
    assert kernels.softmax(masked, mask)
    close(y, softmax(x.astype(np.float64)))
    close(masked, softmax((x + mask).astype(np.float64)))
    assert np.all(masked[:, mask == -np.inf] == 0)
    with running(NONE):
        close(kernels.softmax_vjp(g, y), arrays.scores(g, y), x.shape[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 15, 16, 40])
def test_a_row_with_what_is_no_number_and_one_that_is_hidden_have_none(kernels, dtype, size):
    x = np.zeros((4, size), dtype)
    x[0, -1], x[1], x[2, 0] = np.nan, -np.inf, np.inf
    assert kernels.softmax(x)
    assert np.isnan(x[:3]).all()
    close(x[3], np.full(size, 1 / size, dtype))


@given(case=rows())
def test_standardisation_and_its_gradient(kernels, case):
    x, _, g = case
    y, rate = kernels.standardise(x, 1e-2)
    centred, expected = _moments(x, 1e-2)
    close(rate, expected)
    close(y, centred * expected, np.abs(x).max())
    with running(NONE):
        node = Node(x, y, rate)
        close(kernels.standardise_vjp(g, y, rate), Standardise.vjp(node, g)[0], 100)


class Node:
    """What the rule of standardisation reads."""

    params = {"eps": 1e-2}

    def __init__(self, x, y, rate):
        self.inputs, self.output, self.kept = (x,), y, rate


def test_what_does_not_lie_in_rows_or_fit_is_left_to_numpy(kernels):
    x = np.ones((4, 6, 8))
    sliced = np.ones((4, 6, 16))[..., ::2]
    assert not kernels.softmax(sliced)
    assert not kernels.softmax(x, np.zeros((4, 1, 8)))
    assert not kernels.softmax(x, np.zeros((6, 8), np.float32))
    assert not kernels.softmax(x.astype(np.float16))
    assert not kernels.softmax(np.ones((3, 0)))
    assert kernels.softmax_vjp(x[None], sliced) is None
    assert kernels.softmax_vjp(x[None, :3], x) is None
    assert kernels.standardise(sliced, 0.1) is None
    assert kernels.standardise_vjp(x[None], x, np.ones((4, 6))) is None
