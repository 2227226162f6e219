"""The second moment of windows against the matrix of all windows times itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.arrays import parallel
from tracer_layers.convolution import moments as window_moments
from tracer_layers.convolution import operations as convolution
from tracer_layers.convolution.moments import moment_pays, window_moment
from tracer_layers.convolution.windows import unfolded, windows
from tracer_quantities import KFLR


@st.composite
def overlapping(draw):
    """Windows that overlap along the first axis, any along others, and a generator's seed."""
    rank = draw(st.integers(1, 3))
    first = draw(st.integers(2, 5))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank - 1))

    kernel, stride, dilation = (first, *each(1, 3)), (1, *each(1, 3)), (1, *each(1, 2))
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(-1, 2))) for _ in range(rank))
    least = [d * (k - 1) + 1 - sum(p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    least[0] += first - 1  # as many windows as the kernel has rows
    extra = (draw(st.integers(0, 3)), *each(0, 3))
    size = tuple(max(1, n) + e for n, e in zip(least, extra, strict=True))
    return windows(size, kernel, stride, padding, dilation), draw(st.integers(0, 99))


def by_all_windows(x, w):
    """`[1, D, D]`."""
    seen = unfolded(x, w, lambda _, shape: np.empty(shape, x.dtype))  # [*kernel, C, N, *output]
    matrix = seen.reshape(np.prod(w.kernel) * x.shape[1], -1)
    return (matrix @ matrix.T)[None]


@settings(max_examples=60)
@given(overlapping())
def test_any_windows_that_overlap(case):
    w, seed = case
    x = np.random.default_rng(seed).standard_normal((3, 2, *w.size))
    np.testing.assert_allclose(window_moment(x, w), by_all_windows(x, w), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-14)])
def test_both_precisions_and_layouts(dtype, tolerance):
    x = np.random.default_rng(0).standard_normal((8, 16, 12, 12)).astype(dtype)
    w = windows((12, 12), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    expected = by_all_windows(x.astype(np.float64), w)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    for each in (x, last):
        found = window_moment(each, w)
        assert found.dtype == dtype
        assert abs(found - expected).max() <= tolerance * abs(expected).max()
        assert (found == np.swapaxes(found, 1, 2)).all()


def test_blocks_on_threads_give_the_same(monkeypatch):
    x = np.random.default_rng(0).standard_normal((37, 4, 10, 10))
    w = windows((10, 10), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    monkeypatch.setattr(parallel, "_blocks_expected", lambda: True)
    monkeypatch.setattr(parallel, "SMALL", 0)
    monkeypatch.setattr(window_moments, "BLOCK_BYTES", 1 << 14)
    first = window_moment(x, w)
    np.testing.assert_allclose(first, by_all_windows(x, w), rtol=1e-12, atol=1e-12)
    assert (window_moment(x, w) == first).all()


def test_it_pays_where_wide_rows_overlap():
    x = np.zeros((2, 32, 8, 8), np.float32)

    def pays(x, kernel, stride=1, dilation=1):
        apart = (stride, 1), ((0, 0), (0, 0)), (dilation, 1)
        return moment_pays(x, windows(x.shape[2:], (kernel, 3), *apart))

    assert pays(x, 3)
    assert not pays(x, 1)  # nothing overlaps
    assert not pays(x, 5)  # four rows of windows, fewer than the kernel's
    assert not pays(x, 3, stride=2)
    assert not pays(x, 3, dilation=2)
    assert not pays(x[:, :4], 3)  # products of narrow matrices


@pytest.mark.parametrize(
    ("groups", "sharing", "budget", "used"),
    [
        (1, "expand", None, True),
        (1, "reduce", None, False),
        (1, "expand", 1 << 16, False),
        (2, "expand", None, False),
    ],
)
def test_factors_of_a_convolution(monkeypatch, groups, sharing, budget, used):
    rng = np.random.default_rng(0)
    layer = nn.Conv2d(16, 4, 3, padding=1, groups=groups, rng=rng)
    model = nn.Sequential(layer, nn.Flatten()).double()
    x, quantity = rng.standard_normal((5, 16, 6, 6)), KFLR(sharing=sharing)

    def factors():
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(x), np.zeros((5, 144)))
        return tape.backward(loss, [quantity], memory_budget=budget)["kflr"]["0.weight"].factors

    calls = []

    def spy(*given):
        calls.append(given)
        return window_moment(*given)

    monkeypatch.setattr(convolution, "window_moment", spy)
    found = factors()
    assert bool(calls) == used
    monkeypatch.setattr(window_moments, "WIDE", np.inf)
    for one, other in zip(found, factors(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert len(calls) == used
