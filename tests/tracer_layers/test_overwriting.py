"""Functions and layers with `inplace=True`: the same result, which the input's other names see."""

import inspect

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracingError

F = nn.functional
FUNCTIONS = [n for n in F.__all__ if "inplace" in inspect.signature(getattr(F, n)).parameters]
UNDERSCORED = [name for name in F.__all__ if name.endswith("_")]
LAYERS = [
    name
    for name in nn.__all__
    if inspect.isclass(getattr(nn, name))
    if "inplace" in inspect.signature(getattr(nn, name)).parameters
]
X = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
THRESHOLD = {"threshold": (0.1, 2.0), "threshold_": (0.1, 2.0), "Threshold": (0.1, 2.0)}


def data(name):
    return X[..., None] if name.lower() == "dropout3d" else X[:, :, 0] if "1d" in name else X


def made(name, **options):
    """A layer, which draws the same at each call."""
    if "rng" in inspect.signature(getattr(nn, name)).parameters:
        options["rng"] = np.random.default_rng(1)
    return getattr(nn, name)(*THRESHOLD.get(name, ()), **options)


def called(name, x, **options):
    function = getattr(F, name)
    parameters = inspect.signature(function).parameters
    options |= {"training": True} if "training" in parameters else {}
    options |= {"rng": np.random.default_rng(1)} if "rng" in parameters else {}
    return function(x, *THRESHOLD.get(name, ()), **options)


def test_what_there_is():
    assert len(LAYERS) == 19
    assert len(UNDERSCORED) == 8
    assert {*UNDERSCORED} <= {f"{name}_" for name in FUNCTIONS}


@pytest.mark.parametrize("name", [*FUNCTIONS, *UNDERSCORED])
def test_a_function_gives_the_same_and_moves_its_input_on(name):
    x = data(name)
    given = {} if name in UNDERSCORED else {"inplace": True}
    leaf = tracer.parameter(x, name="x")
    found = {}
    for kind, options in (("plain", None), ("in place", given)):
        with tracer.Tape() as tape:
            h = 2 * leaf
            before = h.data
            if options is None:
                out = h = called(name.removesuffix("_"), h)
            else:
                out = called(name, h, **options)
                assert out is h
            loss = np.sum((out + h) ** 2)  # what is added twice is what PyTorch adds
        np.testing.assert_array_equal(before, 2 * x)
        found[kind] = out.data, tape.backward(loss)["grad"]["x"]
    for plain, moved in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(plain, moved)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_same_in_place(name):
    x = data(name)
    outputs = [made(name, inplace=inplace)(x).data for inplace in (False, True)]
    np.testing.assert_array_equal(*outputs)
    outputs = [made(name, inplace=inplace).eval()(x).data for inplace in (False, True)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("name", [*FUNCTIONS, *UNDERSCORED])
def test_raw_arrays_and_parameters_stay_as_they_are(name):
    x = data(name)
    kept, parameter = x.copy(), tracer.parameter(x.copy())
    options = {} if name in UNDERSCORED else {"inplace": True}
    expected = called(name, x, **options)
    with tracer.Tape():
        out = called(name, parameter, **options)
    np.testing.assert_array_equal(out.data, expected)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(parameter.data, kept)


def test_what_a_part_would_see_is_refused():
    with tracer.Tape():
        h = 2 * tracer.parameter(X)
        part = h[1:]
        with pytest.raises(TracingError, match=r"relu\(t, inplace=True\) would .*t = relu\(t\)"):
            F.relu(h, inplace=True)
        with pytest.raises(TracingError, match="shares memory with t"):
            F.relu(part, inplace=True)
        del part
        F.relu(h, True)


@pytest.mark.parametrize("of_view", [False, True])
@pytest.mark.parametrize("reshape", [lambda h: h.reshape(2, -1), lambda h: h[None], np.ravel])
def test_the_same_memory_in_another_shape_moves_on_too(reshape, of_view):
    """As in PyTorch, where `x = flatten(h); relu_(x)` rectifies `h`."""
    leaf = tracer.parameter(X, "x")
    with tracer.Tape() as tape:
        h = 2 * leaf
        view = reshape(h)
        F.relu_(view if of_view else h)
        loss = np.sum(h**3) + np.sum(view**2)
    np.testing.assert_array_equal(h.data, np.maximum(2 * X, 0))
    np.testing.assert_array_equal(view.data.ravel(), h.data.ravel())
    expected = np.where(X > 0, 24 * X**2 + 8 * X, 0)
    np.testing.assert_allclose(tape.backward(loss)["grad"]["x"], expected)
    h = 2 * tracer.Tensor(X)
    view = reshape(h)
    F.relu_(view if of_view else h)  # beside a tape
    np.testing.assert_array_equal(h.data, np.maximum(2 * X, 0))
    np.testing.assert_array_equal(view.data.ravel(), h.data.ravel())


def test_a_head_with_dropout_in_place_on_what_it_flattens():
    class Net(nn.Module):
        def __init__(self):
            self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5, True), nn.Linear(60, 2))

        def forward(self, x):
            h = np.tanh(x)
            return self.head(h) + np.sum(h)

    model, seen = Net().double(), []
    model.head[0].register_forward_hook(lambda module, given, out: seen.append((*given, out)))
    with tracer.Tape() as tape:
        loss = np.sum(model(X))
    (before, flat), _ = seen[0], tape.backward(loss)
    np.testing.assert_array_equal(before.data.reshape(2, -1), flat.data)
    assert (flat.data == 0).any()


def test_a_skip_around_an_activation_in_place_sees_it():
    """As in PyTorch, `x + f(relu_(x))` adds the rectified x."""
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Tanh())
    with tracer.Tape():
        x = 1.0 * tracer.parameter(np.array([-1.0, 2.0]))
        np.testing.assert_allclose((model(x) + x).data, [0, 2 + np.tanh(2.0)])
