"""Programs of PyTorch as TARGETs: archives, and files with a module where PyTorch is installed."""

import json
import shutil
from pathlib import Path

import pytest

ARCHIVES = Path(__file__).parents[1] / "tracer_import" / "archives"


@pytest.fixture
def archive(folder):
    """An archive of the tests in the current folder, under its own name."""

    def copied(name):
        shutil.copy(ARCHIVES / f"{name}.pt2", folder)
        return f"{name}.pt2"

    return copied


def test_visualize_draws_the_boxes_of_the_model(command, folder, archive):
    outcome = command("visualize", archive("convolutional"), "-o", "net.svg")
    assert outcome.code == 0, outcome.err
    assert "inputs: made of the program's shapes" in outcome.err
    picture = (folder / "net.svg").read_text()
    assert all(text in picture for text in ("blocks.0", "Conv2d", "stride=2", "Convolutional"))


def test_summary_has_a_row_for_each_module(command, archive):
    outcome = command("summary", archive("transformer"), "--json")
    assert outcome.code == 0, outcome.err
    classes = {row["path"]: row["class"] for row in json.loads(outcome.out)["modules"]}
    assert classes["attention"] == "Attention"
    assert classes["attention.qkv"] == "Linear"


@pytest.mark.parametrize("name", ["convolutional", "lstm", "nested"])
def test_quantities_and_check_take_an_archive(command, archive, name):
    target = archive(name)
    checked = command("check", target)
    assert checked.code == 0, checked.err
    computed = command("quantities", target, "--quantity", "grad")
    assert computed.code == 0, computed.err
    assert "grad" in computed.out


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"])
def test_a_loss_is_given_by_name_and_its_targets_are_made(command, archive, loss):
    """In two runs alike; of dictionaries the first tensor counts."""
    for name in ("convolutional", "nested"):
        given = ("quantities", archive(name), "--quantity", "kfac", "--loss", loss, "--json")
        first, again = command(*given), command(*given)
        assert first.code == 0, first.err
        assert f"loss: {loss} of the output and targets that are made" in first.err
        assert first.out == again.out
        assert any(row["kind"] == "factor" for row in json.loads(first.out)["values"])


def test_a_quantity_of_a_loss_says_how_an_archive_gets_one(command, archive):
    outcome = command("quantities", archive("convolutional"), "--quantity", "kfac")
    assert outcome.code == 1
    assert "kfac is of a loss, and convolutional.pt2 holds a model alone" in outcome.error
    assert "--loss cross_entropy" in outcome.err
    drawn = ("visualize", "convolutional.pt2", "-o", "net.svg", "--quantity", "kfac")
    assert command(*drawn, "--loss", "cross_entropy").code == 0


def test_a_loss_that_is_not_known_or_does_not_fit(command, folder, archive):
    outcome = command("quantities", archive("convolutional"), "--loss", "cross_entrop")
    assert outcome.code == 2
    assert "Did you mean 'cross_entropy'?" in outcome.error
    (folder / "vector.py").write_text(
        "import numpy as np, tracer\n"
        "w = tracer.parameter(np.ones(3), name='w')\n"
        "def model(x):\n    return np.sum(x * w, 1)\n"
        "example_inputs = np.ones((2, 3))\n"
        "def loss(output):\n    return np.sum(output)\n"
    )
    outcome = command("quantities", "vector.py:model", "--loss", "cross_entropy")
    assert outcome.code == 1
    assert "of logits [N, C, ...], and the output is [2]" in outcome.error
    assert command("quantities", "vector.py:model", "--loss", "mse_loss").code == 0


def test_diff_compares_an_archive_with_another(command, archive):
    outcome = command("diff", archive("convolutional"), archive("core"))
    assert outcome.code in (0, 1), outcome.err
    assert "0 removed" in outcome.err or "removed" in outcome.err


def test_inputs_are_given_by_name(command, archive):
    target = archive("convolutional")
    outcome = command("summary", target, "--input", "x=f64[5,1,9,9]")
    assert outcome.code == 0, outcome.err
    assert "[5, 4]" in outcome.out
    outcome = command("summary", target, "--input", "y=f64[5,1,9,9]", "--input", "z=f64[1]")
    assert outcome.code == 2
    assert "the model takes x" in outcome.error


def test_wrong_shapes_are_one_sentence(command, archive):
    outcome = command("visualize", archive("convolutional"), "--input", "x=f64[5,2,9,9]")
    assert outcome.code == 1
    assert "takes x float64" in outcome.error


def test_a_damaged_archive_is_one_sentence(command, folder):
    (folder / "bad.pt2").write_bytes(b"PK\x03\x04 and nothing else")
    outcome = command("visualize", "bad.pt2")
    assert outcome.code == 1
    assert "is no whole program of PyTorch's" in outcome.error
    assert "Traceback" not in outcome.err


def test_an_archive_that_is_not_there(command):
    outcome = command("summary", "missing.pt2")
    assert outcome.code == 2
    assert "no file 'missing.pt2'" in outcome.error


def test_the_plugin_lists_its_operators_and_checks_them(command):
    listed = json.loads(command("plugins", "--json").out)
    (plugin,) = [each for each in listed["plugins"] if each["name"] == "import"]
    assert "aten.linear.default" in plugin["provides"]["imported operator"]
    assert plugin["provides"]["importer"] == ["torch"]
