"""Each kernel against its definition: what the library computes on NumPy without it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracer_native.conftest import running
from tracer import Summed
from tracer.arrays.compiled import NONE
from tracer_layers.activations.operations import Rectify
from tracer_layers.convolution import arrays
from tracer_layers.convolution.cotangents import WindowsOuter
from tracer_layers.convolution.windows import windows
from tracer_layers.pooling.maximum import MaximumOfWindows
from tracer_layers.pooling.spreading import SpreadToWinners
from tracer_layers.pooling.winners import winners_of

DTYPES = [np.float32, np.float64]
LAYOUTS = ["first", "last", "sliced"]
MANY = settings(max_examples=80)


pytestmark = pytest.mark.usefixtures("all_sizes")


def laid_out(array, layout, rank):
    """The same values: channels first, channels last in memory, or every second of an array."""
    channels = array.ndim - rank - 1
    if layout == "last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, channels, -1)), -1, channels)
    if layout == "sliced":
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    return np.ascontiguousarray(array)


def agree(fast, slow, scale=1.0):
    """Equal to rounding, where `scale` is how large the added terms are in all."""
    assert fast is not None
    assert fast.shape == slow.shape
    assert fast.dtype == slow.dtype
    eps = np.finfo(fast.dtype).eps
    np.testing.assert_allclose(fast, slow, rtol=50 * eps, atol=20 * eps * scale)


@st.composite
def geometries(draw, pooling=False, extent=14):
    """Windows over one to three axes; those of pooling see something of the input each."""
    axes = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
        reach = dilation * (kernel - 1)
        before = draw(st.integers(0, kernel // 2 if pooling else reach + 2))
        after = before if pooling else draw(st.integers(0, 3))
        size = draw(st.integers(max(1, reach + 1 - before - after), reach + extent))
        axes.append((size, kernel, stride, (before, after), dilation))
    return windows(*zip(*axes, strict=True))


@st.composite
def convolutions(draw):
    """Windows, groups, x, weight, bias and y of a convolution, with seeds for their values.

    There are many positions in few samples, or few positions in many.
    """
    extent, counts = draw(st.sampled_from([(14, [0, 1, 2, 7]), (3, [8, 13, 40])]))
    w, groups = draw(geometries(extent=extent)), draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = (groups * draw(st.sampled_from([1, 2, 5])) for _ in range(2))
    outputs = draw(st.sampled_from([outputs, groups * 17, groups * 33]))
    samples, dtype = draw(st.sampled_from(counts)), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def array(*shape):
        layout = draw(st.sampled_from(LAYOUTS))
        return laid_out(rng.standard_normal(shape).astype(dtype), layout, w.rank)

    return (
        *(w, groups, array(samples, inputs, *w.size)),
        array(outputs, inputs // groups, *w.kernel),
        rng.standard_normal(outputs).astype(dtype),
        array(samples, outputs, *w.output),
    )


@MANY
@given(case=convolutions())
def test_a_convolution(kernels, case):
    w, groups, x, weight, bias, _ = case
    with running(NONE):
        slow = arrays.convolve(x, weight, w, groups, bias=bias)
        plain = arrays.convolve(x, weight, w, groups)
    terms = math.prod(weight.shape[1:])
    agree(kernels.convolve(x, weight, w, groups, bias), slow, 3 * terms)
    agree(kernels.convolve(x, weight, w, groups), plain, 3 * terms)


@MANY
@given(case=convolutions())
def test_its_transpose_by_the_input(kernels, case):
    w, groups, x, weight, _, y = case
    with running(NONE):
        slow = arrays.transpose(y, weight, w, groups)
    assert slow.shape == x.shape
    agree(kernels.transpose(y, weight, w, groups), slow, 3 * weight.size)


@MANY
@given(case=convolutions())
def test_its_transpose_by_the_weight_and_what_samples_add_to_it(kernels, case):
    w, groups, x, _, _, y = case
    with running(NONE):
        slow = arrays.correlate(x, y, w, groups)
        each = [arrays.correlate(x[[n]], y[[n]], w, groups) for n in range(len(x))]
    each = np.stack(each) if each else np.zeros((0, *slow.shape), slow.dtype)
    terms = math.prod(w.output)
    agree(kernels.correlate(x, y, w, groups), slow, 3 * terms * max(1, len(x)))
    squares, size = np.square(each), 9 * terms**2
    norms = squares.reshape(len(x), slow.size).sum(1)
    found, total = kernels.correlation_norms(x, y, w, groups)
    agree(found, norms, size * slow.size)
    agree(total, slow, 3 * terms * max(1, len(x)))
    agree(kernels.correlation_squares(x, y, w, groups), squares.sum(0), size * max(1, len(x)))
    made, total = kernels.correlation_each(x, y, w, groups)
    agree(np.moveaxis(made, (-1, -2), (1, 2)), each, 3 * terms)
    agree(total, slow, 3 * terms * max(1, len(x)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("groups", "outputs"), [(1, 64), (2, 64), (1, 24), (1, 33)])
def test_what_samples_add_in_whole_vectors_and_in_parts_of_them(kernels, groups, outputs, dtype):
    """Rows of whole vectors go past the caches, to memory that another thread reads."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 4, 6, 6)).astype(dtype)
    y = rng.standard_normal((5, outputs, 4, 4)).astype(dtype)
    w = windows((6, 6), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    with running(NONE):
        each = np.stack([arrays.correlate(x[[n]], y[[n]], w, groups) for n in range(5)])
    made, total = kernels.correlation_each(x, y, w, groups)
    agree(np.moveaxis(made, (-1, -2), (1, 2)), each, 48)
    agree(total, each.sum(0), 240)


def test_gradients_of_samples_as_kernels_make_them(kernels):
    """In the order of the kernel, and with the sum that comes with it."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((3, 4, 7, 6)), rng.standard_normal((2, 3, 6, 5, 4))
    w = windows((7, 6), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
    plain = WindowsOuter(left_of(x, w, 2), (6, 3, 3, 2), None, x, g, w, 2)
    with running(NONE):
        expected = plain.per_sample()
    with running(kernels):
        whole = plain.whole()
        agree(whole.per_sample(), expected, 100)
        agree(whole.batch_total(), expected.sum(1), 100)
        direction = rng.standard_normal(plain.shape)
        agree(whole.project(direction), (expected * direction).sum((2, 3, 4, 5)), 1000)


def left_of(x, w, groups):
    """What windows `[3, 3]` see of `x [N, C, *size]`, for `Outer`."""

    def left(chosen):
        seen = np.lib.stride_tricks.sliding_window_view(x[chosen], w.kernel, (2, 3))
        seen = seen.reshape(len(seen), groups, x.shape[1] // groups, math.prod(w.output), 3, 3)
        return np.transpose(seen, (0, 3, 1, 4, 5, 2)).reshape(*seen.shape[:1], 20, groups, -1)

    return left


def test_sums_over_the_uses_of_a_bias(kernels):
    terms = np.random.default_rng(0).standard_normal((2, 3, 40, 21)).astype(np.float32)
    with running(NONE):
        slow = Summed(terms).per_sample()
    with running(kernels):
        agree(Summed(terms).per_sample(), slow, 40)


@given(seed=st.integers(0, 2**32), value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_stays_where_it_was(kernels, seed, value):
    rng, w = np.random.default_rng(seed), windows((9, 5), (3, 2), (2, 1), ((1, 1),) * 2, (1, 2))
    x, weight = rng.standard_normal((3, 4, 9, 5)), rng.standard_normal((5, 4, 3, 2))
    x[tuple(rng.integers(0, x.shape))] = value
    with running(NONE), np.errstate(invalid="ignore"):
        y = arrays.convolve(x, weight, w, 1)
        back, both = arrays.transpose(y, weight, w, 1), arrays.correlate(x, y, w, 1)
    agree(kernels.convolve(x, weight, w, 1), y, 100)
    agree(kernels.transpose(y, weight, w, 1), back, 1000)
    agree(kernels.correlate(x, y, w, 1), both, 1000)


@st.composite
def pooled(draw):
    """Windows, an input with ties and values that are not finite, and cotangents."""
    w = draw(geometries(pooling=True))
    lead = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 3)]))
    channels, dtype = draw(st.sampled_from([1, 3, 16, 21])), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(-3, 4, (*lead, channels, *w.size)).astype(dtype)
    for value in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]), max_size=3)):
        x[rng.random(x.shape) < 0.05] = value
    y = rng.standard_normal((2, *lead, channels, *w.output)).astype(dtype)
    return w, laid_out(x, "last", w.rank), y


@MANY
@given(case=pooled())
def test_maxima_of_windows_their_places_and_what_is_spread_to_them(kernels, case):
    w, x, y = case
    options = {"kernel": w.kernel, "stride": w.stride, "dilation": w.dilation}
    options |= {"padding": tuple(before for before, _ in w.padding), "ceil_mode": False}
    with running(NONE):
        most = MaximumOfWindows.forward(x, **options)
        winner = winners_of(x, most, w)
        spread = SpreadToWinners.forward(y, winner, windows=w)
    np.testing.assert_array_equal(kernels.maximum(x, w), most)
    for kept, plain in zip(kernels.maximum_keeping(x, w), (most, winner), strict=True):
        np.testing.assert_array_equal(kept, plain)
    found = kernels.spread_to_winners(y, laid_out(winner, "last", w.rank), w)
    agree(found, spread, 3 * math.prod(w.kernel))


EXTREMES = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-30,
    -1e-30,
    0.624,
    0.626,
    9.1,
    -20,
    89,
    -750,
    1e30,
]


#: each activation and its gradient in terms of its value
FUNCTIONS = {
    "relu": (lambda x: np.maximum(x, 0), lambda g, y: np.where(y <= 0, 0, g)),
    "tanh": (np.tanh, lambda g, y: g * (1 - y * y)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda g, y: g * (y * (1 - y))),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 70))
def test_activations_and_their_gradients(kernels, function, dtype, seed, count):
    rng, eps = np.random.default_rng(seed), np.finfo(dtype).eps
    x = np.concatenate([EXTREMES, rng.standard_normal(count) * 5]).astype(dtype)
    g = rng.standard_normal((2, x.size)).astype(dtype)
    forward, pull = FUNCTIONS[function]
    with np.errstate(over="ignore", invalid="ignore"):
        exact = forward(x.astype(np.float64)).astype(dtype)
        y = exact if function == "tanh" else kernels.activate(function, x)
        expected = pull(g, y)
    np.testing.assert_allclose(y, exact, rtol=4 * eps, atol=np.finfo(dtype).tiny)
    pulled = kernels.activate_vjp(function, g, y)
    np.testing.assert_allclose(pulled, expected, rtol=4 * eps, atol=20 * eps)


def test_activations_of_arrays_that_lie_otherwise_than_in_rows(kernels):
    x = np.moveaxis(np.random.default_rng(0).standard_normal((2, 5, 4, 3)), -1, 1)
    y, pulled = kernels.activate("relu", x), kernels.activate_vjp("relu", x[None], x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(pulled[0], np.where(x > 0, x, 0))
    assert kernels.activate("relu", x[..., ::2]) is None
    assert kernels.activate_vjp("relu", x[None], y.copy()) is None
    assert Rectify.forward(x[..., ::2]).shape == (2, 3, 5, 2)


@given(shape=st.tuples(*[st.integers(0, 40)] * 3), dtype=st.sampled_from(DTYPES))
def test_sums_over_all_but_stack_and_channels(kernels, shape, dtype):
    rng = np.random.default_rng(0)
    x = np.moveaxis(rng.standard_normal((2, *shape)).astype(dtype), -1, 2)
    agree(kernels.sum_channels(x, 1), x.sum((1, 3)), x.size)


def test_shapes_that_do_not_fit_are_left_to_numpy_which_says_so(kernels):
    w = windows((5, 5), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1))
    x, y, weight = np.ones((2, 3, 5, 5)), np.ones((2, 4, 4, 4)), np.ones((4, 3, 2, 2))
    assert kernels.convolve(x[:, :2], weight, w, 1) is None
    assert kernels.convolve(x[..., 1:], weight, w, 1) is None
    assert kernels.convolve(x, weight, w, 1, np.ones(3)) is None
    assert kernels.transpose(y[:, :3], weight, w, 1) is None
    assert kernels.transpose(x, weight, w, 1) is None
    assert kernels.correlate(x, y[:1], w, 1) is None
    assert kernels.correlate(x, x, w, 1) is None
    assert kernels.maximum(laid_out(y, "last", 2), w) is None
    assert kernels.correlate(x, y, w, 1) is not None


def test_other_dtypes_and_classes_are_left_to_numpy(kernels):
    class Mine(np.ndarray):
        pass

    w = windows((5, 5), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1))
    for convert in (np.float16, np.int64, complex):
        x = np.ones((2, 3, 5, 5)).astype(convert)
        assert kernels.convolve(x, np.ones((4, 3, 2, 2)).astype(convert), w, 1) is None
        assert kernels.activate("tanh", x) is None
    mixed = np.ones((2, 3, 5, 5)), np.ones((4, 3, 2, 2), np.float32)
    assert kernels.convolve(*mixed, w, 1) is None
    assert kernels.activate("relu", np.ones((2, 3)).view(Mine)) is None
