"""`trace-net train` records where something keeps records."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tracer_experiments as experiments

MODEL = """
import numpy as np
import tracer_layers as nn
import tracer_training as training


def build_model(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))


loss = nn.cross_entropy


def datasets():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    whole = training.ArrayDataset(x, (x[:, 0] > x[:, 1]).astype(int))
    return training.random_split(whole, [40, 20], rng=0)
"""
#: a loss that waits once it was asked for a number of times that a training makes quickly
SLOW_LOSS = """
def loss(output, target):
    global steps
    if len(output) == 10:
        steps += 1
        time.sleep(0.0 if steps <= FAST else 60.0)
    return nn.cross_entropy(output, target)
"""
OPTIONS = ("--epochs", "2", "--batch-size", "10")


@pytest.fixture
def train(command):
    Path("model.py").write_text(MODEL)

    def run(*arguments, code=0, target="model.py"):
        return command("train", target, *OPTIONS, *arguments, code=code)

    return run


def test_a_run_is_recorded_in_its_folder(train):
    train(
        "--run", "runs/first", "--lr", "0.1", "--seed", "4", target="model.py:build_model(width=6)"
    )
    (run,) = experiments.Reader("runs/first").runs()
    assert (run.name, run.status, run.group) == ("first", "finished", "")
    wanted = {
        "target": "model.py:build_model(width=6)",
        "model.width": 6,
        "optimizer": "adamw",
        "lr": 0.1,
        "weight_decay": 0.01,
        "epochs": 2,
        "batch_size": 10,
        "schedule": "constant",
        "precision": "float32",
        "seed": 4,
    }
    assert {name: run.config[name] for name in wanted} == wanted
    assert run.environment["seed"] == 4
    history = json.loads(Path("runs/first/history.json").read_text())
    _, values = run.series("test_loss")
    assert values.tolist() == [record["test_loss"] for record in history]
    assert run.series("loss")[0].tolist() == list(range(8))


def test_a_run_that_goes_on_is_one_record(train):
    train("--run", "a", "--seed", "1")
    train("--run", "a", "--seed", "1", "--epochs", "4", "--resume")
    train("--run", "b", "--seed", "1", "--epochs", "4")
    (parts,), (whole,) = (experiments.Reader(name).runs() for name in "ab")
    np.testing.assert_array_equal(parts.series("loss"), whole.series("loss"))
    assert parts.config["epochs"] == 4


def recorded_steps(folder):
    """The steps of the losses of the one run, none where nothing is recorded yet."""
    try:
        (run,) = experiments.Reader(folder).runs()
        return run.series("loss")[0].tolist()
    except (experiments.RecordError, ValueError):
        return []


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("checkpoint", [4, 0])
def test_a_training_that_was_killed_goes_on_in_its_record_from_its_checkpoint(train, checkpoint):
    """What was recorded behind the checkpoint is gone before the first step that comes again."""
    train("--run", "whole", "--instruments", "GradHist1d,UpdateSize")
    command = ("--run", "killed", "--instruments", "GradHist1d,UpdateSize")
    slow = f"import time\nsteps = 0\n{MODEL}".replace("loss = nn.cross_entropy", SLOW_LOSS)
    Path("model.py").write_text(slow.replace("FAST", str(checkpoint + 3)))
    process = subprocess.Popen(
        [sys.executable, "-m", "trace_net", "train", "model.py", *OPTIONS, *command],
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while len(recorded_steps("killed")) < checkpoint + 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert Path("killed/checkpoint.safetensors").exists() == bool(checkpoint)
    Path("model.py").write_text(MODEL.replace("loss = nn.cross_entropy", "def loss(z, y): 1 / 0"))
    train(*command, "--resume", code=1)
    (run,) = experiments.Reader("killed").runs()
    if not checkpoint:
        assert {info.count for info in run.names().values()} <= {0}
    else:  # the step that comes next stays until then, as values of the epoch that ended there do
        left = list(range(checkpoint + 1))
        assert recorded_steps("killed") == left
        assert [step for step, _ in run.histograms("GradHist1d")] == left
        assert run.series("test_loss")[0].tolist() == [checkpoint]
    Path("model.py").write_text(MODEL)
    train(*command, "--resume")
    (whole,), (again,) = (experiments.Reader(name).runs() for name in ("whole", "killed"))
    for name in ("loss", "test_loss", "epoch"):
        np.testing.assert_array_equal(again.series(name), whole.series(name))


def test_many_trainings_are_recorded_in_one_place(train):
    for name in ("one", "two"):
        train("--record", "all", "--name", name, "--group", "tries", "--sink", "csv")
    assert [run.name for run in experiments.Reader("all").runs(group="tries")] == ["one", "two"]
    assert sorted(path.name for path in Path("all/csv").iterdir()) == ["1-one.csv", "2-two.csv"]
    train("--run", "folder", "--record", "all/runs.db")
    assert experiments.Reader("all").runs()[-1].name == "folder"
    assert not Path("folder/runs.db").exists()


def test_instruments_measure_what_is_trained(train):
    train("--run", "preset", "--instruments", "economy", "--every", "3")
    (run,) = experiments.Reader("preset").runs()
    assert run.series("GradNorm")[0].tolist() == [0, 3, 6]
    assert run.names()["GradNorm"].chart.group == "gradients"
    assert run.names()["GradHist1d"].kind == "histogram"
    train("--run", "names", "--instruments", "GradNorm, UpdateSize")
    (named,) = experiments.Reader("names").runs()
    assert "GradHist1d" not in named.names()
    np.testing.assert_array_equal(named.series("GradNorm")[1][[0, 3, 6]], run.series("GradNorm")[1])
    assert len(named.series("UpdateSize")[0]) == 7


def test_a_training_that_fails_is_a_record_that_failed(train):
    Path("model.py").write_text(
        MODEL.replace("nn.cross_entropy", "lambda o, y: (o * np.float32(np.inf)).sum()")
    )
    with np.errstate(all="ignore"):
        train("--run", "run", code=1)
    (run,) = experiments.Reader("run").runs()
    assert run.status == "failed"
    assert "NonFiniteError" in run.error


def test_an_error_in_the_users_loss_is_told_in_its_own_line(train):
    Path("model.py").write_text(MODEL.replace("loss = nn.cross_entropy", "def loss(z, y): 1 / 0"))
    outcome = train("--run", "run", code=1)
    said = "the code of model.py failed: ZeroDivisionError: division by zero"
    assert said in outcome.line("error:")
    assert '"model.py", line 11, in loss' in outcome.err
    assert "plugin" not in outcome.err
    (run,) = experiments.Reader("run").runs()
    assert run.status == "failed"
    assert "ZeroDivisionError" in run.error
    assert "model.py:11" in run.error


def test_a_training_that_is_refused_leaves_no_record(train):
    train("--run", "run")
    train("--run", "run", code=1)
    train("--run", "run", "--resume", "--lr", "3", code=1)
    assert len(experiments.Reader("run").runs()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "x"), "recorded in a folder"),
        (("--sink", "csv"), "recorded in a folder"),
        (("--record", "r", "--sink", "cvs"), "no sink is called 'cvs'"),
        (("--record", "r", "--instruments", "GradNrom"), "Did you mean 'GradNorm'"),
        (("--grid", "lr=1", "--run", "s", "--instruments", "nothing"), "'nothing'"),
    ],
)
def test_what_makes_no_sense_is_said(train, arguments, said):
    outcome = train(*arguments, code=2)
    assert said in outcome.line("error:")
    assert outcome.line("hint:")


def test_without_a_tracker_nothing_is_recorded_unless_one_asks(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "trace_net", "train", "model.py", *OPTIONS, *arguments],
            cwd=tmp_path,
            env=os.environ | {"TRACER_DISABLE_PLUGINS": "experiments"},
            capture_output=True,
            text=True,
        )

    assert run("--run", "run").returncode == 0
    assert not (tmp_path / "run" / "runs.db").exists()
    for wanted in (("--record", "r"), ("--run", "s", "--grid", "lr=1")):
        refused = run(*wanted)
        assert refused.returncode == 2
        assert "needs a plugin that keeps trainings" in refused.stderr
