"""The suite of all devices on the double, by array functions and by the GPU's kernels."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tracer import registry
from tracer.arrays.kernel_source import TYPES
from tracer.arrays.kernels import Kernels

sys.path.append(str(Path(__file__).parents[1]))
import device
import host_kernels
from device_suite import *  # noqa: F403
from device_suite import RNG, pulled_back, same, test_every_quantity_of_a_layer, there

#: the operations of a recurrent layer's step
STEPS = ("gates", "lstm_memory", "lstm_output", "gru_candidate", "gru_blend")


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


# Kernels fall back on functions, which are among the slow tests where there are kernels.
ONLY_SLOW = (pytest.mark.slow,) if host_kernels.COMPILER else ()
PLACES = [pytest.param("functions", marks=ONLY_SLOW), "kernels"]


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    compiled = request.param == "kernels"
    library = request.getfixturevalue("with_kernels") if compiled else device.DeviceBackend()
    registry.backends.add(library, "tests")
    yield library.device
    registry.backends.remove("device")


# Once is enough: all that differs between the two are operations and layers, tested with both.
test_every_quantity_of_a_layer = pytest.mark.slow(
    pytest.mark.parametrize(
        "place", ["kernels" if host_kernels.COMPILER else "functions"], indirect=True
    )(test_every_quantity_of_a_layer)
)


@pytest.mark.parametrize(
    ("operation", "kernel"),
    [
        *(("scatter_add", "scatter_add"), ("embedding", "take_rows")),
        *((name, name) for name in STEPS),
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


def test_a_state_that_is_broadcast_takes_the_functions(with_kernels):
    """A kernel reads its arrays element by element, and would read past the end of it."""
    registry.backends.add(with_kernels, "tests")
    with_kernels.launched.clear()
    memory = registry.operations["lstm_memory"]
    y, c = RNG.standard_normal((3, 8)), RNG.standard_normal((1, 2))
    (output, slopes), (expected, exact) = (
        pulled_back(memory, there((y, c), location, "float64"), {})
        for location in ("double", "cpu")
    )
    same("lstm_memory", output, expected, "float64", "double")
    for slope, value in zip(slopes, exact, strict=True):
        same("vjp of lstm_memory", slope, value, "float64", "double")
    registry.backends.remove("device")
    assert not with_kernels.launched


@pytest.mark.parametrize("name", STEPS)
def test_the_transpose_of_a_step_is_a_kernel(name, with_kernels):
    registry.backends.add(with_kernels, "tests")
    with_kernels.launched.clear()
    inputs, params = registry.operations[name].examples(np.random.default_rng(0))[0]
    pulled_back(registry.operations[name], there(inputs, "double", "float64"), params)
    registry.backends.remove("device")
    assert with_kernels.launched == {name, f"{name}_vjp"}
