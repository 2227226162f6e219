"""Inputs that experiments are not made for, and uses that nobody thought of."""

import contextlib
import gc
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import warnings
import weakref
import zlib

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer.errors import UndefinedWarning
from tracer_experiments import Histogram, Late
from tracer_experiments.board.export import report
from tracer_experiments.recorder import Reader
from tracer_experiments.run import RecordWarning
from tracer_experiments.store.schema import RecordError
from tracer_experiments.sweeps.processes import LOG, error_in


def mlp(hidden=5, seed=0):
    tracer.seed(seed)
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3)).double()


def batch(samples=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((samples, 4)), rng.integers(0, 3, samples)


class Loop:
    """Steps of a model, one at a time, with what instruments say."""

    def __init__(self, model, instruments, loss=nn.cross_entropy):
        self.model, self.instruments, self.loss = model, instruments, loss
        self.optimizer = training.SGD(model.named_parameters(), lr=0.1)
        self.values = {}

    def step(self, step, data=None):
        x, y = batch(seed=step) if data is None else data
        with tracer.Tape() as tape:
            loss = self.loss(self.model(x), y)
        asked = (*self.optimizer.quantities, *self.instruments.quantities(step))
        results = tape.backward(loss, asked)
        found = self.instruments.measure(
            step, results, loss=loss, model=self.model, optimizer=self.optimizer
        )
        for name, value in found.items():
            self.values.setdefault(name, {})[getattr(value, "step", step)] = value
        self.optimizer.step(results)
        return found


# -- instruments: one and the same for several trainings ------------------------------------------

#: all that looks at more than one step, or keeps what it found
FOLLOWING = ["Distance", "UpdateSize", "UpdateRatio", "Alpha", "HessMaxEV", "EffectiveDimension"]


def test_trainings_in_turn_are_told_apart():
    together = experiments.Instruments(FOLLOWING)
    loops = [Loop(mlp(seed=seed), together) for seed in (1, 2)]
    alone = [Loop(mlp(seed=seed), experiments.Instruments(FOLLOWING)) for seed in (1, 2)]
    for step in range(4):
        for loop in (*loops, *alone):
            loop.step(step)
    for found, expected in zip(loops, alone, strict=True):
        assert found.values.keys() == expected.values.keys() >= set(FOLLOWING)
        for name, values in expected.values.items():
            # the start of the Lanczos iteration is another one
            rtol = 2e-3 if name == "HessMaxEV" else 1e-12
            assert found.values[name].keys() == values.keys()
            assert np.allclose([*found.values[name].values()], [*values.values()], rtol=rtol)


@pytest.mark.parametrize("hidden", [5, 7])
def test_a_second_training_begins_where_it_begins(hidden):
    instruments = experiments.Instruments([*FOLLOWING, "Time"])
    first, second = Loop(mlp(), instruments), Loop(mlp(hidden, seed=1), instruments)
    for loop in (first, second):
        for step in range(3):
            loop.step(step)
    assert second.values["Distance"][0] == second.values["Time"][0] == 0
    assert second.values["Distance"][1] == pytest.approx(second.values["UpdateSize"][0])


def test_a_layer_that_is_put_in_place_of_another_is_a_new_one():
    loop = Loop(mlp(), experiments.Instruments(["Distance", "UpdateSize"]))
    loop.step(0)
    loop.model[2] = nn.Linear(5, 3, bias=False).double()
    loop.optimizer = training.SGD(loop.model.named_parameters(), lr=0.1)
    loop.model[2].weight.data[:] += 100
    assert loop.step(1)["Distance"] < 1
    wider = nn.Linear(5, 8).double()
    loop.model[2] = wider
    loop.optimizer = training.SGD(loop.model.named_parameters(), lr=0.1)
    assert loop.step(2)["Distance"] < 1


def test_a_layer_that_thaws_travels_from_where_it_is():
    loop = Loop(mlp(), experiments.Instruments(["Distance"]))
    frozen = loop.model[0].weight
    frozen.requires_grad_(False)
    start = [p.data.copy() for p in loop.model.parameters()]
    loop.step(0)
    frozen.requires_grad_(True)
    loop.optimizer = training.SGD(loop.model.named_parameters(), lr=0.1)
    loop.step(1)
    pairs = zip(loop.model.parameters(), start, strict=True)
    expected = np.sqrt(sum(np.sum((p.data - before) ** 2) for p, before in pairs))
    assert loop.step(2)["Distance"] == pytest.approx(expected, rel=1e-12)


def test_a_model_that_is_gone_is_let_go():
    instruments = experiments.Instruments("economy")
    loop = Loop(mlp(), instruments)
    for step in range(3):
        loop.step(step)
    gone = weakref.ref(loop.model[0].weight)
    del loop
    gc.collect()
    assert gone() is None


class Described:
    """A run that keeps charts, and refuses them once it has ended, as one of a recorder does."""

    def __init__(self):
        self.charts, self.ended = {}, None

    def describe(self, name, chart):
        assert self.ended is None
        self.charts[name] = chart


def test_every_run_is_told_how_series_of_layers_are_drawn():
    instruments = experiments.Instruments(["GradNorm"], layers=True)
    runs = [Described(), Described(), Described()]
    for run in runs[:2]:
        instruments.describe(run)
    Loop(mlp(), instruments).step(0)
    runs[0].ended = runs[1].ended = 1.0
    instruments.describe(runs[2])
    Loop(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3)).double(), instruments).step(0)
    assert [set(run.charts) >= {"GradNorm", "GradNorm/0.weight"} for run in runs] == [True] * 3
    assert "GradNorm/1.weight" in runs[2].charts
    assert "GradNorm/1.weight" not in runs[0].charts


# -- instruments: objectives ----------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_of_which_one_target_counts_does_not_change_what_a_mean_is(reduction):
    def loss(z, y):
        return nn.cross_entropy(z, y, ignore_index=2, reduction=reduction)

    loop = Loop(mlp(), experiments.Instruments(["MeanGSNR", "NormTest", "GradHist1d"]), loss)
    x, _ = batch(4)
    loop.step(0, (x, np.array([0, 1, 2, 0])))
    y = np.array([0, 2, 2, 2])
    with tracer.Tape() as tape:
        alone = nn.cross_entropy(loop.model(x[:1]), y[:1], reduction="sum")
    gradient = np.concatenate([g.reshape(-1) for g in tape.backward(alone)["grad"].values()])
    g_n = np.zeros((4, gradient.size))
    g_n[0] = gradient * (4 if reduction == "mean" else 1)
    g = g_n.mean(0)
    found = loop.step(1, (x, y))
    assert found["MeanGSNR"] == pytest.approx(np.mean(g * g / (g_n.var(0) + 1e-5)))
    assert found["NormTest"] == pytest.approx(np.sqrt(g_n.var(0, ddof=1).sum() / (4 * (g @ g))))


UNDEFINED = {
    "no likelihood": lambda z, y: nn.huber_loss(z, np.eye(3)[y]),
    "no loss": lambda z, y: np.mean((z - 1) ** 4),
    "coupled": lambda z, y: np.mean((z @ z.T) ** 2),
}


@pytest.mark.filterwarnings("ignore:the samples' axis:UserWarning")
@pytest.mark.parametrize("kind", UNDEFINED)
def test_curvature_that_is_undefined_for_a_loss_stops_no_training(kind):
    loop = Loop(mlp(), experiments.Instruments("full"), UNDEFINED[kind])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UndefinedWarning)
        for step in range(3):
            loop.step(step)
    assert {"GradNorm", "Distance", "UpdateSize", "HessMaxEV"} <= loop.values.keys()
    assert "HessTrace" not in loop.values
    words = [str(each.message) for each in told if "HessTrace" in str(each.message)]
    (word,) = words
    assert "diag_ggn_mc" in word


def test_what_the_optimiser_needs_is_no_instruments_to_leave_out():
    model = mlp()
    with tracer.Tape() as tape:
        loss = UNDEFINED["no likelihood"](model(batch()[0]), batch()[1])
    asked = experiments.Instruments("business").quantities(0)
    with pytest.raises(tracer.errors.QuantityError, match="likelihood"):
        tape.backward(loss, ("grad", "diag_ggn_mc", *asked))


@pytest.mark.parametrize("which", ["economy", "all"])
def test_values_that_overflow_are_no_warnings_of_instruments(which):
    loop = Loop(mlp(), experiments.Instruments(which))
    loop.step(0)
    loop.model[0].weight.data[:] *= 1e200
    for p in loop.model.parameters():
        p.data[:] = np.sign(p.data) * 1e300
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(loop.model(batch()[0]), batch()[1])
        results = tape.backward(loss, ("grad", *loop.instruments.quantities(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = loop.instruments.measure(
            1, results, loss=loss, model=loop.model, optimizer=loop.optimizer
        )
    assert found["Distance"] == np.inf
    assert isinstance(found["GradHist1d"], Histogram)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_of_what_is_not_finite_no_instrument_raises():
    extra = ["GGNDensity", "EffectiveDimension", "KroneckerCondition", "Saturation", "UpdateRatio"]
    for each in (experiments.Instruments("all"), experiments.Instruments(extra)):
        loop = Loop(mlp(), each)
        loop.step(0)
        for value in (np.inf, np.nan, -1e300):
            loop.model[0].weight.data[1] = value
            loop.step(1)


def test_a_batch_of_no_samples_is_told_of_and_nothing_more():
    loop = Loop(mlp(), experiments.Instruments("economy"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = loop.step(0, (np.zeros((0, 4)), np.zeros(0, int)))
    assert "NormTest" not in found


def test_the_variance_of_one_sample_is_none():
    loop = Loop(mlp(), experiments.Instruments(["CABS"]))
    for step in range(20):
        assert loop.step(step, batch(1, seed=step))["CABS"] >= 0
    loop.model[0].weight.data[:] = np.nan
    assert np.isnan(loop.step(20)["CABS"])


# -- the recorder ---------------------------------------------------------------------------------


@pytest.fixture
def recorder(tmp_path):
    with experiments.Recorder(tmp_path / "runs") as made:
        yield made


REFUSED = {
    "step": lambda run: run.log(2**63, y=1.0),
    "late step": lambda run: run.log(0, y=Late(1.0, -(2**63) - 1)),
    "name": lambda run: run.log(0, **{"y\ud800": 1.0}),
    "name of a histogram": lambda run: run.histogram("y\ud800", np.ones(3), 0),
    "name of an image": lambda run: run.image("y\ud800", np.ones((2, 2)), 0),
    "large": lambda run: run.log(0, y=10**400),
    "complex": lambda run: run.log(0, y=np.complex64(1j)),
    "date": lambda run: run.log(0, y=np.datetime64("2020")),
    "object": lambda run: run.log(0, y=np.array(None)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_file_cannot_hold_is_refused_where_it_is_logged(recorder, kind):
    run = recorder.run()
    run.log(0, x=1.0)
    with pytest.raises(RecordError):
        REFUSED[kind](run)
    run.log(1, x=2.0)
    run.finish()
    assert run.series("x")[1].tolist() == [1, 2]
    assert list(run.names()) == ["x"]


class LateRefusal:
    """A number of a device that is none when it is waited for."""

    shape, dtype = (), np.dtype(float)

    def __float__(self):
        raise RuntimeError("the device is gone")


def test_a_value_that_fails_in_the_thread_takes_no_other_with_it(recorder):
    run = recorder.run()
    run.log(0, x=1.0, y=LateRefusal())
    with pytest.warns(RecordWarning, match="'y' is not recorded: RuntimeError: the device is gone"):
        run.flush()
    run.log(1, x=2.0, y=3.0)
    run.finish()
    assert run.series("x")[1].tolist() == [1, 2]
    assert run.series("y")[1].tolist() == [3]


@pytest.mark.parametrize(
    "values",
    [
        [1.0, np.nextafter(1, 2)],
        [0, 5e-324],
        [-1.7e308, 1.7e308],
        [1e300, 1e300 * (1 + 1e-15)],
        [np.finfo(float).max] * 2,
        [-np.finfo(float).max, np.finfo(float).max, 0.0],
        [1e-320, 2e-320],
    ],
)
def test_of_any_values_there_is_a_histogram(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Histogram.of(np.array(values))
    assert found.sum() == len(values)
    assert np.isfinite(found.edges).all()
    assert found.edges[0] <= min(values) <= max(values) <= found.edges[-1]


@pytest.mark.parametrize(
    "options", [{"bins": 0}, {"bins": 2.5}, {"range": (1, 0)}, {"range": (np.nan, 1)}]
)
def test_what_is_no_bins(options):
    with pytest.raises(tracer.errors.TracerError, match="histogram"):
        Histogram.of(np.arange(4.0), **options)


def test_seeds_and_texts_are_what_json_holds(recorder):
    assert recorder.run(seed=np.int64(3)).environment["seed"] == 3
    for options in ({"group": None}, {"name": "a\ud800"}, {"name": 3}):
        with pytest.raises(RecordError, match="is a text"):
            recorder.run(**options)


class Wordless:
    def __str__(self):
        raise RuntimeError("no words")


def test_a_configuration_that_cannot_be_kept_says_so(recorder):
    around = {}
    around["itself"] = around
    for config, words in (
        (around, "itself"),
        ({"a": Wordless()}, "no words"),
        ({"a": 10**5000}, ""),
    ):
        with pytest.raises(RecordError, match=f"configuration.*{words}"):
            recorder.run(config=config)
    assert recorder.runs() == []


def test_a_program_may_go_to_another_folder(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    recorder = experiments.Recorder("runs", sinks=["csv"])
    run = recorder.run("a")
    run.log(0, x=1.0)
    monkeypatch.chdir(tmp_path / "there")
    run.log(1, x=2.0)
    run.finish()
    recorder.run("b").finish()
    recorder.remove("b")
    recorder.close()
    assert not any((tmp_path / "there").iterdir())
    assert list((tmp_path / "here" / "runs" / "csv").glob("*.csv"))


def test_a_run_that_is_removed_leaves_the_others_alone(recorder):
    removed, left = recorder.run("removed"), recorder.run("left")
    for run in (removed, left):
        run.log(0, x=1.0)
        run.flush()
    recorder.remove(removed.id, force=True)
    removed.log(1, x=2.0)
    left.log(1, x=2.0)
    with pytest.warns(RecordWarning, match=f"run {removed.id} was removed"):
        left.flush()
    left.finish()
    assert left.series("x")[1].tolist() == [1, 2]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_taken_away_is_told_of(tmp_path, is_replaced):
    folder = tmp_path / "runs"
    recorder = experiments.Recorder(folder)
    run = recorder.run("a")
    run.log(0, x=1.0)
    run.flush()
    shutil.rmtree(folder)
    if is_replaced:
        with experiments.Recorder(folder) as other:
            other.run("b").finish()
    run.log(1, x=2.0)
    with pytest.warns(RecordWarning, match="the file was removed, or another one"):
        run.flush()
    with pytest.warns(RecordWarning, match="1 calls of log were not written and are lost"):
        run.finish()
    recorder.close()
    if is_replaced:
        assert [each.name for each in Reader(folder).runs()] == ["b"]


def test_a_recorder_that_is_closed_takes_nothing_more(tmp_path):
    recorder = experiments.Recorder(tmp_path)
    run = recorder.run()
    run.log(0, x=1.0)
    recorder.close()
    with pytest.raises(RecordError, match="finished"):
        run.log(1, x=1.0)
    run.finish()  # it is


def test_what_is_known_of_a_series_is_of_what_is_left_after_rewinding(recorder):
    run = recorder.run()
    for step in range(-4, 6):
        run.log(step, x=float(step), h=np.arange(3.0))
    for step, left in ((2, 6), (-2, 2), (-9, 0)):
        run.rewind(step)
        number, histogram = run.names()["x"], run.names()["h"]
        assert (number.count, histogram.count) == (left, left)
        last = step - 1 if left else 0
        assert (number.last_step, histogram.last_step) == (last, last)
        assert number.last == (step - 1 if left else None)


@pytest.mark.parametrize("what", ["run", "recorder"])
def test_a_recorder_is_of_one_process(recorder, what):
    given = recorder if what == "recorder" else recorder.run()
    with pytest.raises(RecordError, match=r"make a? ?Recorder"):
        pickle.dumps(given)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_writes_nothing_by_an_idle_recorder_and_reads_by_itself(tmp_path):
    with experiments.Recorder(tmp_path) as recorder:
        recorder.run("a").finish()
        reader = Reader(tmp_path)
        child = os.fork()
        if not child:
            code = 1
            try:
                recorder.run("b")
            except RecordError:
                code = 0 if [run.name for run in reader.runs()] == ["a"] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        recorder.run("c").finish()
        assert [run.name for run in reader.runs()] == ["a", "c"]


def test_a_clock_that_is_set_back_gives_no_negative_time(recorder, monkeypatch):
    run = recorder.run()
    now = experiments.run.time.time()
    monkeypatch.setattr(experiments.run.time, "time", lambda: now - 3600)
    run.log(0, x=1.0)
    run.finish()
    assert run.seconds == 0
    assert run.status == "finished"


# -- a damaged database ---------------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path):
    """A database of a run of every kind of series, which a statement of SQL has damaged."""
    with experiments.Recorder(tmp_path) as recorder, recorder.run("a", {"lr": 0.1}) as run:
        for step in range(5):
            run.log(step, x=float(step), y=float(step), h=np.arange(3.0))
            run.image("image", np.ones((2, 2)), step)
        with tracer.Tape() as tape:
            nn.cross_entropy(mlp()(batch()[0]), batch()[1])
        run.graph(tape)

    def change(statement, *values):
        with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as connection, connection:
            connection.execute(statement, values)
        return Reader(tmp_path)

    return change


OF = "WHERE series = (SELECT id FROM series WHERE name = ?)"


@pytest.mark.parametrize(
    ("name", "statement", "value"),
    [
        ("x", f"UPDATE blocks SET count = ? {OF}", 10**10),
        ("x", f"UPDATE blocks SET steps = ? {OF}", b"\0" * 8),
        ("x", f"UPDATE blocks SET times = ? {OF}", b"\0" * 4),
        ("x", f"UPDATE blocks SET numbers = ? {OF}", None),
        ("h", f"UPDATE objects SET data = ? {OF}", zlib.compress(b"\xff" * 64)),
        ("h", f"UPDATE objects SET data = ? {OF}", zlib.compress(b"")),
        ("graph", f"UPDATE objects SET data = ? {OF}", b"no graph"),
        ("graph", f"UPDATE objects SET data = ? {OF}", zlib.compress(b"[]")),
        ("graph", f"UPDATE objects SET data = ? {OF}", zlib.compress(b"{}")),
    ],
)
def test_a_damaged_series_is_an_error_of_its_own(changed, name, statement, value):
    if value is None:
        statement, value = statement.replace("numbers = ?", "numbers = x'00' || ?"), b""
    run = changed(statement, value, name).open("a")
    read = run.graphs if name == "graph" else run.series
    with pytest.raises(RecordError, match="cannot be read in this place"):
        read(name)
    assert run.series("y")[1].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "values",
    ["begun = 'x'", "seen = NULL", "ended = 'x'", "name = x'ff'", "config = x'ff'", "error = 3"],
)
def test_a_damaged_row_of_a_run_leaves_its_series(changed, values, command, tmp_path):
    try:
        reader = changed(f"UPDATE runs SET {values}")
    except sqlite3.IntegrityError:
        return
    (run,) = reader.runs()
    assert run.series("y")[1].tolist() == [0, 1, 2, 3, 4]
    assert run.seconds >= 0
    assert "finished" in command("runs", "list", tmp_path).out


@pytest.mark.parametrize("name", ["h", "image", "graph"])
def test_a_report_leaves_out_what_is_damaged(changed, name):
    reader = changed(f"UPDATE objects SET data = zeroblob(3) {OF}", name)
    told = []
    text = report(reader, reader.runs(), "report", told.append)
    assert "</html>" in text
    assert name == "image" or any("zlib" in line or "decompress" in line for line in told)


# -- programs and sweeps --------------------------------------------------------------------------

ERROR = """
import sys
import tracer_experiments as experiments
run = experiments.Recorder(sys.argv[1]).run()
run.log(0, x=1.0)
{session}
raise ValueError("in a cell")
"""


@pytest.mark.parametrize(("session", "status"), [("sys.ps1 = 'In : '", "finished"), ("", "failed")])
def test_an_error_of_a_cell_does_not_fail_the_runs_of_a_session(tmp_path, session, status):
    program = ERROR.format(session=session)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=False)
    (run,) = Reader(tmp_path).runs()
    assert run.status == status


@pytest.mark.parametrize(
    "log",
    [
        "error: it failed\nhint: do this\n",
        "name? error: it failed\n  File net.py\nhint: do this\n",
        "error: another\nnoise\nerror: it failed\n",
        "it failed\nhint: do this\n",
    ],
)
def test_why_a_training_of_a_sweep_failed_is_found_in_what_it_wrote(tmp_path, log):
    (tmp_path / LOG).write_text(log)
    assert error_in(tmp_path, 1) == "it failed"


def test_a_name_that_ends_in_error_is_no_message(tmp_path):
    (tmp_path / LOG).write_text("ValueError: it failed\n")
    assert error_in(tmp_path, 1) == "ValueError: it failed"
