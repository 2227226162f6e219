"""The last bits of results do not depend on what else the process has computed."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.arrays import parallel

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 400)).astype(np.float32)
IMAGES = RNG.standard_normal((16, 3, 12, 12)).astype(np.float32)


def dense_network():
    return nn.Sequential(nn.Linear(400, 500), nn.ReLU(), nn.Linear(500, 300), nn.Linear(300, 10))


def convolutional_network():
    head = (nn.Flatten(), nn.Linear(800, 500), nn.Linear(500, 10))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head)


def results_of(model, x, inside):
    """The loss, gradients and Kronecker factors, swept as long as the tape is open or after."""
    targets = np.arange(len(x)) % 10
    tape = tracer.Tape()
    with tape:
        loss = nn.CrossEntropyLoss()(model(x), targets)
        if inside:
            found = tape.backward(loss, ("grad", "kflr"))
    if not inside:
        found = tape.backward(loss, ("grad", "kflr"))
    factors = [each for product in found["kflr"].values() for each in product.factors]
    return [loss.item(), *found["grad"].values(), *map(np.asarray, factors)]


@pytest.fixture
def products(monkeypatch):
    """Whose threads multiplied: True of ours."""
    found = []
    expected = parallel._blocks_expected

    def noted():
        found.append(expected())
        return found[-1]

    monkeypatch.setattr(parallel, "_blocks_expected", noted)
    monkeypatch.setattr(parallel, "LARGE", 1 << 18)
    return found


@pytest.mark.parametrize("inside", [True, False])
def test_a_convolution_leaves_other_models_as_they_are(products, inside):
    dense, convolutional = dense_network(), convolutional_network()
    first = results_of(dense, X, inside)
    assert not any(products)
    results_of(convolutional, IMAGES, inside)
    assert any(products)
    products.clear()
    for before, after in zip(first, results_of(dense, X, inside), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not any(products)


def test_a_network_of_convolutions_sweeps_with_threads_of_ours(products):
    model = convolutional_network()
    with tracer.Tape() as tape:
        loss = nn.CrossEntropyLoss()(model(IMAGES), np.arange(16) % 10)
    products.clear()
    tape.backward(loss)
    assert products
    assert all(products)


def test_without_a_tape_each_call_of_a_model_is_a_work_of_its_own(products):
    convolutional_network()(IMAGES)
    assert any(products)
    products.clear()
    dense_network()(X)
    assert products
    assert not any(products)


def test_tapes_around_each_other_are_one_work(products):
    model = convolutional_network()
    with tracer.Tape() as outer:
        with tracer.Tape() as tape:
            loss = nn.CrossEntropyLoss()(model(IMAGES), np.arange(16) % 10)
        tape.backward(loss)
        products.clear()
        dense_network()(X)
    assert outer.work is tape.work
    assert all(products)
    assert parallel.current_work() is None
