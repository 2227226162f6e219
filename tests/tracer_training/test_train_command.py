"""`trace-net train`: a file's model on its data, with runs that are kept and go on."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import tracer_layers as nn
from trace_net.main import main
from tracer.extend import read_safetensors

MODEL = """
import numpy as np
import tracer_layers as nn
import tracer_training as training

model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))
loss = nn.cross_entropy


def datasets():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    whole = training.ArrayDataset(x, (x[:, 0] > x[:, 1]).astype(int))
    return training.random_split(whole, [40, 20], rng=0)
"""


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)

    def run(*arguments, code=0):
        assert main(["train", "model.py", *arguments]) == code
        return capsys.readouterr()

    return run


def test_each_epoch_is_told_and_the_last_is_the_result(train):
    out, err = train("--epochs", "3", "--lr", "0.01")
    assert out.startswith("epoch 3/3  loss ")
    assert [line[:9] for line in err.splitlines() if line.startswith("epoch")] == [
        "epoch 1/3",
        "epoch 2/3",
        "epoch 3/3",
    ]


def test_the_history_as_json(train):
    document = json.loads(train("--epochs", "2", "--json").out)
    assert document["schema_version"] == 1
    assert [record["epoch"] for record in document["epochs"]] == [1, 2]
    assert {"loss", "accuracy", "test_loss", "test_accuracy", "lr"} <= document["epochs"][0].keys()


def test_a_run_that_goes_on_is_the_run_in_one(train):
    options = ("--optimizer", "SGD", "--option", "momentum=0.9", "--lr", "0.05", "--seed", "3")
    train("--epochs", "5", "--run", "whole", *options)
    train("--epochs", "2", "--run", "parts", *options)
    assert (
        "going on after epoch 2"
        in train("--epochs", "5", "--run", "parts", "--resume", *options)[1]
    )
    whole, parts = (read_safetensors(Path(r) / "model.safetensors")[0] for r in ("whole", "parts"))
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array, err_msg=name)
    assert sorted(path.name for path in Path("parts").iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "history.json",
        "model.safetensors",
        "runs.db",
    ]
    assert len(json.loads(Path("parts/history.json").read_text())) == 5


def test_the_trained_model_is_loaded_elsewhere(train):
    train("--epochs", "1", "--run", "run")
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))
    model.load_state_dict(read_safetensors("run/model.safetensors")[0])


def test_a_run_is_not_overwritten_nor_mixed_with_another(train):
    train("--epochs", "1", "--run", "run")
    assert "already: --resume goes on with it" in train("--run", "run", code=1).err
    err = train("--run", "run", "--resume", "--optimizer", "sgd", code=1).err
    assert "has optimizer = 'adamw', and now it is 'sgd'" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--optimizer", "adamm"), 2, "Did you mean 'adam'"),
        (("--option", "momentum=1"), 2, "AdamW has no option 'momentum'"),
        (("--option", "momentum"), 2, "expected name=value"),
        (("--schedule", "up"), 2, "is no schedule"),
        (("--epochs", "0"), 2, "--epochs"),
        (("--lr", "-1"), 1, "expects lr as a number of at least 0"),
        (("--precision", "float8"), 1, "precision is None"),
        (("--resume",), 2, "the run in --run"),
        (("--device", "tpu"), 2, "a device is one of"),
    ],
)
def test_what_makes_no_sense_is_one_line(train, arguments, code, said):
    err = train(*arguments, code=code).err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("loss = nn.cross_entropy", ""), "defines no `loss(output, target)`"),
        (("def datasets():", "example_inputs = np.ones((2, 3))\n\ndef data():"), "`datasets()`"),
        (
            ("return training.random_split(whole, [40, 20], rng=0)", "return whole, 1, 2"),
            "3 things",
        ),
        (("[40, 20]", "[40, 21]"), "sum to"),
    ],
)
def test_what_a_file_lacks_is_said(train, change, said):
    Path("model.py").write_text(MODEL.replace(*change))
    assert said in train("--epochs", "1", code=1).err


def test_a_loss_that_diverges_names_where(train):
    Path("model.py").write_text(
        MODEL.replace(
            "loss = nn.cross_entropy", "loss = lambda o, y: (o * np.float32(np.inf)).sum()"
        )
    )
    with np.errstate(all="ignore"):
        err = train("--epochs", "1", code=1).err
    assert "at step 0 (epoch 1, batch 0)" in err


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one-cycle"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adagrad"])
def test_schedules_end_low(train, schedule, optimizer):
    found = train("--epochs", "12", "--schedule", schedule, "--optimizer", optimizer, "--json").out
    rates = [record["lr"] for record in json.loads(found)["epochs"]]
    assert rates[-1] < 0.3 * max(rates)


def test_a_file_with_data_needs_no_example_inputs(train, capsys):
    assert main(["summary", "model.py"]) == 0
    assert "the first 8 samples of datasets()" in capsys.readouterr().err


def test_training_on_a_device(train):
    sys.path.append(str(Path(__file__).parents[1]))
    import device

    from tracer import registry

    registry.backends.add(device.DeviceBackend(), "tests")
    try:
        out = train("--epochs", "2", "--device", "double", "--json").out
    finally:
        registry.backends.remove("device")
    assert len(json.loads(out)["epochs"]) == 2


def test_a_schedule_of_other_epochs_is_refused(train):
    train("--epochs", "1", "--run", "run", "--schedule", "cosine")
    said = train("--epochs", "2", "--run", "run", "--schedule", "cosine", "--resume", code=1).err
    assert "is over 1 epochs, along which its schedule cosine goes, and now it is 2" in said
    assert json.loads(Path("run/config.json").read_text())["epochs"] == 1


def test_options_are_written_as_in_python(train):
    train("--epochs", "1", "--option", "betas=0.5,0.9", "--option", "eps=.001", "--run", "run")
    said = train("--epochs", "1", "--option", "beta=3", code=2).err
    assert "AdamW has no option 'beta'. Did you mean 'betas'" in said


def test_loaders_and_metrics_of_the_file_are_used(train):
    text = MODEL.replace(
        "return training.random_split(whole, [40, 20], rng=0)",
        "a, b = training.random_split(whole, [40, 20], rng=0)\n"
        "    return training.DataLoader(a, 10, True, rng=0), training.DataLoader(b, 20)\n\n\n"
        "metrics = {'mean score': lambda output, y: output.mean()}",
    )
    Path("model.py").write_text(text)
    (record,) = json.loads(train("--epochs", "1", "--json").out)["epochs"]
    assert record["step"] == 4
    assert {"mean score", "test_mean score"} <= record.keys()
    assert "accuracy" not in record


def test_a_run_that_is_a_file_is_usage(train):
    assert "is a file, and no folder" in train("--run", "model.py", code=2).err


def test_a_test_problem_is_trained_by_its_name(capsys):
    arguments = ("--epochs", "2", "--optimizer", "sgd", "--lr", "0.02", "--json")
    assert main(["train", "tracer_training.problems:quadratic_deep", *arguments]) == 0
    first, last = json.loads(capsys.readouterr().out)["epochs"]
    assert last["test_loss"] < first["test_loss"]
    assert "accuracy" not in last
