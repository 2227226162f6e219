"""What `trace-net check` finds in instruments, sinks and samplers of plugins."""

import itertools

import numpy as np
import pytest

from tracer import registry
from tracer.extend import Choices, Instrument, Sampler, Sink
from tracer_experiments.checks import check_instrument, check_sampler, check_sink


@pytest.mark.parametrize("name", registry.instruments)
def test_bundled_instruments_say_something(name):
    report = check_instrument(registry.instruments[name])
    assert "values" in report
    assert not report.is_defined


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_bundled_sinks_write(name):
    assert "values" in check_sink(registry.sinks[name])


@pytest.mark.parametrize("name", ["grid", "random"])
def test_bundled_samplers_give_the_same_again(name):
    assert "trials" in check_sampler(registry.samplers[name])


class Says(Instrument):
    """An instrument of whatever value."""

    name = "test_says"
    value: object = None
    asked: tuple = ()

    def quantities(self, step):
        return self.asked

    def measure(self, observation):
        return type(self).value


def saying(value, asked=()):
    return type("Saying", (Says,), {"value": value, "asked": asked})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (saying("high"), "'high': log numbers"),
        (saying(np.ones(3) * 1j), "complex"),
        (saying(1.0, ("no quantity",)), "no quantity is called"),
    ],
)
def test_what_no_run_records_is_wrong(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_instrument(kind)


def test_an_instrument_without_values_or_chart_is_told():
    assert "none at" in check_instrument(saying(None)).missing["values"]
    report = check_instrument(saying({"a": 1, "b": 2.0}))
    assert "values" in report
    assert "no chart" in report.missing["chart"]


def test_sinks_that_fail_or_write_elsewhere_are_wrong():
    class Failing(Sink):
        name = "test_failing"

        def write(self, run, points):
            raise OSError("no room")

    class Astray(Sink):
        name = "test_astray"

        def write(self, run, points):
            (self.folder.parent / "astray.txt").write_text("here")

    with pytest.raises(AssertionError, match="OSError: no room"):
        check_sink(Failing)
    with pytest.raises(AssertionError, match="writes beside its folder"):
        check_sink(Astray)


def test_samplers_that_change_their_mind_are_wrong():
    count = itertools.count()

    class Changing(Sampler):
        name = "test_changing"

        def ask(self, number):
            return {
                name: values.values[next(count) % 2] if isinstance(values, Choices) else "0.5"
                for name, values in self.space.items()
            } | {"optimizer": ["sgd", "adamw"][next(count) // 4 % 2]}  # fmt: skip

    with pytest.raises(AssertionError, match="other trials when it is asked again"):
        check_sampler(Changing)

    class Outside(Sampler):
        name = "test_outside"

        def ask(self, number):
            return dict.fromkeys(self.space, "7")

    with pytest.raises(AssertionError, match=r"gives optimizer=7"):
        check_sampler(Outside)
