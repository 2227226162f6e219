"""The suite of all devices on the double, by array functions and by the GPU's kernels."""

import sys
from pathlib import Path

import pytest

from tracer import registry
from tracer.backend_cupy import CuPyBackend
from tracer.backend_kernels import TYPES, Kernels

sys.path.append(str(Path(__file__).parents[1]))
import device
import host_kernels
from device_suite import *  # noqa: F403


class WithKernels(device.DeviceBackend, CuPyBackend):
    """The double, with the GPU's kernels compiled for the host."""

    def __init__(self, folder):
        run = host_kernels.launcher(folder)

        def launch(expression, count, arguments):
            self.launched.add(expression.partition("<")[0])
            run(expression, count, tuple(getattr(a, "_values", a) for a in arguments))

        self.launched = set()
        self.on_host = Kernels(device, self.constant, launch)

    def kernels(self, like):
        return self.on_host if str(like.dtype) in TYPES else None


@pytest.fixture(scope="module", params=["functions", "kernels"])
def place(request, tmp_path_factory):
    if request.param == "kernels" and host_kernels.COMPILER is None:
        pytest.skip("no C++ compiler here")
    compiled = request.param == "kernels"
    folder = tmp_path_factory.mktemp("kernels") if compiled else None
    library = WithKernels(folder) if compiled else device.DeviceBackend()
    registry.backends.add(library, "tests")
    yield library.device
    registry.backends.remove("device")
    if compiled:
        assert library.launched >= {"scatter_add", "take_rows"}
