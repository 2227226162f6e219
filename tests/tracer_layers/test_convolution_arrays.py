"""The arithmetic of convolutions of random geometry: transposes, layouts, threads."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer import registry
from tracer.arrays import parallel
from tracer.extend import Compiled
from tracer_layers.convolution import arrays as convolution_arrays
from tracer_layers.convolution.arrays import convolve, correlate, transpose
from tracer_layers.convolution.operations import _channel_sums
from tracer_layers.convolution.windows import channels_last, unfolded, windows

sys.path.append(str(Path(__file__).parents[1]))
import device


@st.composite
def geometries(draw):
    """Windows, groups and a generator; strides beyond the kernel, and elements that none reads."""
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = each(1, 4), each(1, 5), each(1, 3)
    padding = tuple((draw(st.integers(0, 5)), draw(st.integers(-1, 4))) for _ in range(rank))
    size = tuple(
        max(2, d * (k - 1) + 1 - sum(p)) + extra
        for k, p, d, extra in zip(kernel, padding, dilation, each(0, 4), strict=True)
    )
    seed = draw(st.integers(0, 99))
    return windows(size, kernel, stride, padding, dilation), draw(st.integers(1, 3)), seed


def arrays(w, groups, seed, samples=3):
    """Input, weight and output."""
    rng = np.random.default_rng(seed)
    inputs, outputs = rng.integers(1, 4, 2)
    x = rng.standard_normal((samples, groups * inputs, *w.size))
    weight = rng.standard_normal((groups * outputs, inputs, *w.kernel))
    return x, weight, rng.standard_normal((samples, groups * outputs, *w.output))


def with_channels_last(x, rank):
    return np.moveaxis(np.moveaxis(x, -rank - 1, -1).copy(), -1, -rank - 1)


def defined(x, weight, w, groups):
    """The convolution, window by window and group by group."""
    padded, out = w.pad(x), 0
    split = padded.reshape(len(x), groups, -1, *w.padded)
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    for place, seen in w.positions():
        out = out + np.einsum("ngc...,goc->ngo...", split[(..., *seen)], kernels[(..., *place)])
    return out.reshape(len(x), len(weight), *w.output)


@settings(max_examples=150, derandomize=True)
@given(case=geometries())
def test_the_convolution_and_its_transposes(case):
    w, groups, _ = case
    x, weight, y = arrays(*case)
    out = convolve(x, weight, w, groups)
    np.testing.assert_allclose(out, defined(x, weight, w, groups), atol=1e-12)
    pairing = np.sum(out * y)
    by_input = np.sum(transpose(y, weight, w, groups) * x)
    by_weight = np.sum(correlate(x, y, w, groups) * weight)
    np.testing.assert_allclose([by_input, by_weight], pairing, rtol=1e-10, atol=1e-10)


@settings(max_examples=150, derandomize=True)
@given(case=geometries())
def test_gathering_gives_what_scattering_gives(case):
    w, groups, _ = case
    _, weight, y = arrays(*case)
    grouped = convolution_arrays._grouped(weight, w.rank, groups)
    gathered = convolution_arrays._gathered(y, grouped, w)
    scattered = convolution_arrays._scattered(y, grouped, w)
    np.testing.assert_allclose(gathered, scattered, atol=1e-12)


@settings(max_examples=150, derandomize=True)
@given(case=geometries(), dtype=st.sampled_from([np.float32, np.float64]))
def test_adding_row_by_row_gives_what_scattering_gives(case, dtype):
    w, _, seed = case
    _, weight, y = (a.astype(dtype) for a in arrays(w, 1, seed))
    grouped = convolution_arrays._grouped(weight, w.rank, 1)
    by_rows = convolution_arrays._by_rows(y, grouped, w)
    scattered = convolution_arrays._scattered(y, grouped, w)
    assert by_rows.dtype == dtype
    np.testing.assert_allclose(by_rows, scattered, atol=1e-12 if dtype == np.float64 else 1e-4)


def test_rows_in_blocks_give_the_same(monkeypatch):
    w = windows((6, 5), (3, 2), (2, 1), ((1, 0), (1, 1)), (1, 2))
    _, weight, y = arrays(w, 1, 0, samples=7)
    grouped = convolution_arrays._grouped(weight, w.rank, 1)
    whole = convolution_arrays._by_rows(y, grouped, w)
    monkeypatch.setattr(convolution_arrays, "BLOCK_BYTES", 1)
    np.testing.assert_allclose(convolution_arrays._by_rows(y, grouped, w), whole, atol=1e-12)


def test_one_weight_of_one_group_is_added_row_by_row(monkeypatch):
    """Where there are samples for all threads; else products have threads of their own."""
    w, used = windows((4,), (2,), (1,), ((0, 0),), (1,)), []
    by_rows = convolution_arrays._by_rows
    monkeypatch.setattr(
        convolution_arrays, "_by_rows", lambda *given: used.append(1) or by_rows(*given)
    )
    monkeypatch.setattr(convolution_arrays, "threads", lambda: 3)
    monkeypatch.setattr(convolution_arrays, "compiled", Compiled)  # which has no kernels
    for samples, groups, stacked in ((3, 1, 0), (2, 1, 0), (3, 2, 0), (3, 1, 1)):
        _, weight, y = arrays(w, groups, 0, samples)
        transpose(y, np.stack([weight] * 2) if stacked else weight, w, groups)
    assert len(used) == 1


def test_each_rule_is_chosen_where_it_pays():
    """Few outputs for few more positions, and many outputs for one channel."""
    same = windows((14, 14), (5, 5), (1, 1), ((2, 2),) * 2, (1, 1))
    whole = windows((5, 5), (5, 5), (1, 1), ((0, 0),) * 2, (1, 1))
    assert convolution_arrays._gathering_pays(same, outputs=64, channels=32)
    assert not convolution_arrays._gathering_pays(same, outputs=64, channels=1)
    assert not convolution_arrays._gathering_pays(whole, outputs=64, channels=32)


@settings(max_examples=60, derandomize=True)
@given(case=geometries())
def test_the_layout_in_memory_changes_no_value(case):
    w, groups, _ = case
    x, weight, y = arrays(*case)
    lasts = [with_channels_last(array, w.rank) for array in (x, y)]
    np.testing.assert_allclose(
        convolve(lasts[0], weight, w, groups), convolve(x, weight, w, groups), atol=1e-12
    )
    np.testing.assert_allclose(
        transpose(lasts[1], weight, w, groups), transpose(y, weight, w, groups), atol=1e-12
    )
    np.testing.assert_allclose(correlate(*lasts, w, groups), correlate(x, y, w, groups), atol=1e-12)


@settings(max_examples=60, derandomize=True)
@given(case=geometries())
def test_what_lies_inside_is_what_padding_does_not_add(case):
    """Among all windows' views of padded numbers, those of the input."""
    w, _, _ = case
    numbers = 1 + np.arange(math.prod(w.size)).reshape(w.size)
    padded = w.pad(numbers)
    for (_, seen), (among, at) in zip(w.positions(), w.inside, strict=True):
        expected = np.zeros(w.output, int)
        expected[among] = numbers[at]
        np.testing.assert_array_equal(padded[seen], expected)


def test_results_keep_channels_beside_each_other():
    """So that the next layer's columns are copied in rows, and elementwise layers go along."""
    rng = np.random.default_rng(0)
    w = windows((6, 7), (3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1))
    x, weight = rng.standard_normal((3, 2, *w.size)), rng.standard_normal((4, 2, *w.kernel))
    out = convolve(x, weight, w, 1)
    assert channels_last(out, 2)
    assert channels_last(np.maximum(out, 0), 2)
    assert channels_last(transpose(out, weight, w, 1), 2)


@pytest.mark.parametrize("last", [False, True])
def test_columns_lie_in_memory_as_their_input_does(last):
    """Rows of channels are copied where these are beside each other, else rows of positions."""
    w = windows((6, 7), (3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1))
    x, made = np.ones((5, 4, *w.size)), []

    def make(name, shape):
        made.append((name, shape))
        return np.empty(shape)

    seen = unfolded(with_channels_last(x, 2) if last else x, w, make)
    assert seen.shape == (*w.kernel, 4, 5, *w.output)
    if last:
        assert made == [("padded", (5, *w.padded, 4)), ("columns", (5, *w.output, *w.kernel, 4))]
    else:
        assert made == [("padded", (5, 4, *w.padded)), ("columns", seen.shape)]


def test_results_do_not_depend_on_which_thread_takes_a_block(monkeypatch):
    monkeypatch.setattr(convolution_arrays, "BLOCK_BYTES", 4000)
    w = windows((9, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    x, weight, y = (a.astype(np.float32) for a in arrays(w, 1, 5, samples=40))

    def every():
        return (
            convolve(x, weight, w, 1),
            transpose(y, weight, w, 1),
            correlate(x, y, w, 1),
        )

    first = every()
    for _ in range(10):
        for a, b in zip(every(), first, strict=True):
            np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(parallel, "threads", lambda: 1)
    for a, b in zip(every(), first, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.fixture
def another_library():
    """The backend of the strict double."""
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


@pytest.mark.usefixtures("another_library")
def test_columns_of_another_library_are_made_at_once(monkeypatch):
    """Far beyond a block of NumPy's: each product is launched once."""
    launched = []
    monkeypatch.setattr(convolution_arrays, "BLOCK_BYTES", 100)
    monkeypatch.setattr(
        convolution_arrays, "product", lambda a, b, out: launched.append(a.shape) or a @ b
    )
    w = windows((9, 8), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1))
    x, _, y = (device.asarray(a) for a in arrays(w, 1, 5, samples=40))
    found = correlate(x, y, w, 1)
    assert type(found) is device.DeviceArray
    assert len(launched) == 1
    np.testing.assert_allclose(found.get(), correlate(x.get(), y.get(), w, 1), atol=1e-12)


def test_sums_over_channels_last_are_sums():
    g = np.random.default_rng(0).standard_normal((2, 5, 3, 4, 6))
    expected = g.sum((1, 3, 4))
    for each in (g, with_channels_last(g, 2)):
        np.testing.assert_allclose(_channel_sums(each, 2), expected, rtol=1e-12)


def test_elements_of_a_kernel_that_see_nothing_are_left_out():
    ones, border = (1, 1), ((1, 1), (1, 1))
    taps, seen = windows((1, 4), (3, 3), ones, border, ones).visible
    assert taps == (slice(1, 2), slice(0, 3))
    assert seen == windows((1, 4), (1, 3), ones, ((0, 0), (1, 1)), ones)
    whole = windows((2, 2), (3, 3), ones, border, ones)
    assert whole.visible[1] is whole
