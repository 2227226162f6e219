"""The programs in docs/examples/programs find what they say."""

import importlib
import re
import runpy
import sys

import numpy as np
import pytest
from pages import DOCS, markdown

PROGRAMS = DOCS / "examples" / "programs"
PAGE = DOCS / "tutorials" / "programs.md"
SHARED = "descent"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The programs' folder is first on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(PROGRAMS)
    yield
    for path in PROGRAMS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def near(expected, rtol=1e-3, atol=1e-3):
    return lambda found: np.testing.assert_allclose(found, expected, rtol, atol)


def at_least(*bounds):
    """Each number reaches its bound."""
    return lambda found: np.testing.assert_array_less(bounds, np.asarray(found).ravel())


def at_most(*bounds):
    return lambda found: np.testing.assert_array_less(np.asarray(found).ravel(), bounds)


def rises(start, end):
    """From about `start` to more than `end`."""

    def check(found):
        np.testing.assert_allclose(found[0], start, rtol=0.01)
        assert found[1] > end

    return check


def falls(start, end):
    """From about `start` to less than `end`."""

    def check(found):
        np.testing.assert_allclose(found[0], start, rtol=0.01)
        assert found[1] < end

    return check


#: what each program gives, and what holds of it
FIGURES = {
    "adversarial_net": {"distance": falls(2.66, 1.2), "game": at_least(-1.3863)},
    "bayesian_neural_net": {
        "bounds": rises(-5296.8, -60),
        "spread": lambda found: at_least(1.8 * found[0])(found[1]),
    },
    "bayesian_optimization": {"best": near([0.810, 0.8956], atol=0.02), "evaluations": near(12)},
    "convnet": {"accuracy": at_least(0.0, 0.95)},
    "deep_gaussian_process": {
        "loss": falls(51.178, -37),
        "prediction": lambda found: near([-1, -1, 1, 1])(np.sign(found)),
    },
    "derivatives": {
        "at 0": near([0, 1, 0, -2, 0], atol=1e-12),
        "largest": near([1, 1, 4 / np.sqrt(27), 2, 4.0859]),
    },
    "fixed_point": {
        "root": near(np.sqrt(2), 1e-12, 0),
        "first": near(1 / np.sqrt(8), 1e-12, 0),
        "second": near(-1 / np.sqrt(128), 1e-10, 0),
    },
    "function_space": {"loss": at_most(1e-6), "values": near([1, 2, 3, 2, 1])},
    "gaussian_process": {
        "log evidence": near([-23.418, 8.5853]),
        "mean": near([np.cos(1.5), -0.4135, 0.1115], atol=0.06),
        "deviation": near([0.0357, 0.1986, 0.8865]),
    },
    "hidden_markov": {
        "log chances": lambda found: at_least(-2153.3, found[2])(found[:2]),
        "never falls": near(True),
        "stay": near([0.9, 0.9, 0.9], atol=0.03),
    },
    "independent_components": {"loss": near([7.03, 6.9], 1), "correlation": at_least(*[0.99] * 4)},
    "latent_gaussian_process": {"loss": falls(81.2, -190), "order": at_least(0.98)},
    "logistic_regression": {
        "losses": near([np.log(2), 0.049, 0.0441]),
        "slope": at_most(1e-10),
        "accuracy": near(1),
    },
    "long_memory": {"loss": falls(3.5566, 0.3)},
    "mixture_inference": {
        "bounds": rises(-4.1936, -0.05),
        "densities": near([1 / np.pi, 0.5 / np.pi], atol=0.03),
    },
    "mixture_of_gaussians": {"at the start": near(-2.3935), "at the end": near(-1.0305, 0.02)},
    "natural_gradient": {
        "bounds": lambda found: at_most(found[1], found[2], -8)(found),
    },
    "negative_binomial": {"r": near(5, 0.1), "p": near(0.5, 0.05), "slopes": near([0, 0])},
    "neural_net": {"accuracy": at_least(0.0, 0.93)},
    "neural_ode": {"loss": falls(1.323, 0.4)},
    "neural_regression": {"error": falls(1.957, 0.012)},
    "own_rule": {
        "gradient": near([30, -30, 0], 1e-12, 1e-12),
        "hessian": near([[2, 1], [1, 2]], 1e-12, 0),
    },
    "recurrent_net": {"loss": falls(3.5363, 0.3)},
    "rosenbrock": {"CG": near([1, 1, 1, 1], 1e-3), "Newton-CG": near([1, 1, 1, 1], 1e-3)},
    "sine_series": dict.fromkeys(["sine", "first", "second"], at_most(1e-13)),
    "smoke": {"distance": falls(0.2, 0.02)},
    "variational_autoencoder": {"bounds": rises(-46.5, -22)},
    "variational_inference": {
        "bounds": rises(-12.27, -0.9),
        "mean": near([0, 0], atol=0.15),
        "deviation": at_least(0.5, 0.45),
    },
    "wing": {"lift per drag": at_least(-1e-9, 0.1)},
}
#: programs that take more than a tenth of a second
SLOW = {
    *("adversarial_net", "bayesian_neural_net", "bayesian_optimization", "convnet"),
    *("deep_gaussian_process", "hidden_markov", "latent_gaussian_process", "long_memory"),
    *("mixture_inference", "mixture_of_gaussians", "neural_net", "neural_ode", "smoke", "wing"),
    *("neural_regression", "recurrent_net", "variational_autoencoder", "variational_inference"),
}
PRINTED = {
    "recorded_operations": "A = x\nB = add(A, A)\nC = sin(B)\nD = add(C, C)\nE = divide(D)\n",
    "drawn_graph": "digraph {\n",
}


def marked(name):
    return pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize("name", [marked(name) for name in FIGURES])
def test_a_program_gives_its_figures(name):
    found = importlib.import_module(name).figures()
    assert found.keys() == FIGURES[name].keys()
    for key, holds in FIGURES[name].items():
        holds(found[key])


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_prints_its_graph(name, capsys):
    runpy.run_path(str(PROGRAMS / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith(PRINTED[name])


def test_a_program_prints_its_figures(capsys):
    runpy.run_path(str(PROGRAMS / "own_rule.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("gradient: [ 30. -30.   0.]\nhessian: [[2. 1.]")


def test_the_page_has_every_program_once():
    there = {path.stem for path in PROGRAMS.glob("*.py")}
    assert there == {*FIGURES, *PRINTED, SHARED}
    text = markdown(PAGE)
    assert sorted(re.findall(r'--8<-- "programs/(\w+)\.py"', text)) == sorted(there)
    assert sorted(re.findall(r"^\| \[`(\w+)`\]", text, re.MULTILINE)) == sorted(there - {SHARED})


def test_adam_goes_to_a_minimum_of_a_tree():
    descent = importlib.import_module(SHARED)
    goal = {"a": [np.array([1.0, -2.0])], "b": (np.array(0.5),)}

    def gradient(p, step):
        return descent.over(lambda x, y: 2 * (x - y), p, goal)

    found = descent.adam(gradient, descent.over(np.zeros_like, goal), 400, 0.05)
    np.testing.assert_allclose(found["a"][0], goal["a"][0], atol=1e-3)
    np.testing.assert_allclose(found["b"][0], goal["b"][0], atol=1e-3)
