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
