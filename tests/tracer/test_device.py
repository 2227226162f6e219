"""The seam between array libraries: everything runs on arrays that refuse to meet NumPy's."""

import sys
from pathlib import Path

import pytest

from tracer import registry
from tracer.testing import check_operation

sys.path.append(str(Path(__file__).parents[1]))
import device


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


@pytest.mark.parametrize("name", [name for name in registry.operations if name != "batch"])
def test_operation(name):
    check_operation(registry.operations[name], backend=device.asarray)
