"""Runs are written and read: values of every kind, several writers, and all that may go wrong."""

import contextlib
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import device
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_experiments as experiments
from tracer.errors import TracerError
from tracer_experiments import Histogram, Late, RecordError, RecordWarning
from tracer_experiments.store import writing
from tracer_experiments.store.blocks import SIZE, numbers_of, packed, steps_of, times_of
from tracer_experiments.store.reading import Columns, bucketed
from tracer_experiments.store.schema import open_writing


@pytest.fixture
def recorder(tmp_path):
    with experiments.Recorder(tmp_path / "runs") as recorder:
        yield recorder


# -- what is logged is what is read ----------------------------------------------------------------


def test_what_was_logged_is_read(recorder):
    run = recorder.run("first", {"lr": 0.1, "layers": (3, 4)}, group="all")
    for step in range(3):
        run.log(step, loss=1 / (step + 1), accuracy=np.float32(step))
    steps, values = run.series("loss")
    assert steps.dtype == np.int64
    assert values.dtype == np.float64
    np.testing.assert_array_equal(steps, [0, 1, 2])
    np.testing.assert_array_equal(values, [1, 1 / 2, 1 / 3])
    assert run.status == "running"
    run.finish()
    (stored,) = recorder.runs()
    assert (stored.name, stored.group, stored.status) == ("first", "all", "finished")
    assert stored.config == {"lr": 0.1, "layers": [3, 4]}
    assert stored.environment["versions"]["numpy"] == np.__version__
    assert stored.begun <= stored.ended
    np.testing.assert_array_equal(stored.series("accuracy")[1], [0, 1, 2])
    np.testing.assert_array_equal(np.diff(stored.times("loss")) >= 0, True)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.floats(width=64)), min_size=1, max_size=3 * SIZE
    )
)
def test_any_points_come_back(tmp_path_factory, points):
    folder = tmp_path_factory.mktemp("runs")
    with experiments.Recorder(folder) as recorder:
        run = recorder.run()
        last = {}
        for i, (step, value) in enumerate(points):
            run.log(step, x=value)
            last[step] = value
            if i == len(points) // 2:
                run.flush()
        run.finish()
        steps, values = experiments.Reader(folder).open(run.id).series("x")
    np.testing.assert_array_equal(steps, sorted(last))
    np.testing.assert_array_equal(values, [last[step] for step in sorted(last)])


@pytest.mark.parametrize("steps", [[5], [5, 7], [5, 7, 9], [5, 7, 10], [9, 5, 1], [3, 3, 3]])
def test_blocks_come_back(steps):
    times = [0.25 + 1e6 + 0.5 * i for i in range(len(steps))]
    block = packed(steps, times, map(float, steps))
    np.testing.assert_array_equal(steps_of(block.length, block.steps), steps)
    np.testing.assert_array_equal(times_of(block.times), times)
    np.testing.assert_array_equal(numbers_of(block.numbers), steps)


def test_numbers_of_every_kind_are_logged(recorder):
    run = recorder.run()
    with tracer.Tape():
        tensor = (tracer.parameter(np.ones(3)) * 2.0).sum()
        run.log(0, tensor=tensor)
    run.log(0, whole=3, true=True, numpy=np.float16(0.5), array=np.array(1.5), big=2**70)
    there = device.asarray(2.5)
    with device.watched() as waits:
        run.log(0, device=there, nan=np.nan, infinite=-np.inf)
    assert not waits
    read = {name: run.series(name)[1][0] for name in run.names()}
    assert read.pop("nan") != read.get("nan")
    assert read == {
        "tensor": 6, "whole": 3, "true": 1, "numpy": 0.5, "array": 1.5, "big": 2.0**70,
        "device": 2.5, "infinite": -np.inf,
    }  # fmt: skip


def test_a_late_value_belongs_to_its_step(recorder):
    run = recorder.run()
    run.log(7, alpha=Late(0.5, 6), loss=1.0)
    np.testing.assert_array_equal(run.series("alpha"), [[6], [0.5]])
    assert pickle.loads(pickle.dumps(Late(0.5, 6))).step == 6


def test_arrays_are_histograms(recorder):
    run = recorder.run()
    values = np.random.default_rng(0).normal(size=(10, 7))
    values[0, :3] = np.nan, np.inf, -np.inf
    run.log(1, weights=values)
    run.histogram("weights", values, 2, bins=8)
    (_, first), (step, second) = run.histograms("weights")
    counts, edges = np.histogram(values[np.isfinite(values)], 64)
    np.testing.assert_array_equal(first, counts)
    np.testing.assert_array_equal(first.edges, edges)
    assert (first.nan, first.infinite, step, second.shape) == (1, 2, 2, (8,))
    with pytest.raises(RecordError, match=r"different bins: take histograms\('weights'\)"):
        run.series("weights")
    pairs = Histogram(np.arange(6).reshape(2, 3), (np.arange(3), np.arange(4)))
    run.log(3, pairs=pairs)
    ((_, back),) = run.histograms("pairs")
    np.testing.assert_array_equal(back, pairs)
    np.testing.assert_array_equal(back.edges[1], np.arange(4))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pairs)).edges[0], np.arange(3))


def test_of_equal_and_of_no_values_there_is_a_histogram():
    assert Histogram.of(np.full(5, 1e9)).sum() == 5
    assert Histogram.of(np.empty(0)).sum() == 0
    assert Histogram.of([-9.0, 0.0, 9.0], bins=2, range=(-1, 1)).tolist() == [1, 2]
    with pytest.raises(TracerError, match=r"one more edge than bins"):
        Histogram([1, 2], [0, 1])
    with pytest.raises(TracerError, match="ascend"):
        Histogram([1, 2], [0, 1, 1])


def test_images_are_png_files(recorder):
    plt = pytest.importorskip("matplotlib.image")
    run = recorder.run()
    rng = np.random.default_rng(0)
    for channels in (1, 3, 4):
        picture = rng.integers(0, 256, (4, 5, channels), dtype=np.uint8)
        run.image("picture", picture if channels > 1 else picture[..., 0], channels)
        run.image("as floats", picture / 255, channels)
        for name in ("picture", "as floats"):
            file = recorder.path.parent / "picture.png"
            file.write_bytes(run.images(name)[-1][1])
            back = np.rint(plt.imread(file) * 255).astype(np.uint8)
            np.testing.assert_array_equal(back.reshape(4, 5, channels), picture)


def test_the_graph_of_a_tape_comes_back(recorder):
    weights = tracer.parameter(np.ones((3, 2)), "weights")
    with tracer.Tape() as tape:
        loss = np.sum(np.tanh(np.ones((4, 3)) @ weights))
    tape.backward(loss)
    run = recorder.run()
    run.graph(tape, step=5)
    ((step, graph),) = run.graphs()
    assert step == 5
    assert set(graph) == set(tape.graph("both"))
    assert graph.number_of_edges() == tape.graph("both").number_of_edges()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("high", r"'x' is 'high': log numbers and arrays"),
        (None, "run.note"),
        ([1, 2], "log numbers and arrays"),
        (1j, "log numbers"),
        (np.array(["a"]), "histogram is of real numbers"),
        (np.ones(3) * 1j, "complex"),
    ],
)
def test_what_is_no_number_is_refused(recorder, value, message):
    with pytest.raises(TracerError, match=message):
        recorder.run().log(0, x=value)


def test_a_series_is_of_one_kind(recorder):
    run = recorder.run()
    run.log(0, x=1.0)
    run.log(1, x=np.ones(3))
    with pytest.warns(RecordWarning, match=r"'x' is a series of kind number.*at step 1"):
        run.flush()
    np.testing.assert_array_equal(run.series("x"), [[0], [1]])


# -- configurations, names, charts -----------------------------------------------------------------


def test_a_configuration_is_kept_as_json(recorder):
    config = {"f": np.float32(0.5), "n": np.int64(3), "nan": np.nan, "set": {1}, "type": dict}
    run = recorder.run("a", config)
    run.note(more=1)
    run.finish()
    kept = recorder.runs()[0].config
    assert kept == {
        "f": 0.5, "n": 3, "nan": "nan", "set": [1], "type": "<class 'dict'>", "more": 1,
    }  # fmt: skip
    with pytest.raises(RecordError, match="a dict"):
        recorder.run("b", [1])
    with pytest.raises(RecordError, match="a text"):
        recorder.run("")


def test_charts_are_kept_with_their_series(recorder):
    run = recorder.run()
    chart = experiments.Chart("Alpha", "step", lines=((0, "minimum"),))
    run.describe("alpha", chart)
    run.log(0, alpha=1.0, loss=1.0)
    run.flush()
    assert run.names()["alpha"].chart == chart
    assert run.names()["loss"].chart is None
    later = experiments.Chart("Loss", "training", scale="log")
    run.describe("loss", later)
    assert run.names()["loss"].chart == later
    with pytest.raises(TracerError, match="the group of a chart is one of"):
        experiments.Chart(group="nowhere")


def test_the_seed_is_kept(recorder):
    tracer.seed(3)
    assert recorder.run("a").environment["seed"] == 3
    assert recorder.run("b", seed=4).environment["seed"] == 4


def test_runs_are_found_by_id_and_by_a_name_of_one(recorder):
    first, second, third = recorder.run("a"), recorder.run("b"), recorder.run("b")
    assert recorder.open(1).name == "a"
    assert recorder.open("a").id == first.id
    with pytest.raises(RecordError, match="2 runs are called 'b': name one by its id, 2, 3"):
        recorder.open("b")
    with pytest.raises(RecordError, match=r"called 'aa' in '.*runs\.db'\. Did you mean 'a'"):
        recorder.open("aa")
    with pytest.raises(RecordError, match="no run 9"):
        recorder.open(9)
    first.log(0, loss=1.0)
    with pytest.raises(RecordError, match=r"no series 'lost'.*Did you mean 'loss'"):
        first.series("lost")
    assert [run.id for run in recorder.runs("b")] == [second.id, third.id]


# -- the end of a run ------------------------------------------------------------------------------


def test_an_error_makes_a_run_failed(recorder):
    def failing():
        with recorder.run("a") as run:
            run.log(0, loss=1.0)
            raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        failing()
    (run,) = recorder.runs()
    assert run.status == "failed"
    assert run.error.startswith("ValueError: no good (")
    assert "test_recorder.py" in run.error
    np.testing.assert_array_equal(run.series("loss"), [[0], [1]])


def test_an_interrupted_run_says_where(recorder):
    with pytest.raises(KeyboardInterrupt), recorder.run("a"):
        raise KeyboardInterrupt
    assert recorder.runs()[0].error.startswith("KeyboardInterrupt (")


def test_a_finished_run_takes_nothing_more(recorder):
    run = recorder.run()
    run.finish()
    run.finish("failed")
    assert run.status == "finished"
    with pytest.raises(RecordError, match="finished: begin another"):
        run.log(0, loss=1.0)


def test_a_run_goes_on(recorder):
    run = recorder.run("a", {"lr": 1})
    for step in range(SIZE + 10):
        run.log(step, loss=float(step))
    with pytest.raises(RecordError, match="is being written"):
        recorder.run(resume="a")
    run.finish("failed", "an error")
    again = recorder.run(resume="a", config={"lr": 2})
    assert (again.id, again.config, again.status, again.error) == (run.id, {"lr": 2}, "running", "")
    again.rewind(SIZE - 2)
    assert again.names()["loss"].count == SIZE - 2
    for step in range(SIZE - 2, SIZE + 20):
        again.log(step, loss=-float(step))
    steps, values = again.series("loss")
    np.testing.assert_array_equal(steps, np.arange(SIZE + 20))
    np.testing.assert_array_equal(values < 0, steps >= SIZE - 2)
    assert again.names()["loss"].count == SIZE + 20


def test_steps_that_go_back_are_written_over(recorder):
    run = recorder.run()
    for step, value in [(0, 1.0), (1, 2.0), (2, 3.0), (1, 4.0), (2, 5.0)]:
        run.log(step, x=value)
    np.testing.assert_array_equal(run.series("x"), [[0, 1, 2], [1, 4, 5]])


def test_a_removed_run_leaves_nothing(recorder):
    run = recorder.run("a")
    run.log(0, loss=1.0, weights=np.ones(3))
    run.flush()
    with pytest.raises(RecordError, match="is running: force=True"):
        recorder.remove("a")
    run.finish()
    recorder.remove("a")
    assert recorder.runs() == []
    with sqlite3.connect(recorder.path) as connection:
        for table in ("series", "blocks", "objects"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    connection.close()
    assert recorder.run("b").id > run.id


PROGRAM = """
    import os, sys, time
    import tracer_experiments as experiments

    run = experiments.Recorder(sys.argv[1]).run(sys.argv[2])
    for step in range(int(sys.argv[3])):
        run.log(step, loss=float(step))
        if sys.argv[2] == "killed":
            print(step, flush=True)
            time.sleep(0.001)
    if sys.argv[2] == "raising":
        raise ValueError("of the program")
"""


def start(folder, name, steps, **options):
    program = textwrap.dedent(PROGRAM)
    return subprocess.Popen(
        [sys.executable, "-c", program, folder, name, str(steps)], text=True, **options
    )


def test_a_killed_program_loses_at_most_a_second(tmp_path):
    process = start(tmp_path, "killed", 100_000, stdout=subprocess.PIPE)
    seen = [(int(process.stdout.readline()), time.monotonic()) for _ in range(2000)]
    killed = time.monotonic()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    kept = experiments.Reader(tmp_path).open("killed")
    last = kept.series("loss")[0][-1]
    must_be_there = max(step for step, at in seen if at < killed - 1)
    assert last >= must_be_there
    np.testing.assert_array_equal(kept.series("loss")[0], np.arange(last + 1))
    assert kept.status == "running"


def test_silence_is_death(recorder, monkeypatch):
    run = recorder.run("a")
    recorder.run("b").finish()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert [run.status for run in experiments.Reader(recorder.path).runs()] == [
        "killed", "finished",
    ]  # fmt: skip
    run._writer._seen = 0.0
    run.flush()
    assert recorder.runs()[0].status == "running"


def test_programs_end_without_a_word(tmp_path):
    for name, steps in (("silent", 700), ("raising", 3)):
        assert start(tmp_path, name, steps, stderr=subprocess.DEVNULL).wait() == (name == "raising")
    silent, raising = experiments.Reader(tmp_path).runs()
    assert (silent.status, silent.names()["loss"].count) == ("finished", 700)
    assert (raising.status, raising.error) == ("failed", "ValueError: of the program")


def test_several_processes_and_threads_write_at_once(tmp_path):
    processes = [start(tmp_path, f"process {i}", 3000) for i in range(3)]
    with experiments.Recorder(tmp_path) as recorder:
        run = recorder.run("threads")

        def log(thread):
            for step in range(1000):
                run.log(step, **{f"thread {thread}": float(step)})

        threads = [threading.Thread(target=log, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        while any(process.poll() is None for process in processes):
            recorder.runs()
        for thread in threads:
            thread.join()
        assert all(process.wait() == 0 for process in processes)
        for name, info in run.names().items():
            assert info.count == 1000
            np.testing.assert_array_equal(run.series(name)[1], np.arange(1000))
        run.finish()
        others = [other for other in recorder.runs() if other.name != "threads"]
    assert len(others) == 3
    for other in experiments.Reader(tmp_path).runs()[:4]:
        assert other.status == "finished"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_leaves_the_runs_to_its_parent(recorder):
    run = recorder.run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a process with threads
        child = os.fork()
    if not child:
        try:
            run.log(0, loss=1.0)
        except RecordError as error:
            os._exit(7 if "parent process" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    run.log(1, loss=2.0)
    np.testing.assert_array_equal(run.series("loss"), [[1], [2]])


# -- what cannot be written or read ----------------------------------------------------------------


def fill(recorder):
    """Let the disk be full, as the database sees it."""
    (pages,) = recorder._writer._connection.execute("PRAGMA page_count").fetchone()
    recorder._writer._connection.execute(f"PRAGMA max_page_count = {pages}")


def log(run, steps, names):
    """Log ones at steps, which the thread may try to write meanwhile."""
    for step in steps:
        run.log(step, **dict.fromkeys(names(step), 1.0))
    run.flush()


def test_a_full_disk_stops_no_training_and_loses_nothing_that_finds_room_later(recorder):
    run = recorder.run()
    run.log(0, x=0.0)
    run.flush()
    fill(recorder)
    with pytest.warns(RecordWarning, match="full; what is logged waits") as told:
        log(run, range(1, 5000), lambda step: [f"series {step % 50}"])
    assert len(told) == 1
    run.log(5000, x=1.0)  # and is not said again
    recorder._writer._connection.execute("PRAGMA max_page_count = 1073741823")
    run.flush()
    np.testing.assert_array_equal(run.series("x"), [[0, 5000], [0, 1]])
    assert sum(info.count for info in run.names().values()) == 5001


def test_what_never_finds_room_is_said_at_the_end(recorder, monkeypatch):
    monkeypatch.setattr(writing, "MOST_WAITING", 10)
    run = recorder.run()
    fill(recorder)
    with pytest.warns(RecordWarning):
        log(run, range(3000), lambda step: [f"series {step} {i}" for i in range(50)])
    with pytest.warns(RecordWarning, match="full: the values of 3000 calls of log were not"):
        run.finish()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_by_writers_and_read_by_readers(tmp_path):
    recorded(tmp_path)
    tmp_path.chmod(0o500)
    (tmp_path / "runs.db").chmod(0o400)
    try:
        with pytest.raises(RecordError, match="cannot be written"):
            experiments.Recorder(tmp_path)
        assert len(experiments.Reader(tmp_path).runs()) == 3
    finally:
        tmp_path.chmod(0o700)


def recorded(folder):
    """The file of a database with three runs of 5,000 steps."""
    with experiments.Recorder(folder) as recorder:
        for name in "abc":
            with recorder.run(name) as run:
                for step in range(5000):
                    run.log(step, loss=float(step), other=0.0)
    return recorder.path


def test_a_newer_database_is_left_alone(tmp_path):
    path = recorded(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    for opened in (experiments.Recorder, experiments.Reader):
        with pytest.raises(RecordError, match=r"newer trace-net \(version 99"):
            opened(tmp_path)
    assert path.read_bytes() == before


def test_other_files_are_left_alone(tmp_path):
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("this is no database, but it is long enough to be taken for one" * 20)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (id INTEGER)")
    connection.close()
    for file, message in ((text, "not a database"), (other, "something else than runs")):
        before = file.read_bytes()
        for opened in (experiments.Recorder, experiments.Reader):
            with pytest.raises(RecordError, match=message):
                opened(file)
        assert file.read_bytes() == before
    with pytest.raises(RecordError, match="there are no runs"):
        experiments.Reader(tmp_path / "nothing")
    with pytest.raises(RecordError, match=r"folder or a \.db file"):
        experiments.Recorder(3)
    with pytest.raises(RecordError, match="no folder for runs"):
        experiments.Recorder(text / "below")


@pytest.mark.parametrize("pages", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(3))
def test_of_a_damaged_database_what_can_be_read_is_read(tmp_path, seed, pages):
    path = recorded(tmp_path)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for page in rng.choice(np.arange(2, len(content) // 8192), pages, replace=False):
        content[page * 8192 : (page + 1) * 8192] = rng.bytes(8192)
    path.write_bytes(content)
    whole = 0
    with contextlib.suppress(RecordError):
        for run in experiments.Reader(tmp_path).runs():
            for name in ("loss", "other"):
                with contextlib.suppress(RecordError):
                    whole += len(run.series(name)[0]) == 5000
    assert path.read_bytes() == content
    assert whole or pages > 1


def test_a_truncated_database_is_an_error(tmp_path):
    path = recorded(tmp_path)
    path.write_bytes(path.read_bytes()[: 8192 * 3])
    with pytest.raises(RecordError, match=r"cannot be read|damaged"):
        experiments.Reader(tmp_path).open(3).series("loss")


def test_a_locked_database_is_waited_for(recorder, monkeypatch):
    run = recorder.run()
    other = sqlite3.connect(recorder.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run.log(0, loss=1.0)
    recorder._writer._connection.execute("PRAGMA busy_timeout = 50")
    with pytest.warns(RecordWarning, match="locked"):
        run.flush()
    other.execute("COMMIT")
    other.close()
    run.flush()
    np.testing.assert_array_equal(run.series("loss"), [[0], [1]])


# -- sinks -----------------------------------------------------------------------------------------


class Kept(tracer.extend.Sink):
    """Keeps what it is told."""

    name = "kept"

    def __init__(self, folder):
        super().__init__(folder)
        self.told = []

    def begin(self, run):
        self.told.append(("begin", run["name"], run["config"]))

    def write(self, run, points):
        self.told += [(run, step, name, value) for step, _, name, value in points]

    def finish(self, run, status):
        self.told.append(("finish", run, status))


def test_a_sink_is_told_of_everything(tmp_path):
    sink = Kept(tmp_path)
    with experiments.Recorder(tmp_path, sink) as recorder:
        run = recorder.run("a", {"lr": 1})
        run.log(0, loss=1.0)
        run.log(1, loss=2.0, late=Late(3.0, 0))
        run.finish()
    assert sink.told == [
        ("begin", "a", {"lr": 1}), (1, 0, "loss", 1.0), (1, 1, "loss", 2.0), (1, 0, "late", 3.0),
        ("finish", 1, "finished"),
    ]  # fmt: skip


def test_a_sink_that_fails_is_left_out_and_named(tmp_path):
    class Broken(Kept):
        name = "broken"

        def write(self, run, points):
            raise OSError("no room")

    good, broken = Kept(tmp_path), Broken(tmp_path)
    with experiments.Recorder(tmp_path, [broken, good]) as recorder:
        run = recorder.run()
        run.log(0, loss=1.0)
        with pytest.warns(RecordWarning, match="the sink 'broken' raised OSError: no room"):
            run.flush()
        run.log(1, loss=1.0)
        run.finish()
        assert len(run.series("loss")[0]) == 2
    assert len(good.told) == 4


def test_sinks_are_registered_by_name(tmp_path):
    tracer.register(Kept)
    try:
        recorder = experiments.Recorder(tmp_path, "kept")
        assert recorder._writer.sinks[0].folder == tmp_path / "kept"
        recorder.close()
    finally:
        tracer.unregister(Kept)
    with pytest.raises(TracerError, match="no sink is called 'kept'"):
        experiments.Recorder(tmp_path, "kept")
    with pytest.raises(RecordError, match="a sink is a registered name"):
        experiments.Recorder(tmp_path, [3])


# -- as it is drawn --------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=64), max_size=300), st.integers(1, 50))
def test_buckets_bound_their_values(values, most):
    numbers = np.array(values, np.float64)
    steps = np.arange(len(values))
    points = bucketed(Columns(steps, steps * 0.5, numbers), most)
    assert len(points.steps) <= max(most, 0)
    starts = np.append(points.steps, len(values))
    for i, (low, mean, high, missing) in enumerate(
        zip(points.low, points.mean, points.high, points.missing, strict=True)
    ):
        inside = numbers[starts[i] : starts[i + 1]]
        finite = inside[np.isfinite(inside)]
        assert missing == len(inside) - len(finite)
        if not len(finite):
            assert np.isnan([low, mean, high]).all()
            continue
        assert (low, high) == (finite.min(), finite.max())
        assert low <= mean <= high
        with np.errstate(over="ignore"):
            expected = np.mean(finite / max(1, np.abs(finite).max())) * max(1, np.abs(finite).max())
        np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-12 * np.abs(finite).max())


# -- figures ---------------------------------------------------------------------------------------


def test_logging_is_quick(recorder):
    run = recorder.run()
    values = {f"value {i}": float(i) for i in range(10)}
    begun = time.thread_time()
    for step in range(5000):
        run.log(step, **values)
    assert (time.thread_time() - begun) / 5000 < 20e-6


@pytest.mark.slow
def test_ten_million_points_are_written_and_read(tmp_path):
    with experiments.Recorder(tmp_path) as recorder:
        run = recorder.run()
        for step in range(1_000_000):
            run.log(step, **{f"value {i}": float(step) for i in range(10)})
            if step % 100_000 == 0:
                run.flush()
        run.finish()
    stored = experiments.Reader(tmp_path).open(1)
    begun = time.process_time()
    for i in range(10):
        steps, values = stored.series(f"value {i}")
        assert len(steps) == 1_000_000
        assert values[-1] == 999_999
    assert time.process_time() - begun < 10
    assert recorder.path.stat().st_size < 250e6
    shutil.rmtree(tmp_path)


def test_a_writer_of_another_kind_of_file_does_not_make_tables(tmp_path):
    file = tmp_path / "empty.db"
    file.touch()
    connection = open_writing(file)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    connection.close()
