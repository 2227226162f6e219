"""What chooses the settings of a sweep."""

import math
import sys
import warnings

import numpy as np
import pytest

import tracer
from tracer.errors import UsageError
from tracer.extend import Choices, Range
from tracer_experiments.sweeps import optuna_sampler, samplers, spaces

SPACE = {
    "lr": Range(1e-4, 1e-1, log=True),
    "width": Range(4, 16, whole=True),
    "drop": Range(-0.5, 0.5),
    "optimizer": Choices(("sgd", "adamw")),
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lr=0.1,0.01", Choices(("0.1", "0.01"))),
        ("lr = 0.1 , 0.01", Choices(("0.1", "0.01"))),
        ("betas=(0.9,0.99),(0.8, 0.9)", Choices(("(0.9,0.99)", "(0.8, 0.9)"))),
        ("name=a.b", Choices(("a.b",))),
        ("lr=1e-4..1e-1:log", Range(1e-4, 1e-1, log=True)),
        ("lr=0.5..1", Range(0.5, 1.0)),
        ("lr=.5..1.5", Range(0.5, 1.5)),
        ("width=4..16", Range(4, 16, whole=True)),
        ("width=1..64:log", Range(1, 64, log=True, whole=True)),
        ("drop=-1.5..2", Range(-1.5, 2)),
    ],
)
def test_what_is_typed(text, wanted):
    assert [*spaces.space_of([text]).values()] == [wanted]


def test_a_grid_is_all_combinations():
    space = {"a": Choices(("1", "2")), "b": Choices(("x", "y", "z"))}
    grid = samplers.Grid(space, 0, None, True)
    found = [grid.ask(number) for number in range(6)]
    assert [(each["a"], each["b"]) for each in found] == [(a, b) for a in "12" for b in "xyz"]
    assert found == list(spaces.combinations(space))
    assert grid.ask(6) is None
    assert samplers.Grid(space, 0, 2, True).ask(2) is None
    assert samplers.Grid({}, 0, None, True).ask(0) == {}
    assert samplers.Grid({}, 0, None, True).ask(1) is None


def test_what_is_drawn_lies_where_it_should():
    sampler = samplers.Random(SPACE, 0, 2000, True)
    found = [sampler.ask(number) for number in range(2000)]
    assert sampler.ask(2000) is None
    lr = np.array([float(each["lr"]) for each in found])
    assert lr.min() >= 1e-4
    assert lr.max() <= 1e-1
    # a third of the range in each decade: counts of 2,000 lie within 4 deviations of 667
    decades = np.bincount(np.clip(np.floor(np.log10(lr)).astype(int) + 4, 0, 2))
    assert np.abs(decades - 2000 / 3).max() < 4 * math.sqrt(2000 * 2 / 9)
    width = np.bincount([int(each["width"]) for each in found], minlength=17)
    assert width[:4].sum() == 0
    assert len(width) == 17
    assert np.abs(width[4:] - 2000 / 13).max() < 4 * math.sqrt(2000 / 13)
    drop = np.array([float(each["drop"]) for each in found])
    assert np.abs(drop.mean()) < 4 * math.sqrt(1 / 12 / 2000)
    assert 900 < sum(each["optimizer"] == "sgd" for each in found) < 1100


def test_a_trial_is_the_same_whatever_was_drawn_before():
    one, other = (samplers.Random(SPACE, 3, 10, True) for _ in range(2))
    assert [one.ask(n) for n in range(10)] == [other.ask(n) for n in reversed(range(10))][::-1]
    assert samplers.Random(SPACE, 4, 10, True).ask(0) != one.ask(0)


@pytest.fixture
def optuna():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("optuna", reason="optuna is not installed")


def badness(settings):
    """How far settings are from the best ones."""
    return abs(math.log10(float(settings["lr"])) + 2) + (settings["optimizer"] != "adamw")


def tried(sampler, begin, end):
    found = []
    for number in range(begin, end):
        settings = sampler.ask(number)
        sampler.tell(number, settings, None if number == 3 else badness(settings))
        found.append(settings)
    return found


@pytest.mark.filterwarnings("ignore")
def test_optuna_draws_where_it_was_good(optuna):
    found = tried(optuna_sampler.Optuna(SPACE, 0, 60, True), 0, 60)
    values = [badness(each) for each in found]
    assert np.median(values[30:]) < 0.6 * np.median(values[:10])
    assert all(1e-4 <= float(each["lr"]) <= 1e-1 for each in found)
    assert all(4 <= int(each["width"]) <= 16 for each in found)


@pytest.mark.filterwarnings("ignore")
def test_optuna_is_told_what_was_before_an_interruption(optuna):
    before = tried(optuna_sampler.Optuna(SPACE, 0, 40, True), 0, 30)
    sampler = optuna_sampler.Optuna(SPACE, 1, 40, True)
    for number, settings in enumerate(before):
        sampler.tell(number, settings, badness(settings))
    after = [badness(each) for each in tried(sampler, 30, 40)]
    assert np.median(after) < 0.6 * np.median([badness(each) for each in before[:10]])


@pytest.mark.filterwarnings("ignore")
def test_more_is_better_where_one_says_so(optuna):
    sampler = optuna_sampler.Optuna({"x": Range(0.0, 1.0)}, 0, 40, False)
    found = []
    for number in range(40):
        settings = sampler.ask(number)
        found.append(float(settings["x"]))
        sampler.tell(number, settings, found[-1])
    assert np.mean(found[20:]) > 0.75
    assert sampler.ask(40) is None


def test_a_sampler_whose_library_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'trace-net\[optuna\]'"):
        optuna_sampler.Optuna(SPACE, 0, 10, True)


def test_the_samplers_are_registered():
    assert tracer.registry.samplers.provided_by("experiments") == ["grid", "optuna", "random"]
