"""`trace-net runs`: what is printed, exported and drawn is what was recorded."""

import csv
import io
import json
import math
import sqlite3
import sys

import numpy as np
import pytest

import tracer_experiments as experiments
from trace_net.main import main
from tracer_experiments import printing
from tracer_experiments.commands import fields
from tracer_experiments.plots import curves

MARKED = "<b>x</b> [red]"


@pytest.fixture
def runs(command):
    """Four runs in the folder `runs`: two of one name, one that failed."""
    with experiments.Recorder("runs") as recorder:
        for number, (lr, optimizer) in enumerate([(0.1, "sgd"), (0.01, "sgd"), (1.0, "adamw")]):
            config = {"lr": lr, "optimizer": optimizer, "epochs": 2}
            run = recorder.run(f"run{number}", config, group="g" if number else "", seed=number)
            with run:
                for step in range(20):
                    value = math.nan if step == 7 and not number else lr / (step + 1)
                    run.log(step, loss=value, **{MARKED: float(step)})
                    if step % 10 == 9:
                        run.log(step, epoch=step // 10 + 1, test_loss=lr)
                run.log(19, weights=np.arange(5.0))
                run.describe("loss", experiments.Chart(title="Loss $1", unit="nats"))
        run = recorder.run("run0", {"lr": 2.0})
        run.log(0, loss=3.0)
        run.finish("failed", "ValueError: boom\x1b[31m")
    return command


def listed(outcome):
    """The lines of a table below its head, in columns."""
    return [line.split() for line in outcome.out.splitlines()[3:] if line.strip()]


def names(outcome):
    return [run["name"] for run in json.loads(outcome.out)["runs"]]


def test_the_list_has_a_line_for_each_run(runs):
    outcome = runs("runs")
    head = outcome.out.splitlines()[1].split()
    assert head[:5] == ["id", "name", "status", "steps", "loss"]
    assert {"lr", "optimizer", "test_loss", "group", "seconds", "begun"} <= set(head)
    lines = listed(outcome)
    assert [line[:3] for line in lines] == [
        ["1", "run0", "finished"],
        ["2", "run1", "finished"],
        ["3", "run2", "finished"],
        ["4", "run0", "failed"],
    ]
    assert lines[0][3:5] == ["20", "0.005"]
    assert outcome.out == runs("runs", "list").out == runs("runs", "runs").out
    assert outcome.out == runs("runs", "list", "runs/runs.db").out


def test_settings_that_are_the_same_are_no_columns(runs):
    head = runs("runs", "--group", "g").out.splitlines()[1].split()
    assert "lr" in head
    assert "epochs" not in head


def test_the_list_as_json(runs):
    document = json.loads(runs("runs", "--json").out)
    assert (document["schema_version"], document["command"]) == (1, "runs list")
    assert [run["id"] for run in document["runs"]] == [1, 2, 3, 4]
    first = document["runs"][0]
    assert first["config"] == {"lr": 0.1, "optimizer": "sgd", "epochs": 2}
    assert (first["status"], first["steps"], first["last"]["loss"]) == ("finished", 20, 0.005)
    assert "boom" in document["runs"][3]["error"]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (["lr<0.1"], ["run1"]),
        (["lr<=0.1"], ["run0", "run1"]),
        (["lr > 0.1"], ["run2", "run0"]),
        (["optimizer=sgd"], ["run0", "run1"]),
        (["optimizer==adamw"], ["run2"]),
        (["optimizer!=sgd"], ["run2", "run0"]),
        (["status!=failed", "lr>=0.1"], ["run0", "run2"]),
        (["name~^run[12]"], ["run1", "run2"]),
        (["steps<10"], ["run0"]),
        (["test_loss=0.01"], ["run1"]),
        (["optimizer<b"], ["run2"]),
        (["seed=2"], ["run2"]),
        (["group=g", "id>2"], ["run2"]),
        (["lr<0"], []),
    ],
)
def test_runs_are_chosen_by_filters(runs, filters, wanted):
    options = [part for each in filters for part in ("--filter", each)]
    assert names(runs("runs", "list", "--json", *options)) == wanted


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("lr", [2, 1, 3, 4]),
        ("-lr", [4, 3, 1, 2]),
        ("optimizer", [3, 1, 2, 4]),
        ("test_loss", [2, 1, 3, 4]),
        ("-name", [3, 2, 1, 4]),
        ("loss", [2, 1, 3, 4]),
    ],
)
def test_runs_are_sorted_and_those_without_a_value_come_last(runs, key, wanted):
    document = json.loads(runs("runs", "--json", "--sort", key).out)
    assert [run["id"] for run in document["runs"]] == wanted


def test_columns_are_chosen(runs):
    outcome = runs("runs", "list", "--columns", "lr,loss")
    assert outcome.out.splitlines()[1].split() == ["id", "name", "lr", "loss"]


def test_a_list_fits_a_narrow_terminal(runs, monkeypatch):
    whole = runs("runs").out
    monkeypatch.setattr(printing, "PIPE_WIDTH", 60)
    outcome = runs("runs")
    widths = [len(line.rstrip()) for line in outcome.out.splitlines()]
    assert max(widths) <= 60 < max(len(line.rstrip()) for line in whole.splitlines())
    assert outcome.out.splitlines()[1].split()[:4] == ["id", "name", "status", "steps"]
    assert "seconds, begun: --columns chooses" in outcome.err


def test_a_run_is_shown_with_its_curves(runs):
    out = runs("runs", "show", "run1").out
    assert out.startswith("run 2  run1, group g  finished, begun ")
    assert ["optimizer", "sgd"] in [line.split() for line in out.splitlines()]
    assert "versions.numpy" in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["loss"]]
    assert line.split()[1:7] == ["number", "20", "19", "0.0005", "0.0005", "0.01"]
    assert line.split()[7][0] == "█"
    assert MARKED in out  # no markup of the console's
    assert runs("runs", "show", "2").out == out


def test_an_error_is_shown_without_moving_the_cursor(runs):
    out = runs("runs", "show", "4").out
    assert "error: ValueError: boom\\x1b[31m" in out
    assert "\x1b" not in out


def test_a_run_as_json(runs):
    document = json.loads(runs("runs", "show", "1", "--json").out)
    assert document["series"]["loss"]["kind"] == "number"
    assert document["series"]["loss"]["chart"]["unit"] == "nats"
    assert document["series"]["weights"]["kind"] == "histogram"
    assert document["series"][MARKED]["last"] == 19


def test_a_name_that_two_runs_have_lists_their_ids(runs):
    outcome = runs("runs", "show", "run0", code=2)
    assert outcome.line("error:").endswith("name one by its id, 1, 4")


def test_what_differs_between_runs_comes_first(runs):
    out = runs("runs", "compare", "run1", "run2", "1").out
    places = [out.index(title) for title in (
        "settings that differ", "last values", "best values", "environment that differs",
        "settings that are the same")]  # fmt: skip
    assert places == sorted(places)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["lr"] == ["0.01", "1", "0.1"]
    assert rows["optimizer"] == ["sgd", "adamw", "sgd"]
    assert rows["seed"] == ["1", "2", "0"]
    assert rows["epochs"] == ["2", "2", "2"]


@pytest.mark.parametrize("width", [40, 50, 80])
def test_a_comparison_fits_a_narrow_terminal(runs, monkeypatch, width):
    """Names of settings and every value are there; runs that do not fit beside others are below."""
    monkeypatch.setattr(printing, "PIPE_WIDTH", width)
    out = runs("runs", "compare", "1", "2", "3", "4").out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= width
    found = [line.split() for line in out.splitlines()]
    rates = [words[1:] for words in found if words[:1] == ["lr"]]
    assert [rate for line in rates for rate in line] == ["0.1", "0.01", "1", "2"]
    assert (len(rates) > 1) == (width < 80)


@pytest.mark.parametrize(("width", "curve"), [(1000, 20), (89, 8), (60, 0)])
def test_a_run_is_shown_in_a_narrow_terminal(runs, monkeypatch, width, curve):
    """A series is one line: its curve takes the room that is left, and no number is cut."""
    monkeypatch.setattr(printing, "PIPE_WIDTH", width)
    outcome = runs("runs", "show", "run1")
    table = outcome.out[outcome.out.index(" series") :].splitlines()
    assert max(len(line.rstrip()) for line in table) <= width
    (line,) = [line.split() for line in table if line.split()[:1] == ["loss"]]
    assert line[1:5] == ["number", "20", "19", "0.0005"]
    drawn = [word for word in line if word[0] in printing.HEIGHTS]
    assert [len(word) for word in drawn] == [curve] * bool(curve)
    assert ("too narrow for" in outcome.err) == (not curve)


def test_a_comparison_as_json(runs):
    document = json.loads(runs("runs", "compare", "1", "4", "--json").out)
    assert document["differing"] == {
        "lr": [0.1, 2.0],
        "optimizer": ["sgd", None],
        "epochs": [2, None],
    }
    assert document["last"]["loss"] == [0.005, 3.0]
    assert document["best"]["loss"] == [0.005, 3.0]
    assert [run["id"] for run in document["runs"]] == [1, 4]


def test_the_path_is_the_last_argument_or_an_option(runs, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert "run1" in runs("runs", "show", "run1", "elsewhere").out
    assert "run1" in runs("runs", "compare", "run1", "run2", "elsewhere").out
    assert "run1" in runs("runs", "compare", "run1", "run2", "--path", "elsewhere/runs.db").out
    assert runs("runs", "export", "elsewhere", "-o", "-").out.count("run1") == 20
    runs("runs", "plot", "loss", "elsewhere", "-o", "loss.svg")
    runs("runs", "remove", "run1", "elsewhere", "--yes")
    assert names(runs("runs", "list", "elsewhere", "--json")) == ["run0", "run2", "run0"]


# -- taken elsewhere -----------------------------------------------------------------------------


def test_runs_as_a_table(runs):
    rows = list(csv.DictReader(io.StringIO(runs("runs", "export", "1", "2").out)))
    assert len(rows) == 40
    first, second = rows[:20], rows[20:]
    assert {row["run"] for row in second} == {"2"}
    assert [float(row["loss"]) for row in second] == [0.01 / (n + 1) for n in range(20)]
    assert first[7]["loss"] == "nan"
    assert [row["test_loss"] for row in first] == [*[""] * 9, "0.1", *[""] * 9, "0.1"]
    assert "weights" not in rows[0]


def test_runs_as_json_lines(runs):
    runs("runs", "export", "-o", "all.jsonl")
    with open("all.jsonl") as file:
        found = [json.loads(line) for line in file]
    assert [each["name"] for each in found if each["kind"] == "run"] == [
        "run0", "run1", "run2", "run0"]  # fmt: skip
    loss = next(each for each in found if each["name"] == "loss")
    assert loss["steps"] == list(range(20))
    assert loss["values"][7] == "NaN"
    weights = next(each for each in found if each["name"] == "weights")
    assert weights["counts"] == [np.histogram(np.arange(5.0), 64)[0].tolist()]
    assert len(weights["edges"][0][0]) == 65


def test_runs_as_arrays(runs):
    runs("runs", "export", "1", "4", "-o", "two.npz")
    with np.load("two.npz") as arrays:
        about = json.loads(str(arrays["runs"]))
        assert [each["id"] for each in about] == [1, 4]
        wanted = 0.1 / np.arange(1, 21)
        wanted[7] = np.nan
        np.testing.assert_array_equal(arrays["1/loss/values"], wanted)
        np.testing.assert_array_equal(arrays["1/loss/steps"], np.arange(20))
        assert arrays["1/weights/counts"].shape == (1, 64)
        assert arrays["1/weights/edges"].shape == (1, 65)
        assert arrays["4/loss/values"].tolist() == [3.0]


def test_a_file_is_written_whole_or_not_at_all(runs, tmp_path):
    (tmp_path / "file").write_text("kept")
    outcome = runs("runs", "export", "-o", "file/x.csv", code=2)
    assert outcome.line("error:").startswith("error: cannot write file/x.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


# -- drawn ---------------------------------------------------------------------------------------


def test_a_figure_has_a_panel_for_each_series_and_a_line_for_each_run(runs):
    found = experiments.Reader("runs").runs()[:3]
    figure = curves.curves(found, "loss", "test_loss")
    loss, test = figure.axes
    assert [line.get_label() for line in loss.lines if line.get_label()[0] != "_"] == [
        "run0 (1)", "run1 (2)", "run2 (3)"]  # fmt: skip
    assert loss.get_title() == r"Loss \$1"
    assert loss.get_ylabel() == "nats"
    line = next(line for line in loss.lines if line.get_label() == "run1 (2)")
    np.testing.assert_array_equal(line.get_xdata(), np.arange(20))
    np.testing.assert_array_equal(line.get_ydata(), 0.01 / np.arange(1, 21))
    assert test.get_title() == "test_loss"


def test_a_value_that_is_not_finite_is_a_gap_with_a_mark(runs):
    (axes,) = curves.curves(experiments.Reader("runs").runs()[:1], "loss").axes
    line, marks = axes.lines
    assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [7]
    assert marks.get_xdata().tolist() == [7]


def test_curves_stand_along_steps_epochs_or_seconds(runs):
    run = experiments.Reader("runs").runs()[:1]
    for x, label in (("step", "step"), ("epoch", "epoch"), ("time", "seconds")):
        (axes,) = curves.curves(run, "loss", x=x).axes
        assert axes.get_xlabel() == label
    np.testing.assert_allclose(
        curves.epochs_of(np.array([0, 4, 8, 12, 18]), np.array([8.0, 16]), np.array([1.0, 2])),
        [0, 0.5, 1, 1.5, 2.25],
    )


def test_a_smooth_curve_is_the_weighted_mean_of_the_past():
    values = np.array([1.0, np.nan, 3.0, -2.0])
    found = curves.smoothed(values, 0.5)
    wanted = [1.0, np.nan, (0.5 * 1 + 3) / 1.5, (0.25 * 1 + 0.5 * 3 - 2) / 1.75]
    np.testing.assert_allclose(found, wanted)
    np.testing.assert_array_equal(curves.smoothed(values, 0.0), values)
    np.testing.assert_array_equal(curves.smoothed(np.full(99, 0.1), 0.9), np.full(99, 0.1))


def test_the_names_of_many_runs_cover_no_curve(tmp_path):
    with experiments.Recorder(tmp_path) as recorder:
        for number in range(12):
            with recorder.run(f"run{number}") as run:
                run.log(0, loss=1.0)
        figure = curves.curves(recorder.runs(), "loss")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert not axes.get_legend().get_window_extent().overlaps(axes.get_window_extent())
    assert len({tuple(line.get_color()) for line in axes.lines}) == 12


@pytest.mark.parametrize(
    ("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_figures_are_written_as_files(runs, suffix, magic, tmp_path):
    options = ("--smooth", "0.5", "--log", "--run", "1", "--x", "epoch")
    runs("runs", "plot", "loss", MARKED, "-o", f"a.{suffix}", *options)
    assert (tmp_path / f"a.{suffix}").read_bytes().startswith(magic)


def test_the_instruments_of_a_run_are_drawn(runs, tmp_path):
    runs("runs", "plot", "--cockpit", "run1", "-o", "all.png")
    runs("runs", "plot", "--cockpit", "2", "loss", "--path", "runs", "-o", "one.svg")
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    assert "Loss $1" in (tmp_path / "one.svg").read_text()
    assert "no instruments" in runs("runs", "plot", "--cockpit", "4", code=2).line("error:")


def test_the_same_figure_is_the_same_file(runs):
    out = runs("runs", "plot", "loss", "-o", "-").out
    assert runs("runs", "plot", "loss", "-o", "-").out == out


def test_without_matplotlib_one_is_told_what_to_install(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = runs("runs", "plot", "loss", code=2)
    assert outcome.line("hint:") == "hint: pip install 'trace-net[plot]'"


def test_names_in_a_figure_are_text(runs):
    out = runs("runs", "plot", MARKED, "-o", "-").out
    assert "&lt;b&gt;x&lt;/b&gt; [red]" in out
    assert "<b>" not in out


# -- removed -------------------------------------------------------------------------------------


def test_runs_are_removed_where_one_says_so(runs, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert "nothing is removed" in runs("runs", "remove", "run1").err
    assert "interrupted" in runs("runs", "remove", "run1", code=130).err  # nobody is there to ask
    assert names(runs("runs", "--json")) == ["run0", "run1", "run2", "run0"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "removed 2 'run1'" in runs("runs", "remove", "run1").err
    runs("runs", "remove", "1", "4", "--yes")
    assert names(runs("runs", "--json")) == ["run2"]


def test_a_run_that_is_running_is_removed_by_force_alone(runs):
    with experiments.Recorder("runs") as recorder:
        recorder.run("busy").log(0, loss=1.0)
        outcome = runs("runs", "remove", "busy", "--yes", code=2)
        assert "the run 5 'busy' is running" in outcome.line("error:")
        assert "--force" in outcome.line("hint:")
        runs("runs", "remove", "busy", "--yes", "--force")
    assert "busy" not in names(runs("runs", "--json"))


# -- what makes no sense -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--filter", "lr"), "a name, a sign and a value"),
        (
            ("list", "--filter", "optimiser=a"),
            "'optimiser', which no run has. Did you mean 'optimizer'",
        ),
        (("list", "--filter", "name~("), "no regular expression"),
        (("list", "--sort", "-los"), "'los', which no run has. Did you mean 'loss'"),
        (("list", "--columns", "lr,x"), "'x', which no run has"),
        (("list", "--group", "h"), "no run is of the group 'h'"),
        (("show", "run9"), "no run is called 'run9'"),
        (("show", "99"), "there is no run 99"),
        (("compare", "run1"), "two runs or more"),
        (("compare", "run1", "2"), "two runs or more"),
        (("plot",), "none is named"),
        (("plot", "nothing"), "no run has a series 'nothing' of numbers; there are loss"),
        (("plot", "weights"), "no run has a series 'weights' of numbers"),
        (("plot", "loss", "-o", "loss.txt"), "png, svg, pdf"),
        (("plot", "loss", "--x", "day"), "x is one of step, epoch, time"),
        (("plot", "loss", "--smooth", "1"), "below 1"),
        (("plot", "loss", "--run", "4", "--x", "epoch"), "no series 'epoch'"),
        (("plot", "loss", "--group", "h"), "no runs to draw"),
        (("export", "-o", "a.xls"), "csv, jsonl, npz"),
        (("export", "run9"), "There are 4 runs: 'run0', 'run1', 'run2'"),
        (("remove", "run9", "--yes"), "no run is called 'run9'"),
        (("shwo",), "No such command 'shwo'"),
        (("list", "nowhere"), "there are no runs in 'nowhere'"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_a_hint(runs, arguments, said):
    outcome = runs("runs", *arguments, code=2)
    assert said in outcome.line("error:")
    assert outcome.line("hint:")
    assert outcome.out == ""


def newer(file):
    with experiments.Recorder(file):
        pass
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def of_something_else(file):
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE songs (id)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (newer, "newer trace-net"),
        (of_something_else, "something else"),
        (lambda file: file.write_bytes(b"no database" * 1000), "cannot be read"),
        (lambda file: file.write_bytes(b""), "no runs"),
        (lambda file: file.mkdir(), "no runs"),
    ],
)
@pytest.mark.parametrize("command_name", ["list", "show 1", "compare 1 2", "plot loss", "export"])
def test_a_database_that_cannot_be_read_is_left_as_it_is(
    command, tmp_path, make, said, command_name
):
    file = tmp_path / "runs.db"
    make(file)
    before = file.read_bytes() if file.is_file() else None
    first, *rest = command_name.split()
    option = ("runs.db",) if first == "list" else ("--path", "runs.db")
    arguments = (*rest, "runs.db") if first == "show" else (*rest, *option)
    outcome = command("runs", first, *arguments, code=2)
    assert said in outcome.line("error:")
    assert outcome.line("hint:")
    if before is not None:
        assert file.read_bytes() == before


@pytest.mark.parametrize("seed", range(6))
def test_of_a_damaged_database_what_can_be_read_is_taken(command, seed, tmp_path):
    with experiments.Recorder("runs") as recorder:
        for number in range(3):
            with recorder.run(f"run{number}", {"lr": 0.1}) as run:
                for step in range(4000):
                    run.log(step, loss=1.0, test_loss=2.0)
    file = tmp_path / "runs" / "runs.db"
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(seed)
    for page in rng.choice(np.arange(4, len(content) // 8192), 2, replace=False):
        content[page * 8192 : (page + 1) * 8192] = rng.bytes(8192)
    file.write_bytes(content)
    said = []
    for arguments in (
        ("list",),
        ("show", "1"),
        ("compare", "1", "2"),
        ("export",),
        ("plot", "loss"),
    ):
        (tmp_path / "runs" / "runs.db-shm").unlink(missing_ok=True)
        code = main(["runs", *arguments])
        assert code in (0, 2)
        said.append(code)
    assert 0 in said
    assert file.read_bytes() == content


def test_a_database_without_runs_is_an_empty_list(command):
    experiments.Recorder("runs").close()
    outcome = command("runs")
    assert (outcome.out, outcome.err) == (
        "",
        "trace-net: there are no runs yet in 'runs/runs.db'\n",
    )
    assert json.loads(command("runs", "--json").out)["runs"] == []
    assert "no runs to draw" in command("runs", "plot", "loss", code=2).err


def test_numbers_compare_with_numbers_alone():
    assert not fields.passes("sgd", "<", "1")
    assert not fields.passes(None, "=", "null x")
    assert fields.passes(True, "=", "true")
    assert not fields.passes(None, "<", "1")
    assert fields.passes("1e-3", "=", "1e-3")


def test_a_curve_as_letters():
    assert printing.sparkline(np.arange(8.0)) == "▁▂▃▄▅▆▇█"
    assert printing.sparkline(np.array([1.0, np.nan, 2.0])) == "▁!█"
    assert printing.sparkline(np.full(3, np.inf)) == "!!!"
    assert printing.sparkline(np.ones(4)) == "▁▁▁▁"
    assert printing.sparkline(np.full(1380, 0.1)) == "▁" * 24  # no rounding of a mean is a step
    assert len(printing.sparkline(np.arange(1000.0))) == 24
    assert printing.sparkline(np.array([])) == ""
