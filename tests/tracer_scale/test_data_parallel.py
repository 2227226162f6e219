"""Trainings on MPI's ranks: steps of the whole batch, with the same bits on any number of ranks."""

import folds
import numpy as np
import pytest
from alone import Alone
from launch import needs_mpi, run

import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training
from tracer.errors import TracerError

X, Y = folds.X, folds.LABELS


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("AdamW", {"lr": 0.1}),
        ("LBFGS", {"lr": 0.5}),
        ("DampedNewton", {"lr": 0.1, "damping": 1.0, "curvature": "kflr"}),
        pytest.param("HessianFree", {"damping": 1.0}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("parts", [1, 4, 30])
def test_steps_are_those_with_the_whole_batch(name, options, parts):
    one, other = folds.mlp(), folds.mlp()
    optimizers = [getattr(training, name)(m.parameters(), **options) for m in (one, other)]
    trainer = scale.DataParallel(one, optimizers[0], Alone(), parts=parts)

    def results():
        quantities = [q for q in optimizers[1].quantities if getattr(q, "name", q) != "loss"]
        loss_too = len(quantities) < len(optimizers[1].quantities)
        asked = optimizers[1].quantities if loss_too else tuple(quantities)
        return folds.swept(other, X, Y, nn.cross_entropy, asked)

    for _ in range(3):
        before = float(nn.cross_entropy(other(X), Y).data)
        assert trainer.step(nn.cross_entropy, X, Y) == pytest.approx(before, rel=1e-10)
        optimizers[1].step(results(), results)
    for p, expected in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.data, expected.data, rtol=1e-8, atol=1e-10)


def test_a_model_that_mixes_samples_is_refused_also_when_it_begins_to():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    optimizer = training.SGD(model.parameters(), lr=0.1)
    trainer = scale.DataParallel(model.eval(), optimizer, Alone(), parts=2)
    trainer.step(nn.cross_entropy, X, Y)
    model.train()
    with pytest.raises(scale.ShardError, match=r"model\.eval\(\)"):
        trainer.step(nn.cross_entropy, X, Y)


def test_no_communicator_and_no_samples_are_refused():
    model = folds.mlp()
    optimizer = training.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TracerError, match="a communicator of mpi4py"):
        scale.DataParallel(model, optimizer, 4)
    with pytest.raises(TracerError, match="parts from 1"):
        scale.DataParallel(model, optimizer, Alone(), parts=0)
    with pytest.raises(TracerError, match="no samples"):
        scale.DataParallel(model, optimizer, Alone()).step(nn.cross_entropy, X[:0], Y[:0])


def parameters(path):
    with np.load(path) as arrays:
        return dict(arrays)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdamW", "KFAC", "HessianFree", "kflr", "kfra"])
def test_any_number_of_ranks_has_the_same_bits(tmp_path, name):
    found = []
    for ranks in (1, 2, 3):
        out = tmp_path / f"{ranks}.npz"
        done = run(ranks, "trained.py", name, 6, out)
        assert done.returncode == 0, done.stderr
        found.append(parameters(out))
    for other in found[1:]:
        for key, array in found[0].items():
            np.testing.assert_array_equal(other[key], array)


@needs_mpi
@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job_and_others_go_on_to_the_same_bits(tmp_path):
    done = run(3, "trained.py", "KFAC", 4, tmp_path / "out.npz", "dies")
    assert done.returncode != 0
    assert not (tmp_path / "out.npz").exists()
    done = run(2, "trained.py", "KFAC", 4, tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    done = run(1, "trained.py", "KFAC", 4, tmp_path / "whole.npz")
    assert done.returncode == 0, done.stderr
    for key, array in parameters(tmp_path / "whole.npz").items():
        np.testing.assert_array_equal(parameters(tmp_path / "out.npz")[key], array)
