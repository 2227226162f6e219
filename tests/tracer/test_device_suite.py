"""The suite of all devices on the double, by array functions and by the GPU's kernels."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tracer import registry
from tracer.backend_kernels import TYPES, Kernels

sys.path.append(str(Path(__file__).parents[1]))
import device
import host_kernels
from device_suite import *  # noqa: F403
from device_suite import there


class WithKernels(device.DeviceBackend):
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


@pytest.fixture(scope="module")
def with_kernels(tmp_path_factory):
    if host_kernels.COMPILER is None:
        pytest.skip("no C++ compiler here")
    return WithKernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module", params=["functions", "kernels"])
def place(request):
    compiled = request.param == "kernels"
    library = request.getfixturevalue("with_kernels") if compiled else device.DeviceBackend()
    registry.backends.add(library, "tests")
    yield library.device
    registry.backends.remove("device")


@pytest.mark.parametrize(
    ("operation", "kernel"),
    [
        *(("scatter_add", "scatter_add"), ("embedding", "take_rows")),
        *((name, name) for name in ("gates", "lstm_memory", "lstm_output")),
        *((name, name) for name in ("unfold", "fold", "spread_to_winners", "pick_winners")),
        *(("max_pool", "maximum"), ("avg_pool", "sum_of_windows")),
        *(("spread_over_windows", "spread_over_windows"), ("convolution", "unfold")),
    ],
)
def test_an_operation_uses_its_kernel(operation, kernel, with_kernels):
    registry.backends.add(with_kernels, "tests")
    with_kernels.launched.clear()
    inputs, params = registry.operations[operation].examples(np.random.default_rng(0))[0]
    registry.operations[operation].forward(*there(inputs, "double", "float64"), **params)
    registry.backends.remove("device")
    assert with_kernels.launched == {kernel}
