"""Training on several ranks with GPUs: NCCL's links, and the same bits for any number of ranks.

Run with `pytest -m gpu`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from tracer import to_device
from tracer.arrays.backend_cupy import CUPY

sys.path.append(str(Path(__file__).parents[1] / "tracer_scale"))
from alone import Alone
from launch import needs_mpi, run
from test_devices import OPTIONS, arrays, trained

from tracer_scale.parallel.devices import Devices, free_port
from tracer_scale.parallel.transports import Linked

PROBLEM = CUPY.problem()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]


@pytest.fixture
def linked():
    problem = CUPY.links_problem()
    if problem is not None:
        pytest.skip(problem)


def test_one_rank_has_links_to_itself(linked):
    links = CUPY.links(1, 0, "127.0.0.1", free_port("127.0.0.1"))
    over = Devices(Alone(), CUPY, Linked(links, CUPY, Alone()))
    sent = [to_device(array, "cuda") for array in arrays()]
    received = [over.bcast(sent), *over.allgather(sent), *over.alltoall([sent])]
    links.stop()
    for each in received:
        for one, expected in zip(each, arrays(), strict=True):
            np.testing.assert_array_equal(one.get(), expected, strict=True)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_one_rank_trains_as_on_the_host(name):
    expected, _ = trained(Alone(), name, "cpu")
    found, _ = trained(Alone(), name, "cuda")
    for key, array in found.items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-8, atol=1e-10, err_msg=key)


@needs_mpi
@pytest.mark.parametrize("name", ["AdamW", "KFAC", "HessianFree"])
def test_two_ranks_with_a_gpu_each_have_the_bits_of_one(tmp_path, linked, name):
    if CUPY.device_count() < 2:
        pytest.skip("needs two GPUs: NCCL takes no two ranks on one")
    found = []
    for ranks in (1, 2):
        done = run(ranks, "on_gpus.py", name, tmp_path / f"{ranks}.npz")
        assert done.returncode == 0, done.stderr
        assert "through the host" not in done.stderr
        with np.load(tmp_path / f"{ranks}.npz") as kept:
            found.append(dict(kept))
    for key, array in found[0].items():
        np.testing.assert_array_equal(found[1][key], array, err_msg=key)
