"""Folds on Dask's workers: the same bits as here, and what becomes of workers that die."""

import threading
import time

import folds
import numpy as np
import pytest
from folds import MATRICES, VALUES, Deadly, Slow, mlp

import tracer_layers as nn
import tracer_scale as scale
from trace_net.main import main
from tracer_scale.engines import dask_client

distributed = pytest.importorskip("distributed")
TARGET = """
import numpy as np
import tracer_layers as nn
import tracer_training as training

model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
loss = nn.cross_entropy


def datasets():
    rng = np.random.default_rng(0)
    return training.ArrayDataset(rng.standard_normal((30, 6)), rng.integers(0, 3, 30)), None
"""

# of Dask's own, at the end of a cluster
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def test_every_quantity_has_the_same_bits(client):
    names, model = (*VALUES, *MATRICES), folds.convnet()
    shards = folds.even(7, "convnet", Slow)
    found = scale.fold(model, nn.cross_entropy, shards, names, engine=client)
    expected = scale.fold(model, nn.cross_entropy, shards, names, engine="here")
    with found["ggn"]:
        for name in names:
            folds.assert_same_bits(found[name], expected[name])


def test_a_cluster_is_found_at_its_address_and_left_running(cluster, client):
    address = cluster.scheduler_address.replace("tcp://", "dask://")
    found = scale.fold(mlp(), nn.cross_entropy, folds.even(4), engine=address)
    expected = scale.fold(mlp(), nn.cross_entropy, folds.even(4), engine="here")
    folds.assert_same_bits(found, expected)
    assert len(client.scheduler_info()["workers"]) == 2


def test_the_command_line_takes_the_address_of_a_cluster(cluster, client, tmp_path):
    path, out = tmp_path / "target.py", tmp_path / "found.npz"
    path.write_text(TARGET)
    address = cluster.scheduler_address.replace("tcp://", "dask://")
    words = ["quantities", str(path), "--quantity", "kflr", "--shards", "5", "-o", str(out)]
    found = []
    for engine in (address, "here"):
        assert main([*words, "--engine", engine]) == 0
        with np.load(out) as arrays:
            found.append(dict(arrays))
    assert found[0].keys() == found[1].keys()
    for name, array in found[1].items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name)


def test_shards_are_one_bar_of_the_dashboards_progress(client):
    """Which has one for each prefix of the tasks' keys."""
    scale.fold(mlp(), nn.cross_entropy, folds.even(4, kind=Slow), engine=client)
    seconds = client.run_on_scheduler(
        lambda dask_scheduler: dask_scheduler.task_prefixes["shard"].all_durations["compute"]
    )
    assert seconds > 0


def test_no_work_is_left_on_the_workers(client):
    scale.fold(mlp(), nn.cross_entropy, folds.even(4), engine=client)
    kept = client.run(lambda dask_worker: [name for name in dask_worker.plugins if "scale" in name])
    assert set(map(len, kept.values())) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
def test_a_worker_that_dies_costs_its_shard(client, tmp_path, times):
    shards = folds.even(6, kind=Deadly, folder=str(tmp_path), times=times)
    found = scale.fold(mlp(), nn.cross_entropy, shards, ("kfac", "variance"), engine=client)
    assert len(list(tmp_path.glob("*"))) == times
    expected = scale.fold(mlp(), nn.cross_entropy, shards, ("kfac", "variance"), engine="here")
    folds.assert_same_bits(found, expected)


@pytest.mark.slow
def test_a_shard_that_kills_four_workers_names_itself(client, tmp_path):
    shards = folds.even(6, kind=Deadly, folder=str(tmp_path), times=99)
    with pytest.raises(scale.ShardError, match="shard 1 failed: KilledWorker"):
        scale.fold(mlp(), nn.cross_entropy, shards, engine=client, retries=0)


def test_a_shard_that_raises_names_itself_and_its_error(client, tmp_path):
    shards = folds.even(6, kind=Deadly, folder=str(tmp_path), times=99, raises=True)
    with pytest.raises(scale.ShardError, match="shard 1 failed, 2 times: OSError: the disk"):
        scale.fold(mlp(), nn.cross_entropy, shards, engine=client, retries=1)


def test_a_worker_of_another_version_is_refused(client, monkeypatch):
    monkeypatch.setattr(dask_client, "versions", lambda: {"trace-net": "0.0", "numpy": "1.0"})
    with pytest.raises(scale.ShardError, match=r"a worker has trace-net .* in place of 0\.0"):
        scale.fold(mlp(), nn.cross_entropy, folds.even(3), engine=client)


@pytest.mark.slow
def test_a_cluster_without_workers_ends_a_fold_with_a_word(monkeypatch):
    monkeypatch.setattr(dask_client, "IDLE", 0.3)
    options = {"n_workers": 0, "dashboard_address": None}
    said = r"no worker of Dask has begun a shard for 0\.6"
    with (
        distributed.LocalCluster(**options) as empty,
        distributed.Client(empty) as client,
        pytest.raises(scale.WorkerError, match=said),
    ):
        scale.fold(mlp(), nn.cross_entropy, folds.even(3), engine=client)


@pytest.mark.slow
def test_a_fold_waits_for_shards_that_take_long(client, monkeypatch):
    monkeypatch.setattr(dask_client, "IDLE", 0.05)
    shards = folds.even(2, kind=Slow, seconds=1.5)
    found = scale.fold(mlp(), nn.cross_entropy, shards, engine=client)
    folds.assert_same_bits(found, scale.fold(mlp(), nn.cross_entropy, shards, engine="here"))


@pytest.mark.slow
def test_a_scheduler_that_goes_away_ends_a_fold():
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        closing = threading.Timer(2.0, cluster.close)
        closing.start()
        with pytest.raises(scale.WorkerError, match="scheduler has gone in the midst"):
            scale.fold(mlp(), nn.cross_entropy, folds.even(9, kind=Slow, seconds=2), engine=address)
        closing.join()


def test_workers_that_do_not_take_what_is_folded_end_it_with_a_word(monkeypatch):
    monkeypatch.setattr(dask_client, "SENDING", 0.1)

    class Stuck:
        asynchronous = False

        def register_plugin(self, plugin, name):
            time.sleep(1)

        def nthreads(self):
            return {"one": 1}

        def scheduler_info(self):
            return {}

        def submit(self):
            pass

    with pytest.raises(scale.WorkerError, match=r"have not all taken what is folded within 0\.1"):
        scale.fold(mlp(), nn.cross_entropy, folds.even(3), engine=Stuck())


@pytest.mark.slow
def test_nobody_at_an_address_is_an_error():
    with pytest.raises(
        scale.WorkerError, match=r"no scheduler of Dask answers at '127\.0\.0\.1:9'"
    ):
        scale.fold(mlp(), nn.cross_entropy, folds.even(3), engine="dask://127.0.0.1:9")
