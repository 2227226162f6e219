"""The seam between array libraries: NumPy's functions on arrays that refuse to meet NumPy's.

Operations, layers and quantities on these are in `test_device_suite.py`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_numpy_functions import CASES, parts

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.testing import agree

sys.path.append(str(Path(__file__).parents[1]))
import device

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 4))


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


def mixes(case):
    """Whether a case uses constants of the host besides its arguments."""
    function, *arrays = CASES[case]
    try:
        function(*map(device.asarray, arrays))
    except TypeError as error:
        return "use device.asarray" in str(error)
    return False


ON_DEVICE = [case for case in CASES if "a list" not in case and not mixes(case)]


def test_most_cases_run_on_the_device():
    assert len(ON_DEVICE) > 0.8 * len(CASES)


@pytest.mark.parametrize("case", ON_DEVICE)
def test_function(case):
    function, *arrays = CASES[case]
    expected, pullback = tracer.vjp(lambda *a: parts(function(*a)), *arrays)
    there = map(device.asarray, arrays)
    found, pullback_there = tracer.vjp(lambda *a: parts(function(*a)), *there)
    g = [np.random.default_rng(1).standard_normal(value.shape) for value in expected]
    gradients = zip(pullback_there([device.asarray(x) for x in g]), pullback(g), strict=True)
    for got, value in [*zip(found, expected, strict=True), *gradients]:
        assert isinstance(got, device.DeviceArray)
        agree(f"{case} on the device", got, value, 1e-12, 1e-13)


@tracer.operation("test_untracked_identity")
class UntrackedIdentity(tracer.Operation):
    """An operation that does not say where samples go."""

    saves = ()

    def forward(x):
        return 1.0 * x

    def vjp(node, g):
        return (g,)


def test_samples_whose_axis_is_lost():
    def masked(place):
        with tracer.Tape() as tape:
            w = tracer.parameter(place(W), name="w")
            f = UntrackedIdentity(tracer.batch(place(X)) @ w)
            loss = np.sum(np.tanh(tracer.batch(f)))
        return tape.backward(loss, ("grad_batch",))["grad_batch"]["w"]

    with pytest.warns(UserWarning, match="could not be followed through test_untracked_identity"):
        expected = masked(np.asarray)
    with pytest.warns(UserWarning, match="could not be followed through test_untracked_identity"):
        agree("masked rows on the device", masked(device.asarray), expected, 1e-12, 0)


def test_samples_that_are_chosen_on_the_device():
    def rows(place):
        with tracer.Tape() as tape:
            w = tracer.parameter(place(W), name="w")
            h = tracer.batch(place(X)) @ w
            loss = np.sum(np.tanh(h[place(np.array([2, 0, 0]))])) + np.sum(h.detach() * w[0])
        return tape.backward(loss, ("grad_batch",))["grad_batch"]["w"]

    agree("chosen samples on the device", rows(device.asarray), rows(np.asarray), 1e-12, 0)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_factors_of_a_table_count_the_uses_that_are_there(sharing):
    """Of padded sequences of indices: neither they nor the mask leave the device."""
    index, there = RNG.integers(0, 5, (3, 4)), np.arange(4) < np.array([[4], [2], [3]])
    layer, factors = nn.Embedding(5, 2).double(), {}
    for place in ("cpu", "double"):
        layer.to(place)
        x, mask, zeros = tracer.to_device((index, there, np.zeros((3, 4, 2))), place)
        with tracer.Tape() as tape:
            with tracer.present(mask):
                vectors = layer(x)
            loss = nn.functional.mse_loss(np.where(mask[..., None], vectors, 0), zeros)
        kflr = registry.quantities["kflr"](sharing=sharing)
        factors[place] = tape.backward(loss, (kflr,))["kflr"]["weight"].factors
    for found, expected in zip(factors["double"], factors["cpu"], strict=True):
        assert isinstance(found, device.DeviceArray)
        agree("a factor on the device", found, expected, 1e-12, 1e-13)


# -- mixing -------------------------------------------------------------------------------------


def test_the_double_is_strict():
    x = device.asarray(X)
    with pytest.raises(TypeError, match=r"DeviceArray and a numpy\.ndarray"):
        x + X
    with pytest.raises(TypeError, match=r"DeviceArray and a numpy\.ndarray"):
        np.concatenate([X, x])
    with pytest.raises(TypeError, match="by itself"):
        np.asarray(x)
    assert isinstance(np.sum(x), device.DeviceArray)
    np.testing.assert_array_equal((2 * x).get(), 2 * X)


@pytest.mark.parametrize(
    "mix",
    [
        lambda w: w + W,
        lambda w: W * w,
        lambda w: np.matmul(X, w),
        lambda w: np.einsum("ni,ij->nj", X, w),
        lambda w: np.concatenate([w, W]),
        lambda w: np.where(W > 0, w, 0),
        lambda w: w[np.array([0, 1])],
        lambda w: w + tracer.parameter(W),
    ],
)
def test_mixing_names_both(mix):
    with (
        tracer.Tape(),
        pytest.raises(tracer.ShapeError, match=r"DeviceArray.*numpy\.ndarray"),
    ):
        mix(tracer.parameter(device.asarray(W)))


def test_an_array_of_an_unknown_library():
    class Array:
        shape, dtype, ndim = (2,), np.dtype(float), 1

    with pytest.raises(tracer.TracingError, match=r"register a tracer\.Backend"):
        tracer.parameter(Array())
