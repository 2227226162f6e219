"""Cotangents of maxima go through padding and activations before they are put in place."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.extend import Scattered
from tracer.sweep.arrived import Arrived
from tracer_layers.convolution.windows import windows
from tracer_layers.pooling.winners import Winners

ACTIVATIONS = {
    "relu": nn.relu,
    "tanh": np.tanh,
    "sigmoid": nn.sigmoid,
    "two": lambda x: nn.relu(np.tanh(x)),
    "relu behind padding": None,
    "none": lambda x: +x,
}


@st.composite
def models(draw):
    """An input, an activation, padding and options of a maximum over windows."""
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 2)
    options = {"kernel_size": kernel, "stride": stride, "dilation": dilation}
    options["padding"] = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    options["ceil_mode"] = draw(st.booleans())
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(r + extra for r, extra in zip(reach, each(1, 4), strict=True))
    padding = tuple(draw(st.integers(-1 if r > 0 else 0, 2)) for r in reach for _ in range(2))
    size = tuple(n + 2 for n in size)  # room for what negative numbers cut off
    value = draw(st.sampled_from([0.0, 0.0, 0.5, -np.inf, -1.0]))
    dtype = draw(st.sampled_from(["f4", "f8"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = (rng.integers(-3, 4, (2, 2, *size)) / 4).astype(dtype)
    if draw(st.booleans()):
        x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    if draw(st.booleans()):
        x[0, 0].flat[:2] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return x, draw(st.sampled_from(sorted(ACTIVATIONS))), padding, value, options


def pooled(x, activation, padding, value, options):
    act = ACTIVATIONS[activation] or (lambda x: x)
    out = nn.functional.pad(act(x), padding, value=value)
    if activation == "relu behind padding":
        out = nn.relu(out)
    return nn.MaxPoolNd(**options)(out)


def at_once():
    """In it, every cotangent is put in place as soon as it is there: the definition."""
    return patch.object(Arrived, "wait", lambda *_: False)


def pulled(case, g):
    x, *rest = case
    with tracer.Tape() as tape:
        loss = np.sum(pooled(tracer.parameter(x, name="x"), *rest) * g)
    return tape.backward(loss)["grad"]["x"]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(case=models(), seed=st.integers(0, 99))
def test_what_is_put_in_place_late_is_the_same(case, seed):
    x, activation, *rest = case
    with np.errstate(all="ignore"):
        out = pooled(x, activation, *rest)
        g = np.random.default_rng(seed).standard_normal(out.shape).astype(x.dtype)
        grad = pulled(case, g)
        with at_once():
            expected = pulled(case, g)
    np.testing.assert_array_equal(grad, expected)


def spied(monkeypatch):
    """What is put in place, by the shape of where."""
    seen = []
    put = Winners.put

    def spy(self, values):
        stack = put(self, values)
        seen.append(stack.shape[1:])
        return stack

    monkeypatch.setattr(Winners, "put", spy)
    return seen


def small_network(padding):
    conv = nn.Conv2d(2, 3, 3, rng=np.random.default_rng(0))
    return conv, nn.Sequential(conv, nn.ReLU(), padding, nn.MaxPool2d(3, 2), nn.Flatten())


@pytest.mark.parametrize("padding", [nn.ZeroPad2d((0, 1, 0, 1)), nn.ConstantPad2d(1, -np.inf)])
def test_padding_has_no_cotangent_of_its_own(padding, monkeypatch):
    seen = spied(monkeypatch)
    _, model = small_network(padding)
    x = np.random.default_rng(1).random((2, 2, 8, 8))
    with tracer.Tape() as tape:
        loss = np.sum(model(x) ** 2)
    tape.backward(loss)
    assert seen == [(2, 3, 6, 6)]


def test_an_activation_is_pulled_where_windows_took_from(monkeypatch):
    """A ReLU's rule is given as many elements as there are windows."""
    given = []
    relu = tracer.registry.operations["relu"]
    rule = relu.vjp
    monkeypatch.setattr(relu, "vjp", lambda node, g: given.append(g.shape) or rule(node, g))
    _, model = small_network(nn.ZeroPad2d((0, 1, 0, 1)))
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((2, 2, 8, 8))) ** 2)
    tape.backward(loss)
    assert given == [(1, 2, 3, 3, 3)]


@pytest.mark.parametrize("more", ["padded", "activated"])
def test_what_others_read_too_gets_all_of_it(more):
    x = np.random.default_rng(2).standard_normal((2, 3, 6, 6))

    def grad(**options):
        with tracer.Tape(**options) as tape:
            activated = nn.relu(tracer.parameter(x, name="x"))
            padded = nn.ZeroPad2d(1)(activated)
            other = padded if more == "padded" else activated
            loss = np.sum(nn.MaxPool2d(3, 2)(padded) ** 2) + np.sum(other**3)
            loss = loss + np.sum(nn.MaxPool2d(2)(other))
        return tape.backward(loss)["grad"]["x"]

    with at_once():
        expected = grad()
    np.testing.assert_array_equal(grad(), expected)
    np.testing.assert_array_equal(grad(cotangents=True), expected)


def test_what_is_looked_at_is_all_there():
    """A tape that keeps cotangents has those of the padded and of the activated array."""
    x = np.array([[[1.0, -2.0, 3.0, -1.0]]])
    with tracer.Tape(cotangents=True) as tape:
        activated = nn.relu(tracer.parameter(x, name="x"))
        padded = nn.ZeroPad1d((1, 1))(activated)
        loss = np.sum(nn.MaxPool1d(2)(padded) * np.array([1.0, 10.0, 100.0]))
    tape.backward(loss)
    np.testing.assert_array_equal(tape.cotangents[padded], [[[0, 1, 0, 10, 100, 0]]])
    np.testing.assert_array_equal(tape.cotangents[activated], [[[1, 0, 10, 100]]])


def test_a_second_sweep_is_the_same():
    x = np.random.default_rng(3).standard_normal((2, 3, 6, 6))
    with tracer.Tape() as tape:
        loss = np.sum(small_pool(tracer.parameter(x, name="x")) ** 2)
    first = tape.backward(loss)["grad"]["x"]
    np.testing.assert_array_equal(first, tape.backward(loss)["grad"]["x"])


def small_pool(x, activation=nn.relu):
    return nn.MaxPool2d(3, 2)(nn.ZeroPad2d((0, 1, 0, 1))(activation(x)))


@pytest.mark.parametrize("activation", [nn.relu, np.tanh])
def test_derivatives_of_derivatives(activation):
    x = np.random.default_rng(4).standard_normal((1, 2, 5, 5))

    def loss(x):
        return np.sum(small_pool(x, activation) ** 3)

    v = np.random.default_rng(5).standard_normal(x.shape)
    product = tracer.hvp(loss)(x, v)
    step = 1e-6
    numeric = (tracer.grad(loss)(x + step * v) - tracer.grad(loss)(x - step * v)) / (2 * step)
    np.testing.assert_allclose(product, numeric, rtol=1e-5, atol=1e-7)


def test_quantities_of_all_kinds_are_the_same():
    conv, model = small_network(nn.ZeroPad2d((0, 1, 0, 1)))
    model = nn.Sequential(model, nn.Linear(27, 3, rng=np.random.default_rng(1)))
    x = np.random.default_rng(6).standard_normal((4, 2, 8, 8))
    names = ("grad", "grad_batch", "batch_l2", "diag_ggn_exact", "kflr", "diag_h")

    def results():
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(tracer.batch(x)), np.array([0, 1, 2, 0]))
        return [tape.backward(loss, each)[each][conv.weight] for each in names]

    with at_once():
        expected = results()
    for name, got, wanted in zip(names, results(), expected, strict=True):
        for one, other in zip(flat(got), flat(wanted), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7, err_msg=name)


def flat(value):
    return [value] if isinstance(value, np.ndarray) else list(value.factors)


def test_an_entry_says_what_is_left_of_padding():
    w = windows((4,), (2,), (2,), ((0, 0),), (1,))
    values, winner = np.array([[[3.0, 5.0]]]), np.array([[0, 1]], np.int8)
    entry = Scattered(values, np.zeros((1, 2)), Winners(winner, w))
    np.testing.assert_array_equal(entry.dense(), [[[3, 0, 0, 5]]])
    np.testing.assert_array_equal(entry.within(((0, 0), (1, 0))).dense(), [[[0, 0, 5]]])
    assert entry.within(((1, 0), (0, 0))) is None
