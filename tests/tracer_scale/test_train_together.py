"""`mpirun -n N trace-net train TARGET --parallel`: one training, whatever N is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launch import needs_mpi, run

from trace_net.main import main
from tracer.extend import read_safetensors

MODEL = """
import numpy as np
import tracer_layers as nn
import tracer_training as training

model = nn.Sequential(
    nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.1), nn.Linear(12, 3)
)
loss = nn.cross_entropy


def datasets():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 6)).astype(np.float32)
    whole = training.ArrayDataset(x, (x @ rng.standard_normal((6, 3))).argmax(1))
    return training.random_split(whole, [96, 54], rng=0)
"""

#: what one rank alone does in its second epoch
ALONE = """

class Deadly:
    calls = 0

    def __call__(self, output, target):
        from mpi4py import MPI

        self.calls += 1
        if self.calls > 4 and MPI.COMM_WORLD.Get_rank() == 1:
            {what}
        return output.mean()


metrics = {{"mean": Deadly()}}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    return tmp_path


def train(ranks, *arguments):
    return run(
        ranks, "command.py", "train", "model.py", "--parallel", "--batch-size", 32, *arguments
    )


def assert_same_bits(one, other):
    found, expected = (read_safetensors(Path(r) / "model.safetensors")[0] for r in (one, other))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--optimizer", "kfac", "--schedule", "cosine", "--clip-norm", "1"),
        ("--optimizer", "dampednewton", "--option", "curvature=kfra", "--option", "damping=1"),
        ("--optimizer", "adamw", "--instruments", "business"),
        ("--optimizer", "sgd", "--precision", "float16"),
    ],
)
def test_any_number_of_ranks_has_the_same_bits(place, options):
    couples = options[1] != "dampednewton" and "--instruments" not in options
    if not couples:
        Path("model.py").write_text(MODEL.replace("nn.BatchNorm1d(12), ", ""))
    for ranks in (1, 2, 3):
        done = train(ranks, "--parts", 5, "--epochs", 2, "--run", f"of{ranks}", *options)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("epoch 2/2") == done.stdout.count("epoch 2/2") == 1
    assert_same_bits("of2", "of1")
    assert_same_bits("of3", "of1")
    whole, other = (json.loads(Path(r, "history.json").read_text()) for r in ("of1", "of3"))
    for one, two in zip(whole, other, strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


@needs_mpi
@pytest.mark.slow
def test_a_device_for_each_rank_has_the_same_bits_also_where_it_goes_on(place):
    words = ("train", "model.py", "--parallel", "--device", "double", "--batch-size", 32)
    words = (*words, "--optimizer", "kfac", "--parts", 4)
    for name, ranks, epochs in (("of1", 1, 3), ("of2", 2, 1), ("of2", 3, 3)):
        options = ("--epochs", epochs, "--run", name, *(["--resume"] if ranks == 3 else []))
        done = run(ranks, "command_on_devices.py", *words, *options)
        assert done.returncode == 0, done.stderr
        assert "through the host" not in done.stderr
    assert_same_bits("of2", "of1")


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("raise OSError('the disk is gone')", "rank 1 of 3 failed, and the others did not"),
    ],
)
def test_a_rank_that_ends_ends_the_job_which_goes_on_elsewhere(place, what, said):
    Path("model.py").write_text(MODEL + ALONE.format(what=what))
    done = train(3, "--parts", 4, "--epochs", 3, "--run", "run")
    assert done.returncode != 0
    assert said in done.stderr + done.stdout
    assert Path("run/checkpoint.safetensors").exists()
    Path("model.py").write_text(MODEL)
    done = train(2, "--epochs", 3, "--run", "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on after epoch 1" in done.stderr
    done = train(1, "--parts", 4, "--epochs", 3, "--run", "whole")
    assert done.returncode == 0, done.stderr
    assert_same_bits("run", "whole")


@needs_mpi
@pytest.mark.slow
def test_what_all_ranks_are_told_is_told_once(place):
    assert train(2, "--epochs", 1, "--run", "run").returncode == 0
    done = train(2, "--epochs", 1, "--run", "run")
    assert done.returncode == 1
    assert done.stderr.count("already: --resume goes on with it") == 1
    assert "Traceback" not in done.stderr
    config = json.loads(Path("run/config.json").read_text())
    assert config["parts"] == 2


@needs_mpi
def test_one_process_alone_is_told_how_to_start(place):
    path = str(Path(__file__).with_name("command.py"))
    words = [sys.executable, path, "train", "model.py", "--parallel"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "this one was started alone" in done.stderr
    assert "mpirun -n 4 trace-net train TARGET --parallel" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--parts", "4"), "give --parallel"),
        (("--parallel", "--seeds", "3", "--run", "run"), "this is a sweep"),
    ],
)
def test_what_does_not_go_together_is_usage(place, capsys, arguments, said):
    assert main(["train", "model.py", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_without_mpi4py_it_says_what_to_install(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", "model.py", "--parallel"]) == 2
    assert "pip install 'trace-net[mpi]'" in capsys.readouterr().err


def test_a_run_of_parts_is_no_run_of_one_process(place, capsys):
    assert main(["train", "model.py", "--epochs", "1", "--run", "run"]) == 0
    config = Path("run/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"parts": 4}))
    assert main(["train", "model.py", "--epochs", "2", "--run", "run", "--resume"]) == 1
    assert "has parts = 4, and now it is None" in capsys.readouterr().err
