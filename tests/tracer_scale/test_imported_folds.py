"""Folds of imported programs, whose file the workers need not have: they are sent once."""

import folds
import imported
import numpy as np
import pytest
from launch import needs_mpi, run

import tracer_layers as nn
import tracer_scale as scale
from tracer_scale.engines import processes, worker

pytestmark = pytest.mark.slow


@pytest.fixture(params=["pt2", "onnx"])
def path(request, tmp_path):
    if request.param == "pt2":
        return imported.PT2
    pytest.importorskip("onnx")
    return imported.write_onnx(tmp_path / "net.onnx")


def fold(model, engine, **options):
    shards = imported.shards()
    return scale.fold(model, nn.cross_entropy, shards, imported.NAMES, engine=engine, **options)


def test_in_processes_it_is_sent_once_to_each_worker(path, monkeypatch):
    sent, send = [], processes._Worker.send

    def noted(self, message):
        sent.append(message[0])
        send(self, message)

    monkeypatch.setattr(processes._Worker, "send", noted)
    model = imported.opened(path)
    found, expected = fold(model, "processes", workers=2), fold(model, "here")
    with found["ggn"]:
        for name in imported.NAMES:
            folds.assert_same_bits(found[name], expected[name])
    assert sent.count(worker.WORK) <= 2
    assert sent.count(worker.SHARD) >= 8  # four of values, and four of the product


@pytest.mark.filterwarnings("ignore")  # of Dask's own, at the end of a cluster
def test_on_dask_it_is_sent_once(path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    from tracer_scale.engines import dask_client

    pickled, pack = [], dask_client.packed

    def noted(value, what, elsewhere):
        pickled.append(what)
        return pack(value, what, elsewhere)

    monkeypatch.setattr(dask_client, "packed", noted)
    model = imported.opened(path)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found, expected = fold(model, client), fold(model, "here")
        with found["ggn"]:
            for name in imported.NAMES:
                folds.assert_same_bits(found[name], expected[name])
    assert pickled.count("what is folded") == 1


@needs_mpi
def test_on_ranks_which_load_it_themselves(path, tmp_path):
    done = run(3, "ranks.py", path, tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as arrays:
        for name, array in folds.arrays(fold(imported.opened(path), "here")).items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name, strict=True)
