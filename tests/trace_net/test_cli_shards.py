"""`trace-net quantities --shards`: quantities of all data of a file, in parts."""

import numpy as np
import pytest

from trace_net.main import main

FILE = """
import numpy as np
import tracer, tracer_layers as nn, tracer_training as training

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)

def build_model():
    return Model().double()

def loss(output, target):
    return nn.cross_entropy(output, target)

def datasets():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    return training.ArrayDataset(x[:30], y[:30]), training.ArrayDataset(x[30:], y[30:])
"""
EXAMPLES = """
example_inputs = lambda: datasets()[0][:30][0]
targets = lambda: datasets()[0][:30][1]
"""
NAMES = ["--quantity", "grad", "--quantity", "kflr", "--quantity", "variance"]


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "shards_target.py"
    path.write_text(FILE)
    return path


def written(path, *arguments):
    assert main(["quantities", *map(str, arguments), *NAMES, "-o", str(path)]) == 0
    with np.load(path) as arrays:
        return dict(arrays)


def test_all_data_in_parts_are_those_of_one_batch(tmp_path, target, capsys):
    found = written(tmp_path / "a.npz", target, "--shards", 4, "--engine", "here")
    assert "30 samples of datasets() in 4 shards" in capsys.readouterr().err
    target.write_text(FILE + EXAMPLES)
    whole = written(tmp_path / "b.npz", target)
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-12)


def test_processes_load_the_file_again_and_have_the_same_bits(tmp_path, target):
    apart = written(tmp_path / "a.npz", target, "--shards", 4, "--workers", 1)
    here = written(tmp_path / "b.npz", target, "--shards", 4, "--engine", "here")
    for name, array in here.items():
        np.testing.assert_array_equal(apart[name], array)


def test_a_fold_is_kept_in_its_folder(tmp_path, target):
    kept = ("--engine", "here", "--checkpoint", tmp_path / "fold")
    first = written(tmp_path / "a.npz", target, "--shards", 4, *kept)
    assert (tmp_path / "fold" / "manifest.json").exists()
    again = written(tmp_path / "b.npz", target, "--shards", 4, *kept)
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)


def test_operators_are_described(target, capsys):
    arguments = ["--quantity", "ggn", "--shards", "3", "--engine", "here"]
    assert main(["quantities", str(target), *arguments]) == 0
    assert "ggn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--engine", "here"], 2, "give --shards"),
        (["--checkpoint", "x"], 2, "give --shards"),
        (["--shards", "3", "--engine", "spark"], 2, "processes, here or dask://HOST:PORT"),
        (["--shards", "3", "--engine", "here", "--workers", "2"], 2, "--workers is of processes"),
        (["--shards", "3", "--engine", "here", "--quantity", "kfra"], 1, "use kflr"),
    ],
)
def test_what_has_no_meaning_is_refused(target, capsys, arguments, code, message):
    assert main(["quantities", str(target), *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_file_without_a_loss_is_refused(target, capsys):
    target.write_text(FILE.replace("def loss", "def other"))
    assert main(["quantities", str(target), "--shards", "3"]) == 2
    assert "defines no loss(output, target)" in capsys.readouterr().err


def test_it_is_said_where_no_plugin_folds(target, capsys, monkeypatch):
    from tracer import registry

    monkeypatch.setattr(registry, "folds", {})
    assert main(["quantities", str(target), "--shards", "3"]) == 2
    assert "no plugin computes quantities in parts" in capsys.readouterr().err
