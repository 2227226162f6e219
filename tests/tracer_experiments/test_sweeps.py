"""Sweeps: each combination is a run, and one that was stopped goes on to the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tracer_experiments as experiments
from tracer.extend import read_safetensors
from tracer_experiments.sweeps import processes, telling

MODEL = """
import time
import numpy as np
import tracer_layers as nn
import tracer_training as training

PAUSE = 0.0


def build_model(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 2))


def loss(output, target):
    time.sleep(PAUSE)
    return nn.cross_entropy(output, target)


def datasets():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    whole = training.ArrayDataset(x, (x[:, 0] > x[:, 1]).astype(int))
    return training.random_split(whole, [40, 20], rng=0)
"""
OPTIONS = ("train", "model.py", "--epochs", "2", "--batch-size", "20")


@pytest.fixture
def train(command):
    """`trace-net train model.py` with these arguments besides."""
    Path("model.py").write_text(MODEL)

    def run(*arguments, code=0):
        return command(*OPTIONS, *arguments, code=code)

    return run


def weights(folder):
    """The bits of the trained model of each training, by the name of its folder."""
    return {
        path.parent.name: {n: a.tobytes() for n, a in read_safetensors(path)[0].items()}
        for path in Path(folder).glob("*/model.safetensors")
    }


def losses(folder):
    """Steps and losses of each run, by its name."""
    return {
        run.name: [column.tolist() for column in run.series("loss")]
        for run in experiments.Reader(folder).runs()
    }


def test_each_combination_and_seed_is_a_run_of_one_group(train):
    outcome = train(
        *("--grid", "lr=0.1,0.01", "--grid", "model.width=3", "--seeds", "2", "--jobs", "2"),
        *("--run", "sweep", "--json"),
    )
    document = json.loads(outcome.out)
    assert (document["schema_version"], document["command"]) == (1, "train")
    assert document["objective"] == "test_loss"
    runs = experiments.Reader("sweep").runs(group="sweep")
    assert {(run.config["lr"], run.config["model.width"], run.config["seed"]) for run in runs} == {
        (lr, 3, seed) for lr in (0.1, 0.01) for seed in (0, 1)
    }
    assert len(runs) == 4
    assert {run.status for run in runs} == {"finished"}
    by_name = {run.name: run for run in runs}
    assert sorted(by_name) == sorted(each["name"] for t in document["trials"] for each in t["runs"])
    medians = [trial["median"] for trial in document["trials"]]
    assert medians == sorted(medians)
    for trial in document["trials"]:
        values = [by_name[each["name"]].series("test_loss")[1][-1] for each in trial["runs"]]
        assert trial["median"] == np.median(values)
        assert trial["quartiles"] == np.quantile(values, [0.25, 0.75]).tolist()
        for each in trial["runs"]:
            folder = Path(each["folder"])
            assert (folder / "model.safetensors").is_file()
            history = json.loads((folder / "history.json").read_text())
            assert history[-1] == each["values"]
    shapes = {a.shape for p in Path("sweep").glob("*width=3*/model.safetensors")
              for n, a in read_safetensors(p)[0].items() if n == "0.weight"}  # fmt: skip
    assert shapes == {(3, 3)}


@pytest.mark.slow
def test_a_training_of_a_sweep_is_the_training_alone(train):
    train("--grid", "lr=0.05", "--grid", "optimizer=sgd", "--seeds", "2", "--seed", "3",
          "--grid", "momentum=0.5", "--run", "sweep")  # fmt: skip
    for seed in (3, 4):
        train("--lr", "0.05", "--optimizer", "sgd", "--option", "momentum=0.5", "--seed", seed,
              "--run", f"alone{seed}")  # fmt: skip
    (alone3, alone4), sweep = weights(".").values(), weights("sweep")
    assert [*sweep.values()] in ([alone3, alone4], [alone4, alone3])
    assert alone3 != alone4
    first = read_safetensors("alone3/model.safetensors")[0]["0.weight"]
    second = read_safetensors("alone4/model.safetensors")[0]["0.weight"]
    assert np.abs(first - second).max() > 0.1  # initial values are of the seed


@pytest.mark.slow
def test_the_table_has_the_best_first_and_what_failed_last(train):
    outcome = train("--grid", "lr=0.001,1e38,0.3", "--run", "sweep", code=1)
    head, _, *lines = [line.split() for line in outcome.out.splitlines() if line.strip()]
    assert head == ["lr", "test_loss", "s", "an", "epoch"]
    assert [line[0] for line in lines] == ["0.3", "0.001", "1e38"]
    assert lines[2][1:] == ["1", "failed"]
    (told,) = [line for line in outcome.err.splitlines() if "failed:" in line]
    assert told.startswith("trace-net: [2/3] lr=1e38: failed: the loss is ")
    assert "sweep/001-lr=1e38/log.txt" in told
    again = train("--grid", "lr=0.001,1e38,0.3", "--run", "sweep", "--resume", "--json", code=1)
    assert "2 of 3 trainings were made before" in again.err
    failed = json.loads(again.out)["trials"][-1]
    assert (failed["median"], failed["settings"]) == (None, {"lr": "1e38"})
    assert failed["runs"][0]["error"].startswith("the loss is ")


def test_what_is_best_is_what_the_objective_says(train):
    outcome = train("--grid", "lr=0.0001,0.3", "--run", "sweep", "--objective", "test_accuracy",
                    "--json")  # fmt: skip
    first, second = (trial["median"] for trial in json.loads(outcome.out)["trials"])
    assert first >= second


# -- stopped and gone on -------------------------------------------------------------------------

SWEEP = ("--grid", "lr=0.1,0.01,0.001", "--jobs", "2", "--epochs", "6", "--run", "sweep")


def started(pause):
    """A sweep in a process of its own, whose steps take at least so long."""
    Path("model.py").write_text(MODEL.replace("PAUSE = 0.0", f"PAUSE = {pause}"))
    return subprocess.Popen(
        [sys.executable, "-m", "trace_net", *OPTIONS, *SWEEP],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # what a shell runs in the background ignores it, and so would this
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def begun():
    return len(list(Path("sweep").glob("*/checkpoint.safetensors")))


def nothing_lives():
    """Whether the lock, which the processes of a sweep inherit, is free."""
    import fcntl

    with open("sweep/sweep.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Weights and losses of the sweep that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "model.py").write_text(MODEL)
    subprocess.run(
        [sys.executable, "-m", "trace_net", *OPTIONS, *SWEEP],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return weights(folder / "sweep"), losses(folder / "sweep")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stopping", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_was_stopped_goes_on_to_the_same_numbers(train, uninterrupted, stopping):
    sweep = started(pause=0.1)
    wait_for(lambda: begun() >= 2)
    sweep.send_signal(stopping)
    out, err = sweep.communicate(timeout=60)
    assert out == ""
    if stopping == signal.SIGINT:
        assert sweep.returncode == 130
        assert "the same command with --resume goes on" in err
        assert "Traceback" not in err
        assert nothing_lives()
    wait_for(nothing_lives)  # its trainings end with it
    finished = len(weights("sweep"))
    assert finished < 3
    Path("model.py").write_text(MODEL)
    outcome = train(*SWEEP, "--resume")
    if finished:
        assert f"{finished} of 3 trainings were made before" in outcome.err
    assert weights("sweep") == uninterrupted[0]
    assert losses("sweep") == uninterrupted[1]
    assert {run.status for run in experiments.Reader("sweep").runs()} == {"finished"}


@pytest.mark.slow
def test_a_sweep_that_is_over_is_not_made_again(train):
    train("--grid", "lr=0.1,0.2", "--run", "sweep")
    before = {path: path.stat().st_mtime_ns for path in Path("sweep").glob("*/*")}
    outcome = train("--grid", "lr=0.1,0.2", "--run", "sweep", "--resume")
    assert "2 of 2 trainings were made before" in outcome.err
    assert {path: path.stat().st_mtime_ns for path in Path("sweep").glob("*/*")} == before
    assert len(experiments.Reader("sweep").runs()) == 2


def test_another_sweep_does_not_go_on_with_this_one(train):
    train("--grid", "lr=0.1", "--run", "sweep")
    assert "--resume goes on" in train("--grid", "lr=0.1", "--run", "sweep", code=2).line("hint:")
    for other in (("--grid", "lr=0.2"), ("--grid", "lr=0.1", "--seeds", "2"),
                  ("--grid", "lr=0.1", "--clip-norm", "1")):  # fmt: skip
        outcome = train(*other, "--run", "sweep", "--resume", code=2)
        assert outcome.line("error:").startswith("error: the sweep in 'sweep' has ")
    Path("sweep/sweep.json").write_text("{")
    assert "cannot be read" in train("--grid", "lr=0.1", "--run", "sweep", "--resume", code=2).line(
        "error:"
    )


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_two_sweeps_do_not_share_a_folder(train, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    Path("sweep").mkdir()
    with processes.locked(Path("sweep")):
        outcome = train("--grid", "lr=0.1", "--run", "sweep", code=2)
    assert "a sweep is going on in 'sweep'" in outcome.line("error:")


def test_processes_share_the_processors(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 8)
    known = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "6", "PATH": "x"}
    assert processes.environment(1, known) == known
    found = processes.environment(2, known)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("1", "4")
    assert found["OPENBLAS_NUM_THREADS"] == "4"
    assert processes.environment(20, {})["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("log", "code", "wanted"),
    [
        ("epoch 1\nerror: no loss\nhint: x\n", 1, "no loss"),
        ("", -9, "killed by signal 9"),
        ("Segmentation fault\n", 139, "Segmentation fault"),
        ("", 3, "ended with code 3"),
    ],
)
def test_why_a_training_ended(tmp_path, log, code, wanted):
    (tmp_path / "log.txt").write_text(log)
    assert processes.error_in(tmp_path, code) == wanted


# -- what makes no sense -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--grid", "lr"), "a name and values"),
        (("--grid", ""), "a name and values"),
        (("--grid", "=1,2"), "a name and values"),
        (("--grid", "lr="), "an empty value of 'lr'"),
        (("--grid", "lr=0.1,,0.2"), "an empty value of 'lr'"),
        (("--grid", "lr=0.1,0.1"), "has lr=0.1 twice"),
        (("--grid", "batch-size=1", "--grid", "batch_size=2"), "names 'batch_size' twice"),
        (("--grid", "lrr=0.1"), "'lrr', which is no option of AdamW. Did you mean 'lr'"),
        (("--grid", "momentum=0,0.9"), "'momentum', which is no option of AdamW"),
        (("--grid", "optimizer=sgd,adamw", "--grid", "momentum=0"), "no option of AdamW"),
        (("--grid", "optimizer=sgd,adamm"), "'adamm' is no optimizer"),
        (("--grid", "schedule=up"), "'up' is no schedule"),
        (("--grid", "precision=float8"), "'float8' is no precision"),
        (("--grid", "lr=a"), "lr is a number, got 'a'"),
        (("--grid", "epochs=1.5"), "epochs is a whole number, got '1.5'"),
        (("--grid", "lr=0.1,nan"), "lr is a number, got 'nan'"),
        (("--grid", "lr=inf"), "lr is a number, got 'inf'"),
        (("--grid", "lr=0.1,-1"), "lr=-1: AdamW expects lr as a number of at least 0, got -1.0"),
        (("--grid", "betas=1"), "betas=1: AdamW expects betas as 2 numbers, got 1"),
        (("--grid", "weight-decay=nan"), "weight-decay=nan: AdamW expects weight_decay"),
        (("--grid", "epochs=0"), "epochs is a whole number from 1, got 0"),
        (("--grid", "batch-size=32,0"), "batch-size is a whole number from 1, got 0"),
        (("--grid", "clip-norm=-1"), "clip-norm is a number above 0, got -1"),
        (("--seeds", "2", "--lr", "nan"), "AdamW expects lr as a number of at least 0, got nan"),
        (("--seeds", "2", "--option", "foo=3"), "AdamW has no option 'foo'"),
        (("--grid", "seed=1,2"), "a sweep counts its seeds"),
        (("--grid", "model.widt=1"), "Did you mean 'width'"),
        (("--grid", "lr=0.1..0.2"), "a grid takes values, and 'lr' is a range"),
        (("--grid", "lr=0.1..0.2", "--sampler", "random"), "'random' draws trials"),
        (("--grid", "lr=0.2..0.1", "--sampler", "random", "--trials", "2"), "ascends"),
        (("--grid", "lr=0..1:log", "--sampler", "random", "--trials", "2"), "no logarithm"),
        (("--grid", "lr=a..b", "--sampler", "random", "--trials", "2"), "no range of 'lr'"),
        (("--grid", "lr=0.1", "--sampler", "best"), "no sampler is called 'best'"),
        (("--seeds", "2", "--sampler", "random", "--trials", "2"), "nothing to draw"),
        (("--grid", "lr=0.1", "--record", "x"), "records in the folder of --run"),
        (("--grid", "lr=0.1", "--run", "model.py"), "is a file, and no folder"),
        (("--jobs", "2"), "are of a sweep"),
        (("--trials", "2"), "are of a sweep"),
        (("--grid", "lr=0.1", "--objective", "speed"), "'speed', which a training does not have"),
        (("--seeds", "2", "--objective", "tst_loss"), "Did you mean 'test_loss'"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_a_hint(train, arguments, said):
    run = () if "--run" in arguments else ("--run", "sweep")
    outcome = train(*arguments, *run, code=2)
    assert said in outcome.line("error:")
    assert outcome.line("hint:")
    assert not Path("sweep").exists()


@pytest.mark.parametrize(
    ("more", "has", "has_not"),
    [
        ("", "test_accuracy", "mine"),
        (
            "def metrics_mine(o, t): return 1.0\nmetrics = {'mine': metrics_mine}",
            "mine",
            "accuracy",
        ),
        ("both = datasets\ndatasets = lambda: both()[0]", "accuracy", "test_loss"),
    ],
)
def test_an_objective_is_one_that_records_will_have(train, more, has, has_not):
    Path("model.py").write_text(f"{MODEL}\n{more}\n")
    outcome = train("--seeds", "2", "--run", "sweep", "--objective", has_not, code=2)
    assert f"'{has_not}', which a training does not have" in outcome.line("error:")
    train("--epochs", "1", "--seeds", "2", "--run", "sweep", "--objective", has)


@pytest.mark.slow
def test_a_sweep_says_what_begins_and_what_is_over(train):
    said = train("--grid", "lr=0.1,0.2", "--run", "sweep").err.splitlines()
    lines = [line.partition(": ")[2].partition(": test_loss")[0] for line in said]
    of_runs = [line for line in lines if "lr=" in line]
    assert of_runs == ["lr=0.1: begins", "[1/2] lr=0.1", "lr=0.2: begins", "[2/2] lr=0.2"]
    assert not any("\r" in line for line in said)


def test_on_a_terminal_a_line_says_how_it_stands(train, monkeypatch):
    """The last line is written over; what stays is the same as elsewhere."""
    monkeypatch.setattr(telling.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(telling, "BETWEEN", 0.0)
    said = train("--grid", "lr=0.1", "--run", "sweep").err
    written = [each for part in said.split("\r") for each in part.splitlines()]
    assert any(" s, 0 of 1 over, lr=0.1" in each for each in written)
    assert all(len(each) < 80 for each in written if " over, " in each)
    assert any(each.startswith("trace-net: [1/1] lr=0.1: test_loss") for each in written)


def test_a_sweep_has_a_folder(train):
    assert "--run DIR" in train("--grid", "lr=0.1", code=2).line("hint:")


@pytest.mark.slow
def test_sinks_of_a_sweep_are_looked_for_once(train):
    outcome = train("--grid", "lr=0.1,0.2", "--run", "sweep", "--sink", "cvs", code=2)
    assert "Did you mean 'csv'" in outcome.line("error:")
    train("--grid", "lr=0.1,0.2", "--run", "sweep", "--sink", "csv")
    assert len(list(Path("sweep/csv").iterdir())) == 2


def test_a_model_that_is_given_takes_no_arguments(train, command):
    Path("model.py").write_text(MODEL + "\nmodel = build_model()\ndel build_model\n")
    outcome = train("--grid", "model.width=2", "--run", "sweep", code=2)
    assert "takes no arguments, and width is given" in outcome.line("error:")
    assert "path.py:factory()" in outcome.line("hint:")


def test_arguments_of_a_factory_that_is_named_are_changed(command):
    Path("model.py").write_text(MODEL.replace("build_model(width=4)", "made(width, *, deep=0)"))
    options = ("--epochs", "1", "--grid", "model.deep=7", "--run", "sweep", "--json")
    outcome = command("train", "model.py:made(5)", *options)
    (run,) = experiments.Reader("sweep").runs()
    assert run.config["target"] == "model.py:made(5, deep=7)"
    assert run.config["model.deep"] == 7
    assert json.loads(outcome.out)["trials"][0]["settings"] == {"model.deep": "7"}
