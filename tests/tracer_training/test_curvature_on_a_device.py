"""Optimisers on curvature, on a device: the same numbers, and no waiting where none is needed."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer import registry

sys.path.append(str(Path(__file__).parents[1]))
import device

PLACE = "double"

MAKES = {
    "DampedNewton kflr": lambda p: training.DampedNewton(p, "kflr", lr=0.3, update_every=2),
    "DampedNewton average": lambda p: training.DampedNewton(p, "kflr", lr=0.3, average=0.9),
    "DampedNewton kfra": lambda p: training.DampedNewton(p, "kfra", lr=0.3),
    "DampedNewton diag_h": lambda p: training.DampedNewton(p, "diag_h", weight_decay=0.1),
    "KFAC bound": lambda p: training.KFAC(
        p, 0.1, 0.1, curvature="kflr", norm_constraint=1e-3, adapt_damping=False
    ),
    "KFAC": lambda p: training.KFAC(p, 0.1, 0.1, curvature="kflr", adapt_every=2),
    "Sophia": lambda p: training.Sophia(p, curvature="diag_ggn_exact", update_every=2),
    "HessianFree": lambda p: training.HessianFree(p, "ggn", weight_decay=0.1),
    "HessianFree hessian": lambda p: training.HessianFree(p, "hessian"),
}
#: those that read a number of the device at some steps: the loss, and what decides on the damping
WAITING = {"KFAC", "HessianFree", "HessianFree hessian"}


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


class Setting:
    """Tables and a network in double precision, at a place."""

    def __init__(self, place):
        rng = np.random.default_rng(0)
        tracer.seed(0)
        self.model = nn.Sequential(
            nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)
        ).double()
        self.x, self.y = rng.integers(0, 7, (12, 2)), rng.integers(0, 3, 12)
        if place is not None:
            self.model.to(place)
            self.x, self.y = tracer.to_device((self.x, self.y), place)

    def sweep(self, quantities):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(self.model(self.x), self.y)
        return tape.backward(loss, quantities)

    def values(self):
        return [on_host(p.data) for p in self.model.parameters()]


def on_host(value):
    return value.get() if isinstance(value, device.DeviceArray) else np.asarray(value)


@pytest.mark.parametrize("name", MAKES)
def test_steps_are_those_of_the_host(name):
    settings = [Setting(None), Setting(PLACE)]
    for setting in settings:
        optimizer = MAKES[name](setting.model.parameters())
        for _ in range(4):
            results = setting.sweep(optimizer.quantities)
            with device.watched() as waits:
                optimizer.step(results, lambda s=setting, o=optimizer: s.sweep(o.quantities))
            assert name in WAITING or not waits, waits
    kept = [v for state in optimizer.state.values() for v in state.values()]
    arrays = [a for v in kept for a in (v if isinstance(v, list) else [v]) if hasattr(a, "shape")]
    assert all(isinstance(a, device.DeviceArray) for a in arrays)
    assert all(isinstance(p.data, device.DeviceArray) for p in setting.model.parameters())
    for there, host in zip(settings[1].values(), settings[0].values(), strict=True):
        np.testing.assert_allclose(there, host, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("forth", [(None, PLACE), (PLACE, None)], ids=["there", "back"])
@pytest.mark.parametrize("name", MAKES)
def test_a_saved_state_goes_on_at_another_place(name, forth, tmp_path):
    """What is kept of a curvature is decomposed on the host, and inverted on the device."""
    first, second = map(Setting, forth)
    one, other = (MAKES[name](s.model.parameters()) for s in (first, second))
    for _ in range(3):
        one.step(first.sweep(one.quantities), lambda: first.sweep(one.quantities))
    path = tmp_path / "state.safetensors"
    training.save_checkpoint(path, model=first.model, optimizer=one)
    training.load_checkpoint(path, model=second.model, optimizer=other)
    for setting, optimizer in ((first, one), (second, other)):
        for _ in range(2):
            results = setting.sweep(optimizer.quantities)
            optimizer.step(results, lambda s=setting, o=optimizer: s.sweep(o.quantities))
    for mine, theirs in zip(second.values(), first.values(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-10)
