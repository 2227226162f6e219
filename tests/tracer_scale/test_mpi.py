"""Folds on the ranks of MPI: the same bits on any number of them."""

import folds
import numpy as np
import pytest
from launch import needs_mpi, run

import tracer_layers as nn
import tracer_scale as scale

pytestmark = needs_mpi


def expected(count=7):
    model, names = folds.convnet(), (*folds.VALUES, *folds.MATRICES)
    shards = folds.even(count, "convnet")
    return scale.fold(model, nn.cross_entropy, shards, names, engine="here")


def assert_same_bits(path, found):
    with np.load(path) as arrays:
        for name, array in folds.arrays(found).items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("ranks", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_every_rank_has_the_same_bits(tmp_path, ranks):
    done = run(ranks, "ranks.py", "folds", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    assert_same_bits(tmp_path / "out.npz", expected())


def test_a_shard_that_raises_ends_the_fold_on_every_rank(tmp_path):
    done = run(3, "ranks.py", "raises", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(line[:50] for line in done.stdout.splitlines() if line.startswith("rank")) == [
        f"rank {rank}: shard 2 failed, 2 times: OSError: the disk"[:50] for rank in range(3)
    ]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job_and_the_next_one_goes_on(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    done = run(3, "ranks.py", "dies", marks)
    assert done.returncode != 0
    assert "signal 9" in done.stderr + done.stdout
    done = run(2, "ranks.py", "resumes", f"{marks}.npz")
    assert done.returncode == 0, done.stderr
    assert_same_bits(f"{marks}.npz", expected(6))


def test_ranks_with_different_models_are_refused(tmp_path):
    done = run(2, "ranks.py", "differs", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    assert "rank 1 has another model" in done.stdout
    assert not (tmp_path / "out.npz").exists()
