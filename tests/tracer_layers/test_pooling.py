"""Maxima over windows: which element of a window wins, in any layout, and what it is given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer_layers.convolution.windows import channels_last, windows
from tracer_layers.pooling import pooled
from tracer_layers.pooling.maximum import MaximumOfWindows


@st.composite
def pools(draw):
    """Options of a maximum over windows, an input with many equal values, and cotangents."""
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = each(1, 3), each(1, 4), each(1, 2)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(
        d * (k - 1) + 1 + extra for k, d, extra in zip(kernel, dilation, each(0, 4), strict=True)
    )
    options = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    options["ceil_mode"] = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(0, 4, (3, 2, *size)).astype(float)
    shape = MaximumOfWindows(x, **options).shape
    return options, x, rng.standard_normal((2, *shape))


def pulled(x, options, g):
    """The stack `g` pulled back through the maximum."""
    with tracer.Tape() as tape:
        MaximumOfWindows(tracer.parameter(x), **options)
    node = tape.nodes[-1]
    (entry,) = node.op.vjp(node, g)
    return entry.dense()


def with_channels_last(x, rank):
    return np.moveaxis(np.moveaxis(x, -rank - 1, -1).copy(), -1, -rank - 1)


@settings(max_examples=80, derandomize=True)
@given(case=pools())
def test_the_first_of_equals_takes_the_cotangent(case):
    options, x, g = case
    rank = len(options["kernel"])
    pairs = tuple((p, p) for p in options["padding"])
    w = windows(
        x.shape[-rank:], options["kernel"], options["stride"], pairs, options["dilation"],
        options["ceil_mode"],
    )  # fmt: skip
    padded = w.pad(x, -np.inf)
    taken = np.zeros((len(g), *padded.shape))
    for at in np.ndindex(g.shape[1:]):
        starts = [o * s for o, s in zip(at[-rank:], w.stride, strict=True)]
        places = [
            (*at[:-rank], *(b + d * k for b, d, k in zip(starts, w.dilation, place, strict=True)))
            for place in np.ndindex(w.kernel)
        ]
        winner = places[int(np.argmax([padded[place] for place in places]))]
        taken[(slice(None), *winner)] += g[(slice(None), *at)]
    np.testing.assert_allclose(pulled(x, options, g), taken[(..., *w.interior)], atol=1e-12)


@settings(max_examples=40, derandomize=True)
@given(case=pools())
def test_the_layout_in_memory_changes_no_value(case):
    options, x, g = case
    last = with_channels_last(x, len(options["kernel"]))
    np.testing.assert_array_equal(MaximumOfWindows(last, **options), MaximumOfWindows(x, **options))
    np.testing.assert_array_equal(pulled(last, options, g), pulled(x, options, g))


def test_channels_beside_each_other_stay_so():
    """Also where the cotangent comes with its channels apart, as from a flat layer."""
    x = with_channels_last(np.random.default_rng(0).standard_normal((3, 2, 6, 6)), 2)
    options = {"kernel": (3, 3), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    options["ceil_mode"] = True
    out = MaximumOfWindows(x, **options)
    assert channels_last(out, 2)
    assert channels_last(pulled(x, options, np.ones((4, *out.shape))), 2)


@pytest.mark.parametrize("stride", [1, 2])
def test_infinite_cotangents_reach_their_winners_alone(stride):
    """Closed gates give zero, and not infinity times zero."""
    x, options = np.array([[[0.0, 3.0, 1.0, 2.0]]]), {"kernel": (2,), "stride": (stride,)}
    options |= {"padding": (0,), "dilation": (1,), "ceil_mode": False}
    g = np.full((1, 1, 1, 3 if stride == 1 else 2), np.inf)
    expected = [0, np.inf, 0, np.inf]
    np.testing.assert_array_equal(pulled(x, options, g)[0, 0, 0], expected)


def test_blocks_of_samples_change_no_value(monkeypatch):
    rng = np.random.default_rng(0)
    x, layer = rng.standard_normal((9, 3, 6, 7)), nn.MaxPool2d(3, 2, padding=1)

    def values():
        leaf = tracer.parameter(x, name="x")
        with tracer.Tape() as tape:
            out = layer(leaf)
            loss = np.sum(np.sin(out))
        return out.data, tape.backward(loss)["grad"]["x"]

    whole = values()
    monkeypatch.setattr(pooled, "BLOCK_BYTES", 2 * x[0].nbytes)
    for found, expected in zip(values(), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_values_of_minus_infinity_win_against_padding():
    x = np.full((1, 1, 2), -np.inf)
    options = {"kernel": (2,), "stride": (2,), "padding": (1,), "dilation": (1,)}
    found = pulled(x, options | {"ceil_mode": False}, np.ones((1, 1, 1, 2)))
    np.testing.assert_array_equal(found[0, 0, 0], [1, 1])


def test_integers_have_maxima():
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 4, 4))
    expected = x.reshape(2, 3, 2, 2, 2, 2).max((3, 5))
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x).data, expected)


def test_the_winner_of_a_window_with_nan_is_the_first_nan():
    x = np.array([[[1.0, np.nan, 3.0, np.nan, 0.0, -0.0]]])
    with tracer.Tape() as tape:
        loss = np.sum(nn.MaxPool1d(3)(tracer.parameter(x, name="x")))
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["x"], [[[0, 1, 0, 1, 0, 0]]])
