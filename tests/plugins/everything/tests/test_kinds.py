"""One check for every kind of thing, and that each takes part where it should."""

import json

import numpy as np
import pytest
import tracer
from tracer import testing

import tracer_everything as everything
from trace_net.main import main

MODEL = """
import numpy as np, tracer
from tracer_everything import Affine, LogCosh

layer = Affine(3, 2)
model = layer
example_inputs = np.linspace(-1, 1, 12).reshape(4, 3)
targets = np.zeros((4, 2))
loss = lambda f, y: LogCosh(f, y).mean()
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    return "model.py"


@pytest.mark.parametrize("op", everything.register_operations(), ids=lambda op: op.name)
def test_operations(op):
    assert testing.check_operation(op).is_defined


def test_an_operation_on_boxed_arrays():
    testing.check_operation(everything.Softsign, backend=everything.BOXED.from_host)


def test_a_numpy_function_of_others():
    gradient = tracer.grad(lambda stop: np.logspace(0.0, stop, 3, base=np.e)[-1])(np.array(2.0))
    assert np.allclose(gradient, np.exp(2.0))
    assert np.allclose(everything.operations.logspace(0, 2, 3), np.logspace(0, 2, 3))


def test_layers():
    for layer, inputs in everything.Affine.examples(np.random.default_rng(0)):
        assert "quantities" in testing.check_layer(layer, *inputs)


def test_quantities():
    assert testing.check_quantity(everything.GradientL1).is_defined


def test_rows():
    assert testing.check_rows(everything.SKETCHED).is_defined


def test_backends():
    assert testing.check_backend(everything.BOXED).is_defined


def test_renderers():
    assert "render" in testing.check_renderer(everything.Edges())


def test_overlays():
    assert "values" in testing.check_overlay(everything.Share())


def test_hooks_hear_of_a_trace_and_its_sweep():
    del everything.hooks.HEARD[:]
    with tracer.Tape() as tape:
        loss = np.sum(tracer.parameter(np.ones(2), "w"))
    tape.backward(loss)
    assert everything.hooks.HEARD == ["begin_trace", "end_trace", "begin_sweep", "end_sweep"]


def test_a_command_of_a_target_with_a_setting(model, capsys, monkeypatch):
    monkeypatch.setenv("TRACER_EVERYTHING_COUNT", "1")
    assert main(["largest", model]) == 0
    assert capsys.readouterr().out.startswith("weight ")


def test_commands_of_a_typer(capsys):
    assert main(["everything", "greet", "--name", "ada"]) == 0
    assert capsys.readouterr().out == "hello, ada\n"


def test_the_quantity_of_rows_of_our_own(model, capsys):
    assert main(["quantities", model, "--quantity", "everything_trace", "--json"]) == 0
    assert "everything_trace" in json.dumps(json.loads(capsys.readouterr().out))


def test_a_picture_with_the_overlay(model, tmp_path, capsys):
    arguments = ["visualize", model, "-o", "model.csv", "--overlay", "everything_share"]
    assert main(arguments) == 0, capsys.readouterr().err
    assert "weight,everything_project" in (tmp_path / "model.csv").read_text()
