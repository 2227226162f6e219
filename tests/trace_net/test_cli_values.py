"""`visualize --values`: the numbers of small tensors in the picture."""

import json

import pytest

NBSP = "\N{NO-BREAK SPACE}"


def test_a_small_model_is_drawn_with_every_number_and_says_so(command, layers, folder):
    outcome = command("visualize", layers, "--values", "-o", "out.json")
    assert outcome.code == 0
    nodes = {n["label"]: n for n in json.loads((folder / "out.json").read_text())["nodes"]}
    assert nodes["target"]["values"] == [0, 1, 2, 0, 1]
    assert len(nodes["0.weight"]["values"]) == 6
    assert nodes["∇ mean"]["values"] == 1.0
    assert "every one of 5 operations is drawn, with its numbers (--depth all)" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "numbers", "operations"),
    [(["--values"], True, True), ([], False, False), (["--values", "--depth", "0"], True, False)],
)
def test_the_picture_has_the_numbers(arguments, numbers, operations, command, layers, folder):
    assert command("visualize", layers, *arguments, "-o", "out.svg").code == 0
    drawn = (folder / "out.svg").read_text()
    assert (NBSP.join(["0", "", "1", "", "2"]) in drawn) == numbers  # the target's
    assert (">linear<" in drawn) == operations


def test_what_is_large_is_counted(command, layers):
    outcome = command("visualize", f"{layers}:build_model(width=8)", "--values", "-o", "out.svg")
    assert outcome.code == 0
    assert "10 of 20 tensors and cotangents have more than 6 rows or columns" in outcome.err


def test_a_large_model_stays_closed_and_says_how_to_open_it(command, write_file):
    model = write_file(
        "deep.py",
        """
        import numpy as np
        import tracer_layers as nn

        def build_model():
            return nn.Sequential(*(nn.Tanh() for _ in range(70)), nn.Linear(2, 2))

        example_inputs = np.ones((2, 2), np.float32)
        """,
    )
    outcome = command("visualize", model, "--values", "-o", "out.svg")
    assert outcome.code == 0
    assert "--depth all draws all 72 operations" in outcome.err


def test_a_model_without_parameters_has_values_and_cotangents_of_its_inputs(command, write_file):
    model = write_file(
        "f.py",
        """
        import numpy as np

        def model(x):
            return np.sum(x * x)

        example_inputs = np.array([[1.5, -2.0]])
        """,
    )
    outcome = command("visualize", model, "--values", "--format", "json", "-o", "-")
    nodes = {n["label"]: n for n in json.loads(outcome.out)["nodes"]}
    assert nodes["x"]["values"] == [[1.5, -2.0]]
    assert nodes["∇ x"]["values"] == [[3.0, -4.0]]
