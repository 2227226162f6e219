"""The example programs keep their promises."""

import importlib
import runpy
import sys

import numpy as np
import pytest
from pages import DOCS

import tracer
from tracer_layers import cross_entropy

EXAMPLES = DOCS / "examples"
NAMES = ("digits_mlp", "plain_numpy", "polynomial")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The examples' folder is first on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def printed_accuracy(text):
    return float(text.removeprefix("test accuracy ").rstrip("%\n"))


def test_every_example_is_listed_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NAMES)


@pytest.mark.parametrize("name", ["digits_mlp", "plain_numpy"])
def test_digits_are_read_right_more_than_95_percent_of_the_time(name, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert printed_accuracy(capsys.readouterr().out) > 95


def test_the_plain_network_has_the_gradient_of_the_layers():
    digits_mlp = importlib.import_module("digits_mlp")
    plain_numpy = importlib.import_module("plain_numpy")
    model = digits_mlp.build_model(epochs=1)
    images, labels = digits_mlp.example_inputs(), digits_mlp.targets()
    with tracer.Tape() as tape:
        loss = cross_entropy(model(images), labels)
    by_layers = tape.backward(loss)["grad"]

    arrays = [parameter.data for parameter in model.parameters()]
    pairs = list(zip(arrays[::2], arrays[1::2], strict=True))
    by_functions = tracer.grad(plain_numpy.objective)(pairs, images, labels)

    flat = [array for pair in by_functions for array in pair]
    for (name, expected), found in zip(by_layers.items(), flat, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6, err_msg=name)


def test_the_plain_functions_give_plain_arrays():
    plain_numpy = importlib.import_module("plain_numpy")
    parameters = plain_numpy.initial(np.random.default_rng(0))
    assert type(plain_numpy.predict(parameters, plain_numpy.example_inputs())) is np.ndarray


def test_the_polynomial_is_the_least_squares_one():
    polynomial = importlib.import_module("polynomial")
    expected = np.polyfit(polynomial.x, polynomial.y, polynomial.DEGREE)
    start = np.zeros(polynomial.DEGREE + 1)
    np.testing.assert_allclose(polynomial.gauss_newton_step(start), expected, atol=1e-10)
    np.testing.assert_allclose(polynomial.gradient_descent(start), expected, atol=1e-3)


def test_the_polynomial_prints_three_equal_lines(capsys):
    runpy.run_path(str(EXAMPLES / "polynomial.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len({line.partition("[")[2] for line in lines}) == 1
    assert len(lines) == 3
