"""Instruments on a device: the same values, and sweeps that do not wait for it."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer import registry

sys.path.append(str(Path(__file__).parents[1]))
import device

PLACE = "double"
# of exact curvature: sampled rows are drawn there by another generator, and diag_h waits
WHICH = [*experiments.Instruments("all").instruments, "GGNDensity", "UpdateRatio", "Saturation"]


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


def steps(place, kind, dtype):
    """What instruments say of three steps."""
    tracer.seed(0)
    layers = nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 4), nn.Linear(4, 3)
    model = nn.Sequential(*layers).to(dtype)
    rng = np.random.default_rng(0)
    if place is not None:
        model.to(place)
    optimizer = getattr(training, kind)(model.named_parameters(), lr=0.1)
    which = [name for name in WHICH if kind == "SGD" or name not in ("CABS", "EarlyStopping")]
    instruments = experiments.Instruments(which, curvature="diag_ggn_exact")
    found = []
    for step in range(3):
        x, y = rng.standard_normal((6, 1, 4, 4)).astype(dtype), rng.integers(0, 3, 6)
        if place is not None:
            x, y = tracer.to_device((x, y), place)
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        asked = (*optimizer.quantities, *instruments.quantities(step))
        with device.watched() as waits:
            results = tape.backward(loss, asked)
        assert not waits or not step, waits  # constants are moved there once
        found.append(
            instruments.measure(step, results, loss=loss, model=model, optimizer=optimizer)
        )
        optimizer.step(results)
    return found


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_values_are_those_of_the_host_and_sweeps_do_not_wait(kind):
    for there, host in zip(*(steps(p, kind, "float64") for p in (PLACE, None)), strict=True):
        assert there.keys() == host.keys()
        for name in host.keys() - {"Time"}:
            assert isinstance(there[name], float | np.ndarray), name
            np.testing.assert_allclose(there[name], host[name], rtol=1e-6, atol=1e-9)
