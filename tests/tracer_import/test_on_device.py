"""Imported models on a device: all arrays that they make are there, on the strict double of one."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers as nn
from tracer import registry

sys.path.append(str(Path(__file__).parents[1]))
import device

FOLDER = Path(__file__).parent / "archives"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


@pytest.mark.parametrize("name", NAMES)
def test_values_and_quantities_on_a_device_are_those_on_the_host(name):
    found = dict(np.load(FOLDER / f"{name}.npz"))
    inputs = [found[key] for key in sorted(k for k in found if k.startswith("input "))]

    def swept(model, inputs):
        args, kwargs = ((inputs[:2],), {"mask": inputs[2]}) if name == "nested" else (inputs, {})
        with tracer.Tape() as tape:
            output = model(*map(tuple, args), **kwargs) if kwargs else model(*args)
            output = output["sum"] if isinstance(output, dict) else output
            loss = nn.mse_loss(output, output.data * 0)
        quantities = ("grad",) if name == "training" else ("grad", "batch_l2")
        return output.data, tape.backward(loss, quantities)

    host, there = (tracer_import.load(FOLDER / f"{name}.pt2") for _ in range(2))
    there.to(device="double")
    wanted, on_host = swept(host, inputs)
    output, results = swept(there, [device.asarray(x) for x in inputs])
    assert isinstance(output, device.DeviceArray)
    np.testing.assert_allclose(output.get(), wanted, rtol=1e-12)
    for quantity, values in on_host.items():
        for path, value in values.items():
            np.testing.assert_allclose(results[quantity][path].get(), value, rtol=1e-9, atol=1e-12)
