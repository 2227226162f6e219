"""Folds in worker processes: the same bits, whatever happens to the workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import folds
import numpy as np
import pytest
from folds import MATRICES, VALUES, Counted, Deadly, Slow, mlp

import tracer_layers as nn
import tracer_scale as scale
from tracer_scale import versions
from tracer_scale.engines import worker
from tracer_scale.engines.processes import Processes

NAMES = ("grad", "variance", "kfac", "diag_ggn_mc", "grad_batch")


def here(shards, names=NAMES, model=None):
    return scale.fold(model or mlp(), nn.cross_entropy, shards, names, engine="here")


def apart(shards, names=NAMES, workers=2, model=None, **options):
    options = {"engine": "processes", "workers": workers, **options}
    return scale.fold(model or mlp(), nn.cross_entropy, shards, names, **options)


@pytest.mark.parametrize("workers", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_every_quantity_has_the_same_bits_in_processes(workers):
    names, model = (*VALUES, *MATRICES), folds.convnet()
    shards = folds.even(7, "convnet", Slow)
    found, expected = apart(shards, names, workers, model), here(shards, names, model)
    with found["ggn"]:
        for name in names:
            folds.assert_same_bits(found[name], expected[name])


@pytest.mark.slow
def test_workers_stay_for_products_and_end_when_an_operator_is_closed():
    with apart(folds.even(5), ("ggn",))["ggn"] as ggn:
        v = np.arange(ggn.shape[1]) / 10
        before = _children()
        first = ggn @ v
        assert sorted(_children()) == sorted(before) != []
        np.testing.assert_array_equal(ggn @ v, first)
    assert _children() == []
    np.testing.assert_array_equal(ggn @ v, first)  # with workers that are begun anew
    ggn.close()


@pytest.mark.slow
def test_threads_of_linear_algebra_change_no_bits():
    """Wide products, which OpenBLAS would divide among threads in the driver alone."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((600, 200)), rng.integers(0, 10, 600)
    model = nn.Sequential(nn.Linear(200, 300), nn.Tanh(), nn.Linear(300, 10)).double()
    shards = folds.Parts(x, y, (300, 600)).shards
    folds.assert_same_bits(apart(shards, ("kflr",), model=model), here(shards, ("kflr",), model))


# -- what fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raises", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_shard_that_fails_now_and_then_is_done_again(tmp_path, raises):
    shards = folds.even(5, kind=Deadly, folder=str(tmp_path), times=2, raises=raises)
    found = apart(shards)
    assert len(list(tmp_path.glob("*"))) == 2
    folds.assert_same_bits(found, here(shards))


def test_a_shard_that_always_kills_its_worker_names_itself_and_the_cause(tmp_path):
    shards = folds.even(4, kind=Deadly, folder=str(tmp_path), shard=2, times=99)
    with pytest.raises(scale.ShardError, match=r"shard 2 failed, 2 times: .*SIGKILL") as caught:
        apart(shards, retries=1)
    assert caught.value.shard == 2


def test_a_shard_that_always_raises_names_itself_and_its_error(tmp_path):
    shards = folds.even(4, kind=Deadly, folder=str(tmp_path), shard=3, times=99, raises=True)
    for options in ({"workers": 1}, {"engine": "here", "workers": None}):
        with pytest.raises(scale.ShardError, match="shard 3 failed, 3 times: OSError: ") as caught:
            apart(shards, retries=2, **options)
        assert "in __call__" in caught.value.__notes__[0]  # the worker's traceback


def test_an_error_of_the_model_is_not_tried_again(tmp_path):
    shards = folds.even(4, kind=Counted, folder=str(tmp_path))
    with pytest.raises(scale.ShardError, match="shard 0 failed: ShapeError"):
        scale.fold(nn.Linear(5, 3).double(), nn.cross_entropy, shards, engine="here")
    assert len(list(tmp_path.glob("0-*"))) == 1


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_workers_killed_at_random_lose_nothing_and_count_nothing_twice(tmp_path, kills):
    shards = folds.even(23, kind=Counted, folder=str(tmp_path), seconds=0.2)
    expected = here(folds.even(23))
    rng, done = np.random.default_rng(kills), threading.Event()
    killed = []

    def kill():
        while not done.wait(rng.uniform(0, 1.5)) and len(killed) < kills:
            found = _children()
            if found:
                os.kill(rng.choice(found), signal.SIGKILL)
                killed.append(1)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        while len(killed) < kills:  # as many folds as it takes
            found = apart(shards, retries=1000)
            folds.assert_same_bits(found, expected)
    finally:
        done.set()
        thread.join()


def _children():
    """The processes of workers: children that are spawned."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_text()
        except OSError:
            continue
        if parent == os.getpid() and "spawn_main" in command:
            found.append(int(path.name))
    return found


@pytest.mark.slow
def test_slow_workers_change_nothing():
    shards = folds.even(6, kind=Slow, seconds=0.3)
    folds.assert_same_bits(apart(shards), here(folds.even(6)))


def test_a_worker_of_another_version_is_refused(monkeypatch):
    from tracer_scale.engines import processes

    monkeypatch.setattr(processes, "versions", lambda: versions.versions() | {"numpy": "1.0"})
    with pytest.raises(scale.WorkerError, match=r"a worker has numpy .* in place of 1\.0"):
        apart(folds.even(3))


@pytest.mark.slow
def test_workers_that_never_start_are_an_error(monkeypatch):
    monkeypatch.setattr(worker, "serve", sys.exit)
    with pytest.raises(scale.WorkerError, match=r"2 of them ended .* exit code 1"):
        apart(folds.even(3))


def test_few_shards_wait_for_a_slow_one():
    """What arrives early is held, and no more than a few are begun ahead of the slowest one."""
    from tracer_scale.engines.engine import Ordered

    ordered = Ordered(range(100), 4, 0)
    assert [ordered.next() for _ in range(5)] == [0, 1, 2, 3, None]
    for shard in (3, 1, 2):
        ordered.put(shard, shard)
        assert list(ordered.ready()) == []
        assert ordered.next() is None
    ordered.put(0, 0)
    assert list(ordered.ready()) == [0, 1, 2, 3]
    assert ordered.next() == 4


@pytest.mark.slow
def test_no_process_is_left_after_a_fold_or_a_failure(tmp_path):
    apart(folds.even(3))
    assert _children() == []
    with pytest.raises(scale.ShardError):
        apart(folds.even(4, kind=Deadly, folder=str(tmp_path), times=99), retries=0)
    assert _children() == []


@pytest.mark.slow
def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import folds, tracer_layers as nn, tracer_scale as scale\n"
        "if __name__ == '__main__':\n"
        f"    shards = folds.even(20, kind=folds.Counted, folder={str(tmp_path)!r}, seconds=1.0)\n"
        "    scale.fold(folds.mlp(), nn.cross_entropy, shards, workers=2)\n"
    )
    driver = subprocess.Popen([sys.executable, script])
    try:
        until(lambda: list(tmp_path.glob("0-*")))
        workers = {int(path.name.split("-")[1]) for path in tmp_path.glob("*-*")}
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def until(what, seconds=120):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


# -- what is sent ----------------------------------------------------------------------------------

SCRIPT = """
import sys
import numpy as np
import tracer_layers as nn, tracer_scale as scale, tracer

x = np.random.default_rng(0).standard_normal((12, 4))
y = np.arange(12) % 3

def load(i):
    return x[4 * i : 4 * (i + 1)], y[4 * i : 4 * (i + 1)]

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        tracer.seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)

def main():
    found = scale.fold(Model(), nn.cross_entropy, scale.Shards(load, 3), workers=1)
    print(found["grad"]["layer.bias"].tolist())

"""


@pytest.mark.slow
def test_a_script_may_define_load_and_model(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + "if __name__ == '__main__':\n    main()\n")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[")


def test_a_program_without_a_file_sends_by_value():
    pytest.importorskip("cloudpickle")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + "main()"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("[")


def test_a_lambda_is_sent_by_value_or_refused_with_the_way(monkeypatch):
    x, y = folds.X, folds.LABELS
    shards = scale.Shards(lambda i: (x[i : i + 1], y[i : i + 1]), 3)
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(scale.WorkerError, match="install cloudpickle"):
        apart(shards)
    monkeypatch.undo()
    pytest.importorskip("cloudpickle")
    folds.assert_same_bits(apart(shards), here(shards))


@pytest.mark.slow
def test_a_script_without_its_guard_is_told_of_it(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + "main()\n")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_work_is_sent_once_to_each_worker():
    sent = []

    class Noted(Processes):
        def _welcome(self, each, theirs):
            super()._welcome(each, theirs)
            sent.append(each.process.pid)

    engine = Noted(1)
    work = _work(folds.even(9))
    assert len(list(engine.run(work, scale.work.Job(), range(9)))) == 9
    engine.close()
    assert len(sent) == 1


def _work(shards):
    from tracer_scale.quantities import resolved
    from tracer_scale.work import Work

    return Work(mlp(), nn.cross_entropy, shards, resolved("grad"))


def test_progress_is_told_with_rates():
    told = []
    apart(folds.even(4), progress=lambda *of: told.append(of))
    assert [(done, total) for done, total, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "shards and" in told[-1][2]
    assert "samples a second" in told[-1][2]
