"""The seam between array libraries: everything runs on arrays that refuse to meet NumPy's."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_numpy_functions import CASES, parts

import tracer
from tracer import registry
from tracer.testing import SquaredError, agree, check_operation

sys.path.append(str(Path(__file__).parents[1]))
import device

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 2))
W, C, V = RNG.standard_normal((3, 4)), RNG.standard_normal(4), RNG.standard_normal((4, 2))


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


@pytest.mark.parametrize("name", list(registry.operations))
def test_operation(name):
    check_operation(registry.operations[name], backend=device.asarray)


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


# -- whole sweeps -------------------------------------------------------------------------------


def found(quantity, place, budget=None):
    """A quantity of a network with two layers, its loss registered with rows of all kinds."""
    with tracer.Tape() as tape:
        w, c, v = (tracer.parameter(place(p), name=n) for n, p in {"w": W, "c": C, "v": V}.items())
        f = np.tanh(tracer.batch(place(X)) @ w + c) @ v
        loss = np.sum(SquaredError(f, place(Y))) * 0.5
    rng = np.random.default_rng(0)
    return tape.backward(loss, (quantity,), memory_budget=budget, rng=rng)[quantity]


ARRAYS = [name for name, q in registry.quantities.items() if q.rows is not None and name != "pchmp"]


@pytest.mark.parametrize("budget", [None, 512])
@pytest.mark.parametrize("quantity", ARRAYS)
def test_quantity(quantity, budget):
    here, there = (found(quantity, place, budget) for place in (np.asarray, device.asarray))
    for name, value in here.items():
        values, others = (getattr(v, "factors", (v,)) for v in (value, there[name]))
        for got, expected in zip(others, values, strict=True):
            assert isinstance(got, device.DeviceArray)
            agree(f"{quantity} of {name} on the device", got, expected, 1e-10, 1e-12)


def plain(w, x):
    return np.sum(np.exp(np.tanh(x @ w)) * 0.3)


@pytest.mark.parametrize(
    "derivative",
    [
        tracer.grad(plain),
        tracer.jacobian(lambda w, x: np.tanh(x @ w)),
        tracer.hessian(plain),
        lambda w, x: tracer.hvp(lambda w: plain(w, x))(w, w),
        lambda w, x: tracer.jvp(plain, (w, x), (w, x)),
        lambda w, x: tracer.ggn_vp(lambda w: np.tanh(x @ w), lambda f: np.sum(f**2))(w, w),
        tracer.grad(lambda w, x: np.sum(tracer.grad(plain, 1)(w, x) ** 2)),
    ],
)
def test_functions_of_functions(derivative):
    here, there = derivative(W, X), derivative(device.asarray(W), device.asarray(X))
    for got, expected in zip(parts(there), parts(here), strict=True):
        assert isinstance(got, device.DeviceArray)
        agree("a derivative on the device", got, expected, 1e-12, 1e-13)


def test_samples_whose_axis_is_lost():
    def masked(place):
        with tracer.Tape() as tape:
            w = tracer.parameter(place(W), name="w")
            f = np.flip(np.flip(tracer.batch(place(X)) @ w, 0), 0)
            loss = np.sum(np.tanh(tracer.batch(f)))
        return tape.backward(loss, ("grad_batch",))["grad_batch"]["w"]

    with pytest.warns(UserWarning, match="could not be followed through flip"):
        expected = masked(np.asarray)
    with pytest.warns(UserWarning, match="could not be followed through flip"):
        agree("masked rows on the device", masked(device.asarray), expected, 1e-12, 0)


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
