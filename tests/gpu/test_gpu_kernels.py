"""The kernels on a GPU, by the same tests as on the host."""

import sys
from pathlib import Path

import pytest

import tracer
from tracer.arrays.backend_cupy import CUPY

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tracer")]
from test_device_kernels import *  # noqa: F403

PROBLEM = CUPY.problem()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]


class OnGPU:
    """The kernels, with arrays that go to the device and results that come back."""

    def __getattr__(self, name):
        def run(*arguments):
            there = [
                tracer.to_device(a, "cuda") if tracer.backend.is_array(a) else a for a in arguments
            ]
            return tracer.asnumpy(getattr(CUPY.kernels(there[0]), name)(*there))

        return run


@pytest.fixture(scope="module")
def kernels():
    return OnGPU()
