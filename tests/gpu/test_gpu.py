"""The suite of all devices on a GPU, and what only a GPU shows: memory, waiting, random numbers.

Run with `pytest -m gpu`.
"""

import gc
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.arrays.backend_cupy import CUPY

sys.path.append(str(Path(__file__).parents[1]))
from device_suite import *  # noqa: F403

PROBLEM = CUPY.problem()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]


@pytest.fixture(scope="module")
def place():
    return "cuda"


@pytest.fixture
def cupy():
    return CUPY.namespace


def network():
    tracer.seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Dropout(0.2), nn.AvgPool2d(2), nn.Flatten()),
        nn.Linear(8 * 3 * 3, 10),
    )


def batch():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((32, 1, 16, 16)).astype(np.float32)
    return tracer.to_device((images, rng.integers(0, 10, 32)), "cuda")


def step(model, x, y):
    with tracer.Tape() as tape:
        loss = nn.functional.cross_entropy(model(x), y)
    gradients = tape.backward(loss)["grad"]
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data - 0.1 * gradients[name]


def test_memory_returns_to_its_level(cupy):
    """By reference counting alone: a cycle would hold the device's memory."""
    model, (x, y) = network().to("cuda"), batch()
    step(model, x, y)
    pool = cupy.get_default_memory_pool()
    gc.collect()
    gc.disable()
    try:
        before = pool.used_bytes()
        for _ in range(3):
            step(model, x, y)
        assert pool.used_bytes() == before
    finally:
        gc.enable()


def test_a_training_step_never_waits(cupy):
    """As far as CuPy can tell; the double of a device is stricter."""
    import cupyx

    model, (x, y) = network().to("cuda"), batch()
    step(model, x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with cupyx.allow_synchronize(False):
            step(model, x, y)


def test_quantities_never_wait(cupy):
    """All but those of the Hessian, which ask which of its rows are zero."""
    import cupyx

    model, (x, y) = network().eval().to("cuda"), batch()
    quantities = [
        name
        for name in tracer.registry.quantities
        if name not in ("diag_h", "diag_h_batch", "pchmp")
    ]

    def sweep():
        with tracer.Tape() as tape:
            loss = nn.functional.cross_entropy(model(x), y)
        return tape.backward(loss, quantities)

    sweep()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with cupyx.allow_synchronize(False):
            sweep()


def test_training_is_the_same_as_on_the_host():
    losses = {}
    for device in ("cpu", "cuda"):
        model, (x, y) = network().eval().to(device), tracer.to_device(batch(), device)
        for _ in range(5):
            step(model, x, y)
        losses[device] = float(nn.functional.cross_entropy(model(x), y))
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


def test_mixing_names_both(cupy):
    message = r"cupy\.ndarray and numpy\.ndarray: move one with tracer\.to_device\(x, 'cuda'\)"
    w, host = tracer.parameter(cupy.ones((2, 3))), np.ones((3, 2))
    for mix in (
        lambda: w @ host,
        lambda: host @ w,
        lambda: np.einsum("ij,jk->ik", w, host),
        lambda: np.concatenate([w, host.T]),
        lambda: nn.Linear(3, 2)(cupy.ones((4, 3), np.float32)),
        lambda: network()(cupy.ones((4, 1, 16, 16), np.float32)),
    ):
        with tracer.Tape(), pytest.raises(tracer.ShapeError, match=message):
            mix()


def test_random_numbers_are_the_devices(cupy):
    x = cupy.ones((100, 100), np.float32)
    tracer.seed(0)
    first = nn.functional.dropout(x, 0.5)
    tracer.seed(0)
    again = nn.functional.dropout(x, 0.5)
    given = nn.functional.dropout(x, 0.5, rng=cupy.random.default_rng(1))
    from_host = nn.functional.dropout(x, 0.5, rng=np.random.default_rng(1))
    assert {type(value) for value in (first, given, from_host)} == {cupy.ndarray}
    assert bool((first == again).all())
    assert not bool((first == given).all())
    assert 0.45 < float((first == 0).mean()) < 0.55


@pytest.mark.parametrize("loss", ["mse_loss", "poisson_nll_loss", "cross_entropy"])
def test_sampled_rows(cupy, loss):
    counts = cupy.ones(32, int) if loss == "cross_entropy" else cupy.ones((32, 4))
    model = nn.Linear(3, 4).double().to("cuda")
    x = cupy.random.default_rng(0).standard_normal((32, 3))
    with tracer.Tape() as tape:
        value = getattr(nn.functional, loss)(model(x), counts)
    many = tracer.registry.quantities["diag_ggn_mc"](mc_samples=4000)
    results = tape.backward(value, (many, "diag_ggn_exact"), rng=cupy.random.default_rng(0))
    sampled, exact = (results[name]["weight"] for name in ("diag_ggn_mc", "diag_ggn_exact"))
    np.testing.assert_allclose(sampled.get(), exact.get(), rtol=0.15)


def test_operators_solve_on_the_device(cupy):
    from cupyx.scipy.sparse.linalg import cg

    model, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(256, 10)).double().to("cuda"), batch()
    with tracer.Tape() as tape:
        loss = nn.functional.cross_entropy(model(x.astype(float)), y)
    ggn = tape.backward(loss, ("ggn",))["ggn"]
    vector = cupy.random.default_rng(0).standard_normal(ggn.shape[0])
    product = ggn.matvec(vector)
    assert type(product) is cupy.ndarray
    solution, unsolved = cg(ggn, product, maxiter=2000)
    assert unsolved == 0
    left = cupy.linalg.norm(ggn.matvec(solution) - product) / cupy.linalg.norm(product)
    assert float(left) < 1e-4
