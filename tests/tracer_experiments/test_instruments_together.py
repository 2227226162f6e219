"""Tables of instruments that are made ahead, on several threads, and what they leave behind."""

import gc
import threading
import warnings
import weakref

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer import extend, registry
from tracer.arrays import parallel
from tracer.errors import UndefinedWarning
from tracer_experiments.instruments import by_parameter, instruments, reading
from tracer_experiments.instruments.binning import Bins, Counts
from tracer_experiments.instruments.presets import PRESETS
from tracer_experiments.instruments.sample_gradients import SampleGradients


def network(dtype="float64"):
    """Convolutions, whose samples' gradients are arrays, beside layers whose are products."""
    tracer.seed(0)
    first, second = nn.Conv2d(2, 5, 3), nn.Conv2d(5, 4, 2)
    layers = nn.Flatten(), nn.Linear(36, 30), nn.ReLU(), nn.Linear(30, 3)
    return nn.Sequential(first, nn.ReLU(), second, nn.Tanh(), *layers).to(dtype)


def batches(steps, dtype="float64", samples=7):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield rng.standard_normal((samples, 2, 6, 6)).astype(dtype), rng.integers(0, 3, samples)


def measured(which, steps=3, momentum=0.0, changed=lambda model, step: None, **options):
    """The values of each step of a training."""
    model = network()
    optimizer = training.SGD(model.named_parameters(), lr=0.3, momentum=momentum)
    measuring, found = experiments.Instruments(which, **options), []
    for step, (x, y) in enumerate(batches(steps)):
        changed(model, step)
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        results = tape.backward(loss, (*optimizer.quantities, *measuring.quantities(step)))
        found.append(measuring.measure(step, results, loss=loss, model=model, optimizer=optimizer))
        optimizer.step(results)
    return found


@pytest.fixture
def several_threads(monkeypatch):
    """Two threads whatever linear algebra has, parts of two samples, and blocks of one."""
    monkeypatch.setattr(
        parallel, "threads", lambda: 1 if getattr(parallel._local, "working", False) else 2
    )
    monkeypatch.setattr(by_parameter, "READ", 2 * 90)
    monkeypatch.setattr(reading, "BLOCK", 90)


def one_by_one(monkeypatch):
    monkeypatch.setattr(instruments, "make_ahead", lambda *_: None)


def same(found, expected):
    assert [each.keys() for each in found] == [each.keys() for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for name, value in ours.items():
            other = theirs[name]
            if isinstance(value, experiments.Histogram):
                np.testing.assert_array_equal(value, other)
                assert value.nan == other.nan
            else:
                assert getattr(value, "step", None) == getattr(other, "step", None)
                number, expected_number = (float(getattr(v, "value", v)) for v in (value, other))
                np.testing.assert_allclose(number, expected_number, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("layers", [False, True], ids=["all together", "layers"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_tables_made_on_several_threads_are_those_made_one_by_one(
    monkeypatch, several_threads, momentum, layers
):
    left_out = {"Time"} if momentum == 0 else {"Time", "CABS", "EarlyStopping"}
    which = [name for name in PRESETS["all"] if name not in left_out]
    used, read, met = set(), [], threading.Event()

    def watched(visit, some, read_part=by_parameter._Visit.read):
        used.add(threading.current_thread())
        met.set() if len(used) > 1 else met.wait(60)
        read.append((visit.name, some.start))
        read_part(visit, some)

    monkeypatch.setattr(by_parameter._Visit, "read", watched)
    found = measured(which, momentum=momentum, layers=layers)
    assert len(used) > 1
    assert {"0.weight", "2.weight"} <= {name for name, _ in read}
    assert len({start for name, start in read if name == "0.weight"}) == 3
    one_by_one(monkeypatch)
    same(found, measured(which, momentum=momentum, layers=layers))


def test_values_that_are_not_finite_are_counted_by_several_threads(monkeypatch, several_threads):
    def spoiled(model, step):
        if step == 1:
            weight = model[2].weight.data.copy()
            weight[0, 0, 0, 0] = np.nan
            model[2].weight.data = weight

    found = measured(["GradHist1d", "GradHist2d", "NormTest"], steps=2, changed=spoiled)
    assert found[1]["GradHist1d"].nan > 0
    one_by_one(monkeypatch)
    same(found, measured(["GradHist1d", "GradHist2d", "NormTest"], steps=2, changed=spoiled))


def test_counts_together_leave_each_as_it_was():
    bins, column = Bins(-1.0, 1.0, 4), np.array([0, 1, 1])
    several = [Counts(bins, 2) for _ in range(2)]
    values = np.random.default_rng(0).standard_normal((2, 5, 3))
    for counts, some in zip(several, values, strict=True):
        for row in some:
            counts.add(row[None], 1.0, column)
    expected = [
        np.array([np.histogram(some[:, column == c].clip(-1, 1), bins.edges)[0] for c in (0, 1)])
        for some in values
    ]
    np.testing.assert_array_equal(Counts.together(several).result(), sum(expected))
    for counts, each in zip(several, expected, strict=True):
        np.testing.assert_array_equal(counts.result(), each)


class Failing(reading.Reader):
    """Reads one block, and then no more."""

    seen = 0

    def read(self, block):
        Failing.seen += 1
        if Failing.seen > 1:
            raise ZeroDivisionError("no more")

    def made(self):
        return 1.0


def fails(*_):
    raise ZeroDivisionError("no value")


@pytest.mark.parametrize("kind", ["a value", "a reader", "a block", "joining", "the tables"])
def test_an_instrument_whose_table_raises_is_told_once(several_threads, kind):
    class Broken(extend.Instrument):
        """An instrument whose table cannot be made."""

        name = "Broken"

        def quantities(self, step):
            return (SampleGradients,)

        def of_each(self, observation):
            if kind == "the tables":
                fails()
            return (self.table(observation),)

        def table(self, o):
            if kind == "a value":
                return o.tables.setdefault("Broken", by_parameter.ByParameter(o.samples, fails))
            reader = {"a reader": fails, "a block": lambda name: Failing}.get(
                kind, lambda name: reading.SquaredNorms
            )
            made = by_parameter.OfSamples(o.samples, fails, reader, fails)
            return o.tables.setdefault("Broken", made)

        def measure(self, observation):
            return sum(self.table(observation).values())

    Failing.seen = 0
    tracer.register(Broken)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = measured(["Broken", "NormTest", "GradHist1d"])
    finally:
        registry.instruments.remove("Broken")
    (only,) = told
    assert only.category is UndefinedWarning
    assert "Broken is not measured: it raised ZeroDivisionError: no value" in str(only.message)
    same(found, measured(["NormTest", "GradHist1d"]))


@pytest.mark.parametrize("which", ["economy", "full"])
@pytest.mark.parametrize("model", [network, lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 3))])
def test_nothing_of_two_steps_before_is_kept(which, model):
    model = model().double()
    optimizer = training.SGD(model.named_parameters(), lr=0.1)
    measuring, seen = experiments.Instruments(which), []
    for step, (x, y) in enumerate(batches(4)):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        asked = measuring.quantities(step)
        results = tape.backward(loss, (*optimizer.quantities, *asked))
        measuring.measure(step, results, loss=loss, model=model, optimizer=optimizer)
        kept = measuring._trainings[0].before
        arrays = [results["grad"][model[-1].weight], kept.losses]
        arrays += [getattr(of, name) for of in kept.samples.values() for name in vars(of)]
        arrays = [each for each in arrays if type(each) is np.ndarray]
        assert len(arrays) > 2
        seen.append([weakref.ref(each) for each in (kept, *arrays)])
        optimizer.step(results)
        del tape, loss, asked, results, kept, arrays, x, y
        gc.collect()
        assert not any(ref() is not None for refs in seen[:-2] for ref in refs)
    assert all(any(ref() is not None for ref in refs) for refs in seen[-2:])


def test_an_mlp_makes_no_tables_ahead(monkeypatch):
    monkeypatch.setattr(instruments, "make_ahead", fails)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()
    optimizer = training.SGD(model.named_parameters(), lr=0.1)
    measuring = experiments.Instruments("economy")
    ((x, y),) = batches(1)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    results = tape.backward(loss, (*optimizer.quantities, *measuring.quantities(0)))
    values = measuring.measure(0, results, loss=loss, model=model, optimizer=optimizer)
    assert "NormTest" in values
    assert parallel.current_work() is None
    with pytest.raises(ZeroDivisionError):
        measured("economy", steps=1)
