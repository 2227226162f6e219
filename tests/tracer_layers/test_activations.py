"""Rectification in blocks, and gates by bits: what they give is what their definitions give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer_layers.activations import operations as activations
from tracer_layers.activations.operations import Rectify
from tracer_layers.convolution.windows import channels_last
from tracer_layers.module.rules import where_open

SPECIAL = [0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324]


@given(data=st.data(), dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_an_open_gate_passes_bits_and_a_closed_one_gives_zero(data, dtype):
    """Also what is infinite, or no number: a product would give NaN behind a closed gate."""
    values = data.draw(st.lists(st.sampled_from(SPECIAL), min_size=1, max_size=12))
    gate = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    g = np.array([values, values[::-1]]).astype(dtype)
    expected = np.where(gate, g, dtype(0))
    for out in (None, np.ones_like(g)):
        found = where_open(gate, g, out)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))
        if out is not None:
            np.testing.assert_array_equal(out.view(np.uint8), expected.view(np.uint8))


def test_a_gate_of_integers_or_complex_numbers():
    gate = np.array([True, False, True])
    for g in (np.arange(3), np.arange(3) * 1j):
        out = np.ones_like(g)
        np.testing.assert_array_equal(where_open(gate, g, out), g * gate)
        np.testing.assert_array_equal(out, g * gate)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_rectification_in_blocks_is_that_of_the_whole(monkeypatch, last, small):
    """Zero has no gradient, NaN stays and lets through; channels lie in memory as they did."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 3, 4, 5)).astype(np.float32)
    x[0, 0, 0], x[1, 1, 1], x[2, 2, 2] = 0, np.nan, -np.inf
    g = rng.standard_normal((2, *x.shape)).astype(np.float32)
    g[1, 2, 2] = np.inf
    if last:
        x, g = (np.moveaxis(np.moveaxis(a, -3, -1).copy(), -1, -3) for a in (x, g))
    monkeypatch.setattr(activations, "SMALL", small)
    monkeypatch.setattr(activations, "BLOCK_BYTES", 2 * x[0].nbytes)
    with tracer.Tape() as tape:
        y = Rectify(tracer.parameter(x)).data
    node = tape.nodes[-1]
    (pulled,) = node.op.vjp(node, g)
    np.testing.assert_array_equal(y, np.where(x <= 0, 0, x))
    np.testing.assert_array_equal(pulled, np.where(x <= 0, 0, g))
    assert y.dtype == pulled.dtype == np.float32
    assert channels_last(y, 2) == channels_last(pulled, 2) == last


@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_samples_of_categories(dim):
    """The shares of categories, and of hard ones the gradient of soft ones."""
    rng = np.random.default_rng(0)
    logits = np.moveaxis(np.broadcast_to([0.5, -1.0, 1.5], (4000, 2, 3)), -1, dim)
    soft = nn.functional.gumbel_softmax(logits, 0.7, dim=dim, rng=np.random.default_rng(1))
    np.testing.assert_allclose(soft.sum(dim), 1)
    hard = nn.functional.gumbel_softmax(logits, 0.7, True, dim=dim, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.unique(np.round(hard, 12))), [0, 1])
    shares = np.moveaxis(hard, dim, -1).reshape(-1, 3).mean(0)
    expected = np.exp([0.5, -1.0, 1.5]) / np.exp([0.5, -1.0, 1.5]).sum()
    np.testing.assert_allclose(shares, expected, atol=0.02)
    weights = rng.standard_normal(logits.shape)

    def gradient(hard):
        def value(x):
            out = nn.functional.gumbel_softmax(x, 0.7, hard, dim=dim, rng=np.random.default_rng(1))
            return np.sum(out * weights)

        return tracer.grad(value)(logits)

    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-10)
