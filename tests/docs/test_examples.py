"""The example programs keep their promises."""

import importlib
import re
import runpy
import sys

import numpy as np
import pytest
from pages import DOCS

import tracer
from tracer.graph.flow import gradient_flow
from tracer_layers import Linear, cross_entropy

EXAMPLES = DOCS / "examples"
NAMES = (
    "char_lstm",
    "char_transformer",
    "characters",
    "digits_mlp",
    "plain_numpy",
    "polynomial",
    "recurrence",
    "xor",
)


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
    data = polynomial.points(np.random.default_rng(0))
    expected = np.polyfit(*data, polynomial.DEGREE)
    start = np.zeros(polynomial.DEGREE + 1)
    np.testing.assert_allclose(polynomial.gauss_newton_step(start, *data), expected, atol=1e-10)
    np.testing.assert_allclose(polynomial.gradient_descent(start, *data), expected, atol=1e-3)


def test_the_polynomial_prints_three_equal_lines(capsys):
    runpy.run_path(str(EXAMPLES / "polynomial.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len({line.partition("[")[2] for line in lines}) == 1
    assert len(lines) == 3


def test_xor_has_the_gradients_that_the_docs_check_by_hand(capsys):
    runpy.run_path(str(EXAMPLES / "xor.py"), run_name="__main__")
    printed = dict(line.split(maxsplit=1) for line in [
        re.sub("^by ", "by_", line) for line in capsys.readouterr().out.splitlines()
    ])  # fmt: skip
    numbers = {k: np.fromstring(v.strip("[]"), sep=" ").tolist() for k, v in printed.items()}
    assert numbers == {
        "output": [0.25, 1.25, 1.25, 0.25],
        "loss": [0.0625],
        "by_output": [0.125] * 4,
        "by_0.weight": [0.25, 0.25, -0.25, -0.25],
        "by_0.bias": [0.375, -0.25],
        "by_2.weight": [0.5, 0.125],
        "by_2.bias": [0.5],
    }


def test_the_recurrence_by_hand_has_the_gradient_of_the_tape():
    recurrence = importlib.import_module("recurrence")
    inputs, labels = recurrence.example_inputs(), recurrence.targets()
    *_, gradient = recurrence.by_hand(inputs, labels)
    expected = recurrence.by_tape(inputs, labels)["grad"]["W"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


def test_the_recurrence_squares_after_its_sum_over_time():
    recurrence = importlib.import_module("recurrence")
    inputs, labels = recurrence.example_inputs(), recurrence.targets()
    before, delta, _ = recurrence.by_hand(inputs, labels)
    squares = np.square(np.einsum("nti,nto->nio", before, delta)).sum(axis=0)
    found = recurrence.by_tape(inputs, labels, ("sum_grad_squared",))["sum_grad_squared"]["W"]
    np.testing.assert_allclose(found, squares, rtol=1e-12, atol=1e-18)


def test_the_recurrence_prints_no_difference(capsys):
    runpy.run_path(str(EXAMPLES / "recurrence.py"), run_name="__main__")
    assert float(capsys.readouterr().out.rpartition(" ")[2]) < 1e-15


def test_the_three_speeds_are_those_of_their_weights():
    recurrence = importlib.import_module("recurrence")
    with tracer.Tape(watch=True) as tape:
        logits = recurrence.three_speeds(tracer.batch(recurrence.example_inputs()))
        objective = recurrence.loss(logits, recurrence.targets())
    tape.backward(objective)
    rates = [norms[:-1] / norms[1:] for norms in gradient_flow(tape).values()]
    np.testing.assert_allclose(rates, np.repeat([[0.8], [1.0], [1.25]], 5, axis=1), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"), [("char_lstm", 2.1), ("char_transformer", 2.5)], ids=["lstm", "transformer"]
)
def test_a_character_model_learns_writes_and_reports(name, most, tmp_path, monkeypatch, capsys):
    picture = tmp_path / "picture.svg"
    monkeypatch.setattr(sys, "argv", [name, "--steps", "100", "--draw", str(picture)])
    example = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    model, text, printed = example["model"], example["text"], capsys.readouterr().out

    first, last = map(float, re.findall(r"^step +\d+, loss (\S+)$", printed, re.MULTILINE))
    assert last < first < np.log(len(text.alphabet))
    assert last < most
    written = printed.partition("\n\n")[2].partition("\n\nthe gradient")[0]
    assert written.startswith("The ")
    assert len(written.rstrip("\n")) > 350
    assert set(written) <= set(text.alphabet)
    for parameter, _ in model.named_parameters():
        assert re.search(rf"^  {re.escape(parameter)} +\d+ +\d+ +\d", printed, re.MULTILINE)
    assert re.search(r"^ +32 steps back +[1-9]", printed, re.MULTILINE)
    assert b"</svg>" in picture.read_bytes()


@pytest.mark.parametrize("name", ["char_lstm", "char_transformer"])
def test_an_untrained_character_model_knows_nothing(name):
    example = importlib.import_module(name)
    model = example.build_model()
    found = example.loss(model(example.example_inputs()), example.targets()).item()
    characters = len(importlib.import_module("characters").Text().alphabet)
    assert abs(found - np.log(characters)) < 0.5


def test_the_lstm_reads_windows_as_it_reads_the_whole():
    char_lstm = importlib.import_module("char_lstm")
    model, codes = char_lstm.build_model().double(), char_lstm.example_inputs()
    whole, last = model(codes)
    first, state = model(codes[:, :5])
    second, state = model(codes[:, 5:], [part.detach() for part in state])
    parts = np.concatenate([first.data, second.data], axis=2)
    np.testing.assert_allclose(parts, whole.data, rtol=1e-12, atol=1e-15)
    for found, expected in zip(state, last, strict=True):
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-12, atol=1e-15)


def test_the_transformer_does_not_look_ahead():
    char_transformer = importlib.import_module("char_transformer")
    model, codes = char_transformer.build_model().double(), char_transformer.example_inputs()
    changed = codes.copy()
    changed[:, 40:] = (codes[:, 40:] + 1) % 50
    before, after = model(codes).data, model(changed).data
    np.testing.assert_allclose(after[..., :40], before[..., :40], rtol=1e-12, atol=1e-15)
    assert (np.abs(after[..., 40:] - before[..., 40:]).max(axis=1) > 1e-3).all()


def test_adam_takes_steps_of_its_learning_rate_and_finds_a_minimum():
    characters = importlib.import_module("characters")
    tracer.seed(0)
    model = Linear(3, 1, bias=False).double()
    start, goal = model.weight.data, np.array([[0.3, -0.2, 0.1]])
    adam = characters.Adam(model, learning_rate=0.01)
    adam.step({"weight": start - goal})
    np.testing.assert_allclose(np.abs(model.weight.data - start), 0.01, rtol=1e-5)
    for _ in range(500):
        adam.step({"weight": model.weight.data - goal})
    np.testing.assert_allclose(model.weight.data, goal, atol=1e-3)


def test_the_spectrum_leaves_out_what_is_zero():
    characters = importlib.import_module("characters")
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    rank, condition = characters.spectrum(rotation * [5.0, 0.0, 2.0, 0.5] @ rotation.T)
    assert rank == 3
    np.testing.assert_allclose(condition, 10, rtol=1e-12)
