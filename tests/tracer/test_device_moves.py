"""Moving arrays, parameters and models between devices, and who draws random numbers there."""

import sys
import threading
from collections import namedtuple
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.api import devices
from tracer.arrays.backend_cupy import CUPY, CuPyBackend
from tracer.errors import ShapeError, TracerError, TracingError

sys.path.append(str(Path(__file__).parents[1]))
import device
from device import DeviceArray

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3))
Pair = namedtuple("Pair", "mean values")


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


# -- arrays and what holds them -----------------------------------------------------------------


def test_an_array_there_and_back():
    there = tracer.to_device(X, "double")
    assert isinstance(there, DeviceArray)
    back = tracer.to_device(there, "cpu")
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, X)


def test_an_array_that_is_there_is_not_copied():
    there = tracer.to_device(X, "double")
    assert tracer.to_device(there, "double:0") is there
    assert tracer.to_device(X, "cpu") is X


def test_containers_keep_their_kinds_and_what_is_no_array():
    value = {"w": X, "deep": [X, (X, None)], "pair": Pair(X, 3), "label": "a", "rate": 0.5}
    there = tracer.to_device(value, "double")
    assert isinstance(there["deep"], list)
    assert isinstance(there["deep"][1], tuple)
    assert isinstance(there["pair"], Pair)
    moved = [there["w"], there["deep"][0], there["deep"][1][0], there["pair"].mean]
    assert [type(array) for array in moved] == [DeviceArray] * 4
    assert (there["deep"][1][1], there["pair"].values, there["label"], there["rate"]) == (
        (None, 3, "a", 0.5)
    )
    back = tracer.asnumpy(there)
    np.testing.assert_array_equal(back["pair"].mean, X)


def test_parameters_keep_their_name_and_whether_they_are_frozen():
    w = tracer.parameter(X, name="w")
    frozen = tracer.parameter(X, name="v")
    frozen.requires_grad_(False)
    moved = tracer.to_device({"w": w, "v": frozen}, "double")
    assert [(p.name, p.requires_grad) for p in moved.values()] == [("w", True), ("v", False)]
    assert isinstance(moved["w"].data, DeviceArray)
    assert tracer.to_device(w, "cpu") is w
    assert moved["w"].node is not w.node


def test_a_parameter_that_is_held_twice_is_one_there_too():
    w = tracer.parameter(X, name="w")
    first, second = tracer.to_device([(w, X), {"tied": w}], "double")
    assert first[0] is second["tied"]


def test_a_batch_keeps_its_axis():
    with tracer.Tape() as tape:
        x = tracer.to_device(tracer.batch(X, axis=1), "double")
        w = tracer.parameter(device.asarray(X[:, :1]), name="w")
        loss = np.sum(x * w)
    assert tape.backward(loss, ("grad_batch",))["grad_batch"]["w"].shape == (3, 5, 1)


def test_a_recorded_tensor_stays_on_its_tape():
    with tracer.Tape():
        y = np.tanh(tracer.parameter(X))
    with pytest.raises(TracingError, match=r"tanh.*recorded.*detach"):
        tracer.to_device(y, "double")
    assert isinstance(tracer.to_device(y.detach(), "double").data, DeviceArray)


def test_results_of_a_sweep_as_numpy_arrays():
    model = nn.Linear(3, 2).double().to("double")
    with tracer.Tape() as tape:
        loss = nn.functional.mse_loss(model(device.asarray(X)), device.asarray(X[:, :2]))
    results = tape.backward(loss, ("grad", "kflr"))
    found = tracer.asnumpy(results)
    assert type(found["grad"]["weight"]) is np.ndarray
    factors, there = found["kflr"]["weight"].factors, results["kflr"]["weight"].factors
    for factor, other in zip(factors, there, strict=True):
        np.testing.assert_array_equal(factor, other.get())
    np.testing.assert_allclose(
        found["kflr"]["weight"].matvec(np.ones((2, 3))),
        results["kflr"]["weight"].matvec(device.asarray(np.ones((2, 3)))).get(),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (lambda: tracer.to_device(X, "tpu"), "a device is one of cpu, cuda, double, got 'tpu'"),
        (lambda: tracer.to_device(X, "double:1"), "CUDA_VISIBLE_DEVICES=1"),
        (lambda: tracer.to_device(nn.Linear(1, 1), "cpu"), r"Linear.*model\.to\(device\)"),
        (lambda: tracer.asnumpy(object()), "expected arrays.*got object"),
    ],
)
def test_errors_say_what_to_do(move, message):
    with pytest.raises(TracerError, match=message):
        move()


# -- the GPU ------------------------------------------------------------------------------------


def missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def without_driver(monkeypatch):
    class Module:
        __version__ = "14.0"

        class cuda:
            is_available = staticmethod(lambda: False)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.import_module", lambda name: Module)


def broken(monkeypatch):
    def fail(name):
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.import_module", fail)


def without_libraries(monkeypatch):
    class Module:
        __version__ = "14.0"

        class cuda:
            is_available = staticmethod(lambda: True)

    def load(name):
        if name == "cupy":
            return Module
        raise ImportError('Failure finding "libcublas.so.12": not in any of these places')

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.import_module", load)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (missing, r"CuPy is not installed: pip install 'trace-net\[cuda12\]'"),
        (without_driver, r"CuPy 14\.0 finds no GPU: `nvidia-smi`"),
        (
            without_libraries,
            r"CuPy 14\.0 lacks CUDA's libraries \(Failure finding \"libcublas\.so\.12\"\): "
            r"pip install 'cupy-cuda12x\[ctk\]'",
        ),
        (broken, r"CuPy cannot be imported \(OSError: libcudart.*trace-net\[cuda13\]"),
    ],
)
def test_without_a_gpu_the_error_says_what_is_missing(state, message, monkeypatch):
    state(monkeypatch)
    assert not tracer.cuda_available()
    assert CUPY.problem() == CUPY.describe()
    with pytest.raises(TracerError, match=f"the device 'cuda' was asked for, but {message}"):
        tracer.to_device(X, "cuda")
    with pytest.raises(TracerError, match="the device 'cuda' was asked for"):
        nn.Linear(2, 2, device="cuda")
    with pytest.raises(TracerError, match="the device 'cuda' was asked for"):
        nn.Linear(2, 2).cuda()


def test_a_gpu_is_named(monkeypatch):
    class Runtime:
        getDeviceCount = staticmethod(lambda: 1)
        getDeviceProperties = staticmethod(lambda i: {"name": b"Imaginary 9000"})

    class Module:
        __version__ = "14.0"

        class cuda:
            is_available = staticmethod(lambda: True)
            runtime = Runtime

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.import_module", lambda name: Module)
    assert tracer.cuda_available()
    assert CUPY.describe() == "cupy 14.0 on Imaginary 9000"


# -- models -------------------------------------------------------------------------------------


def arrays(model):
    return [p.data for p in model.parameters()] + list(model.buffers())


def test_a_model_moves_with_its_buffers_and_ties():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    before = model.state_dict()
    assert model.to("double") is model
    assert {type(array) for array in arrays(model)} == {DeviceArray}
    assert model[2].weight is model[0].weight
    assert model.cpu() is model
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
        assert value.dtype == before[name].dtype


@pytest.mark.parametrize(
    "move",
    [
        lambda model: model.to("double", np.float64),
        lambda model: model.to(np.float64, device="double:0"),
        lambda model: model.to(device="double", dtype="float64"),
    ],
)
def test_device_and_dtype_at_once(move):
    weight = move(nn.Linear(2, 2)).weight
    assert isinstance(weight.data, DeviceArray)
    assert weight.dtype == weight.node.dtype == np.float64


def test_a_state_is_loaded_where_the_model_is():
    model, other = nn.Linear(2, 2).to("double"), nn.Linear(2, 2)
    model.load_state_dict(other.state_dict())
    assert isinstance(model.weight.data, DeviceArray)
    np.testing.assert_array_equal(model.weight.data.get(), other.weight.data)
    other.load_state_dict(model.state_dict())
    assert type(other.weight.data) is np.ndarray


LAYERS = [
    lambda **there: nn.Linear(2, 3, True, **there),
    lambda **there: nn.Conv2d(1, 2, 3, **there),
    lambda **there: nn.BatchNorm1d(3, **there),
    lambda **there: nn.LayerNorm(3, **there),
    lambda **there: nn.Embedding(3, 2, **there),
    lambda **there: nn.LSTM(2, 3, **there),
    lambda **there: nn.GRUCell(2, 3, **there),
    lambda **there: nn.MultiheadAttention(4, 2, **there),
    lambda **there: nn.TransformerEncoderLayer(4, 2, 8, **there),
    lambda **there: nn.PReLU(**there),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_argument_device_of_layers(layer):
    """A seed gives the same layer on every device."""
    tracer.seed(0)
    there = layer(device="double", dtype=np.float64)
    tracer.seed(0)
    here = layer(dtype=np.float64)
    assert {type(array) for array in arrays(there)} == {DeviceArray}
    for array, expected in zip(arrays(there), arrays(here), strict=True):
        np.testing.assert_array_equal(array.get(), expected)


def test_the_argument_device_by_position_and_in_a_users_module():
    assert isinstance(nn.Linear(2, 2, True, "double").weight.data, DeviceArray)

    class Scale(nn.Module):
        def __init__(self, size, device=None):
            self.scale = tracer.parameter(np.ones(size))

    assert isinstance(Scale(3, device="double").scale.data, DeviceArray)
    assert type(Scale(3).scale.data) is np.ndarray


@pytest.mark.parametrize(("of_model", "of_input"), [("double", "cpu"), ("cpu", "double")])
@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.Sequential(nn.BatchNorm1d(3)), nn.GRU(3, 2)])
def test_a_model_called_with_arrays_of_another_device(layer, of_model, of_input):
    x = tracer.to_device(X.astype(np.float32)[None], of_input)
    layer = layer.to(of_model)
    message = r"device\.DeviceArray and numpy\.ndarray: move one with tracer\.to_device"
    with tracer.Tape(), pytest.raises(ShapeError, match=message):
        layer(x[0] if isinstance(layer, nn.Linear | nn.Sequential) else x)


# -- random numbers -----------------------------------------------------------------------------


def dropped(rng=None):
    return nn.functional.dropout(device.asarray(np.ones((40, 50))), 0.5, rng=rng)


def test_the_device_draws_for_its_arrays():
    tracer.seed(3)
    x = device.asarray(np.ones((40, 50)))
    with device.watched() as waits:
        first = nn.functional.dropout(x, 0.5)
    assert not waits
    second = dropped()
    tracer.seed(3)
    np.testing.assert_array_equal(dropped().get(), first.get())
    assert not np.array_equal(first.get(), second.get())
    assert 0.4 < np.mean(first.get() == 0) < 0.6


def test_a_generator_of_either_library_can_be_given():
    for make in (np.random.default_rng, device.Generator):
        once, again, other = dropped(make(1)), dropped(make(1)), dropped(make(2))
        assert isinstance(once, DeviceArray)
        np.testing.assert_array_equal(once.get(), again.get())
        assert not np.array_equal(once.get(), other.get())


def test_parameters_drawn_by_a_devices_generator_are_there():
    layer = nn.Linear(2, 3, rng=device.Generator(0))
    assert isinstance(layer.weight.data, DeviceArray)


@pytest.mark.parametrize("loss", ["mse_loss", "poisson_nll_loss", "cross_entropy"])
@pytest.mark.parametrize("rng", [None, device.Generator(0), np.random.default_rng(0)])
def test_sampled_rows(loss, rng):
    """In expectation they are the exact ones, whoever draws."""
    counts = device.asarray(np.ones((5, 2)) if loss != "cross_entropy" else np.ones(5, int))
    model = nn.Linear(3, 2, bias=False).double().to("double")
    tracer.seed(0)
    with tracer.Tape() as tape:
        value = getattr(nn.functional, loss)(model(device.asarray(X)), counts)
    many = registry.quantities["diag_ggn_mc"](mc_samples=4000)
    results = tape.backward(value, (many, "diag_ggn_exact"), rng=rng)
    sampled, exact = (results[name]["weight"] for name in ("diag_ggn_mc", "diag_ggn_exact"))
    assert isinstance(sampled, DeviceArray)
    np.testing.assert_allclose(sampled.get(), exact.get(), rtol=0.15)


def test_alpha_dropout_keeps_mean_and_variance_there():
    x = device.asarray(RNG.standard_normal(40000))
    y = nn.functional.alpha_dropout(x, 0.3).get()
    assert abs(y.mean()) < 0.03
    assert abs(y.var() - 1) < 0.06


def test_devices_are_told_from_dtypes():
    assert devices.is_device("cuda:0")
    assert devices.is_device("cpu")
    assert not devices.is_device("float32")


# -- an example of plain functions --------------------------------------------------------------


def test_the_polynomial_is_fitted_on_a_device(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "examples")
    import polynomial

    data = polynomial.points(np.random.default_rng(0))
    start = np.zeros(polynomial.DEGREE + 1)
    there = tracer.to_device((start, *data), "double")
    for method in (polynomial.gauss_newton_step, partial(polynomial.gradient_descent, steps=3)):
        found = method(*there)
        assert isinstance(found, DeviceArray)
        np.testing.assert_allclose(tracer.asnumpy(found), method(start, *data), rtol=1e-10)


class Gpus:
    """What `cupy.cuda` has of several GPUs: each thread has a current one."""

    def __init__(self):
        self.local = threading.local()
        self.runtime = SimpleNamespace(getDeviceCount=lambda: 3)

    @property
    def current(self):
        return getattr(self.local, "number", 0)

    def Device(self, number):
        return Gpu(self, number)


class Gpu:
    def __init__(self, gpus, number):
        self.gpus, self.number, self.pci_bus_id = gpus, number, f"0000:0{number}"

    def use(self):
        self.gpus.local.number = self.number

    def __enter__(self):
        self.before, self.gpus.local.number = self.gpus.current, self.number

    def __exit__(self, *error):
        self.gpus.local.number = self.before


def test_a_gpu_that_is_chosen_is_where_all_threads_send_arrays(monkeypatch):
    gpus, library = Gpus(), CuPyBackend()
    cupy = SimpleNamespace(cuda=gpus, asarray=lambda array: gpus.current)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert library.from_host(np.ones(2)) == 0
    assert library.device_count() == 3
    assert library.use_device(2) == "0000:02"
    assert gpus.current == 2
    found = []
    thread = threading.Thread(target=lambda: found.append(library.from_host(np.ones(2))))
    thread.start()
    thread.join()
    assert found == [2]


def test_constants_are_moved_anew_to_another_device():
    library = device.DeviceBackend()
    first = library.constant(np.arange, 3)
    assert library.constant(np.arange, 3) is first
    tracer.extend.backend.forget_constants()
    assert library.constant(np.arange, 3) is not first


def test_the_host_has_no_choice_of_devices_and_no_links():
    library = tracer.extend.backend.NUMPY
    assert library.device_count() == 0
    with pytest.raises(TracerError, match="numpy has one device"):
        library.use_device(1)
    with pytest.raises(TracerError, match="no links between devices of numpy"):
        library.links(2, 0, "127.0.0.1", 4444)
