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
    said = "10 of 20 values and gradients are drawn without their numbers: they have more than 6 "
    assert said in outcome.err


def test_why_numbers_are_not_written_is_said_of_each_kind(command, write_file):
    model = write_file(
        "loop.py",
        """
        import numpy as np
        import tracer
        import tracer_layers as nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.RNNCell(2, 3), nn.Linear(3, 9)

            def forward(self, x):
                h = np.zeros((2, 3), np.float32)
                for t in tracer.steps(5):
                    h = self.cell(x[:, t], h)
                return self.head(h)

        model = Net()
        example_inputs = np.ones((2, 5, 2), np.float32)
        """,
    )
    outcome = command("visualize", model, "--values", "--time", "folded", "-o", "out.json")
    assert "stand for several steps, which --time unrolled draws one by one" in outcome.err
    assert "have more than 6 rows or columns" in outcome.err
    outcome = command("visualize", model, "--values", "--time", "unrolled", "-o", "out.json")
    assert "several steps" not in outcome.err


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


@pytest.fixture
def functions(write_file):
    return write_file(
        "functions.py",
        """
        import math

        def square(x):
            return x**2

        def power(x, n):
            return x**n

        def of_math(x):
            return math.exp(x)
        """,
    )


@pytest.mark.parametrize(
    ("function", "given", "gradient"),
    [
        ("square", ["x=3.0"], {"∇ x": 6.0}),
        ("square", ["x=[[1.0, 2], [3, 4]]"], {"∇ x": [[2.0, 4.0], [6.0, 8.0]]}),
        ("power", ["x=2.0", "n=3"], {"∇ x": 12.0}),
        ("power", ["x=1.0", "n=2.0"], {"∇ x": 2.0, "∇ n": 0.0}),
    ],
)
def test_a_function_of_numbers_is_differentiated_by_them(
    function, given, gradient, command, functions
):
    options = [word for each in given for word in ("--input", each)]
    outcome = command(
        "visualize", f"{functions}:{function}", *options, "--values", "--format", "json", "-o", "-"
    )
    assert outcome.code == 0, outcome.err
    nodes = {n["label"]: n for n in json.loads(outcome.out)["nodes"]}
    assert {name: nodes[name]["values"] for name in gradient} == gradient
    assert nodes["x"]["kind"] == "input"


def test_numbers_that_cannot_be_differentiated_by_say_what_to_write(command, functions):
    outcome = command("visualize", f"{functions}:square", "--input", "x=3")
    assert outcome.code == 1
    assert "an input of floats (3.0, and not 3)" in outcome.error
    outcome = command("visualize", f"{functions}:of_math", "--input", "x=3.0")
    assert outcome.code == 1
    assert "write np.exp(t)" in outcome.error


@pytest.mark.parametrize("given", ["x=[[1, 2]]", "x=i64[3]<5"])
@pytest.mark.parametrize("name", ["visualize", "quantities", "diff"])
def test_arrays_of_whole_numbers_cannot_be_differentiated_by(command, functions, name, given):
    target = f"{functions}:square"
    twice = [target] * (name == "diff")
    asked = ["--quantity", "grad"] if name == "quantities" else []
    outcome = command(name, target, *twice, *asked, "--input", given)
    assert outcome.code == 1
    assert "no parameters and no inputs of floats" in outcome.error
    assert "x of int64" in outcome.error
    assert "--input 'x=[1.0, 2.0]'" in outcome.hint
    assert "--direction forward" in outcome.hint
    assert command("visualize", target, "--input", given, "--direction", "forward").code == 0


@pytest.mark.parametrize("value", ["[1.0, [2.0]]", "'text'", "[", "open('x')", "{1: 2}", "1j"])
def test_what_is_no_number_is_refused(value, command, functions):
    outcome = command("visualize", f"{functions}:square", "--input", f"x={value}")
    assert outcome.code == 2
    assert "--input x=3.0" in outcome.hint


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
