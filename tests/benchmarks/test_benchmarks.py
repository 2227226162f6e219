"""The benchmarks measure what they say: on tiny sizes, with no regard to the times."""

import json
import math
import operator
import platform
import re
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
import tracer_layers

from . import __main__ as command
from . import (
    curvature,
    floors,
    graphs,
    growth,
    imported,
    instruments,
    jacobian,
    optimizers,
    processes,
    programs,
    recording,
    scaling,
    sweep,
    tables,
    training,
    transformer,
)
from . import environment as environments
from . import page as pages
from .curvature import Cell
from .environment import Environment
from .floors import Map, Rates, Work
from .growth import Growth
from .history import CHANGES
from .measure import Goal, Row, once
from .networks import NETWORKS, gpt
from .processes import Memory, Taken
from .programs import with_autograd
from .results import Results, read

RATES = Rates(multiply_adds=1e9, copied=1e9)
#: programs whose solver goes on to a place that rounding, or a coarse tolerance, decides
LOOSE = {"deep_gaussian_process", "neural_ode"}
MEASURED = Results(
    *(Environment("2026-01-01", "2 cores", "OpenBLAS", "Python 3", {}), 60.0, RATES),
    rows={
        "sweep": [Row("sweep", 1e-6, {"NumPy": 1e-6, "trace-net": 2e-6, "PyTorch": "failed"})],
        "recording": [Row("record", 1e-3, {"trace-net": 2e-3}, (Goal(3e-3, "A"), Goal(1e-3, "B")))],
    },
    cells=[
        Cell("mlp", "grad", 1.0, 2.0, floor=0.5, our_memory=Memory(10, 20)),
        Cell("mlp", "kfac", 4.0, 2.0, our_memory=Memory(10, 20), peer_memory=Memory(20, 40)),
        Cell("lstm", "grad", 1.0, "not installed"),
        Cell("lstm", "batch_l2", "over 60 s", "not installed"),
    ],
    growth=[Growth("grad", {10: 1.0, 20: 2.0})],
    scaling=[Growth("kfac", {10: 1.0, 100: 100.0}, axis) for axis in scaling.SIZES],
)


def taken_here(steps, limit):
    """What `in_turn` returns, with each step run once and in this process."""
    return {name: Taken(once(prepare()), Memory(1, 2)) for name, prepare in steps.items()}


@pytest.fixture
def tiny(monkeypatch):
    """Every group at sizes that take no time."""
    tape, loop = graphs._long, graphs._recurrent
    for module, settings in {
        recording: {"LENGTH": 3, "REPEATS": 1},
        sweep: {"LENGTH": 3, "REPEATS": 1},
        jacobian: {"REPEATS": 1},
        programs: {"REPEATS": 1, "NAMES": ("own_rule",)},
        graphs: {
            "REPEATS": 1,
            "TIME": 20,
            "_long": lambda count: tape(30),
            "_recurrent": lambda nodes: loop(30),
        },
        transformer: {"SAMPLES": 2, "in_turn": taken_here},
        training: {
            "TRAINED": {name: replace(each, samples=2) for name, each in training.TRAINED.items()},
            "in_turn": taken_here,
        },
        optimizers: {"STEPS": 2, "in_turn": taken_here},
        growth: {"STEPS": (2, 3), "TURNS": 1, "TURN": 1e-3},
        scaling: {"SIZES": {"N": (2, 3), "V": (1, 2), "T": (2, 3), "depth": (2, 3)}, "TURNS": 1},
        curvature: {"in_turn": taken_here, "has_kernels": lambda: False},
        instruments: {
            "MEASURED": {"logreg": replace(NETWORKS["logreg"], samples=4)},
            "in_turn": taken_here,
        },
        imported: {
            "MODELS": {
                "GPT": replace(
                    NETWORKS["gpt"],
                    build=partial(gpt, blocks=1, width=8, heads=2, length=4),
                    samples=2,
                    shape=(4,),
                )
            },
            "in_turn": taken_here,
        },
        floors: {"MATRIX": 8, "COPIED": 64, "REPEATS": 1},
    }.items():
        for name, value in settings.items():
            monkeypatch.setattr(module, name, value)


def saved(tmp_path, results, name="results.json"):
    path = tmp_path / name
    path.write_text(results.text())
    return path


# -- programs -----------------------------------------------------------------------------------


def test_every_program_is_timed_but_what_draws_and_what_is_shared():
    there = {path.stem for path in programs.FOLDER.glob("*.py")}
    assert {*programs.NAMES, *programs.NOT_TIMED} == there


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Output seems independent of input")
@pytest.mark.parametrize("name", programs.NAMES)
def test_a_program_gives_the_same_figures_with_autograd(name):
    pytest.importorskip("autograd", reason="needs pip install 'trace-net[benchmarks]'")
    ours, theirs = (each.figures(name)() for each in (programs.Programs(), with_autograd()))
    assert ours.keys() == theirs.keys()
    if name not in LOOSE:
        assert programs.agree(ours, theirs)


# -- the command --------------------------------------------------------------------------------


def test_every_group_is_measured_and_saved_and_read(tiny, tmp_path, capsys):
    command.main(["--network", "logreg", "--quantity", "grad", "--quantity", "kfac", "--json"])
    text = capsys.readouterr().out
    (tmp_path / "all.json").write_text(text)
    results = read(tmp_path / "all.json")
    assert results.text() + "\n" == text
    assert list(results.rows) == list(command.GROUPS)
    times = [row.seconds["trace-net"] for rows in results.rows.values() for row in rows]
    assert all(seconds > 0 for seconds in times)
    assert [(cell.network, cell.quantity) for cell in results.cells] == [
        ("logreg", "grad"),
        ("logreg", "kfac"),
    ]
    assert {line.axis for line in results.scaling} == {"N", "V", "T", "depth"}
    assert {line.quantity for line in results.growth} >= {"grad", "kflr", "diag_h", "batch_dot"}
    page = pages.page(results)
    for row in results.rows["training"]:
        assert row.what in page


def test_a_run_is_kept_and_its_page_and_pictures_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    for folder in ("reference", "images"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    monkeypatch.setattr(pages, "RUNS", tmp_path / "runs")
    command.main(["--from", str(saved(tmp_path, MEASURED)), "--write"])
    later = replace(MEASURED.environment, date="2026-01-02")
    command.main(["--from", str(saved(tmp_path, replace(MEASURED, environment=later))), "--write"])
    page = (tmp_path / "reference" / "benchmarks.md").read_text()
    assert "Measured on 2026-01-02, in one run: 2 cores, OpenBLAS, 2 threads, Python 3" in page
    assert re.findall(r"^\| (2026-01-0\d) \|", page, re.MULTILINE) == ["2026-01-01", "2026-01-02"]
    assert read(tmp_path / "runs" / "2026-01-01.json") == MEASURED
    assert sorted(each.name for each in (tmp_path / "images").iterdir()) == [
        "overhead.svg",
        "scaling.svg",
    ]
    assert capsys.readouterr().out == ""


def test_kernels_that_are_forced_are_warned_of():
    environment = MEASURED.environment
    assert environments.warning(environment) is None
    forced = replace(environment, settings={"OPENBLAS_CORETYPE": "Haswell"})
    assert "`env -u OPENBLAS_CORETYPE python -m tests.benchmarks`" in environments.warning(forced)
    assert "`OPENBLAS_CORETYPE=Haswell`" in forced.text


def test_where_it_was_measured_is_told_without_a_name():
    here = environments.here()
    assert re.search(r"\d+ cores", here.processor)
    assert "NumPy" in here.linear_algebra or "kernels for" in here.linear_algebra
    assert platform.node() not in here.text


@pytest.mark.oracle
@pytest.mark.parametrize("quantity", imported.QUANTITIES)
@pytest.mark.filterwarnings("ignore")
def test_an_imported_network_and_the_written_one_have_the_same_quantities(tiny, quantity, tmp_path):
    pytest.importorskip("torch")
    (model,) = imported.MODELS.values()
    imported.export(model, tmp_path / "net.pt2")
    steps = imported.steps(model, tmp_path / "net.pt2", quantity)
    found = []
    for column in ("trace-net", "written"):
        step = steps[column]()
        tracer.seed(0)
        found.append({name: factors_of(value) for name, value in step()[quantity].items()})
    first, second = found
    assert set(first) == set(second)
    for name, values in first.items():
        for ours, written in zip(values, second[name], strict=True):
            np.testing.assert_allclose(ours, written, rtol=1e-4, atol=1e-7)
    theirs = steps["torch.func"]()() if quantity == "batch_l2" else {}
    for name, value in theirs.items():
        np.testing.assert_allclose(first[name][0], value.numpy(), rtol=1e-3, atol=1e-7)


def factors_of(value):
    """The arrays of a quantity of a parameter."""
    return getattr(value, "factors", (value,))


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_rows_of_imported_networks_have_a_bound(tiny, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(imported, "EXTENSIONS", {})  # BackPACK cannot convert this network
    rows = list(imported.rows())
    assert [row.what for row in rows] == [f"GPT, `{name}`" for name in imported.QUANTITIES]
    assert all(row.goals for row in rows)
    table = tables.everything(replace(MEASURED, rows={"imported": rows}))
    assert all(title in table for title in imported.COLUMNS.values())


def test_saved_numbers_are_chosen_by_group_network_and_quantity(tmp_path, capsys):
    command.main(["--from", str(saved(tmp_path, MEASURED)), "curvature", "--network", "mlp"])
    text = capsys.readouterr().out
    assert re.findall(r"^\| (\w+) +\| `(\w+)`", text, re.MULTILINE) == 2 * [
        ("mlp", "grad"),
        ("mlp", "kfac"),
    ]
    assert "exponent" not in text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--from", "nothing.json"], "expected a file with what --json printed"),
        (["--plot", "a.svg"], "name either of curvature, scaling"),
        (["--plot", "a.svg", "curvature", "scaling"], "name either of curvature, scaling"),
        (["bicycle"], "expected one of recording"),
        (["sweep", "--write"], "leave out what chooses parts"),
    ],
)
def test_a_wrong_command_is_an_error_that_says_what_to_do(words, problem, capsys):
    with pytest.raises(SystemExit):
        command.main(words)
    assert problem in capsys.readouterr().err


# -- results ------------------------------------------------------------------------------------


def test_results_are_the_same_after_reading(tmp_path):
    assert read(saved(tmp_path, MEASURED)) == MEASURED


def test_what_was_derived_is_in_the_json_too():
    first, second, *_ = json.loads(MEASURED.text())["cells"]
    assert (first["ratio"], first["above_floor"], first["memory_ratio"]) == (0.5, 2.0, None)
    assert (second["memory_ratio"], second["growth_ratio"]) == (0.5, 0.5)


# -- tables -------------------------------------------------------------------------------------


def test_means_are_geometric_over_the_cells_that_both_have():
    text = tables.times_table(MEASURED.cells)
    means = re.findall(r"^\| (\w+) +\| \*\*mean\*\* .*?\*\*(\S+)\*\*", text, re.MULTILINE)
    assert means == [("mlp", "1.00"), ("lstm", "none"), ("all", "1.00")]
    assert re.search(r"\| +over 60 s \| +\| +not installed \|", text)


def test_cells_above_the_peer_are_counted():
    text = tables.summary(MEASURED.cells)
    assert text.startswith("Above the peer: 1 of 2 cells in time, 0 of 1 cells in memory. Quan")
    assert "take 2.00 of the peer's" in text
    assert text.endswith("no compiled kernels in this run.")
    faster = tables.summary([replace(cell, compiled=1.0) for cell in MEASURED.cells[:2]])
    assert "0 of 2 cells in time with compiled kernels" in faster


def test_each_goal_says_whether_it_is_reached():
    (row,) = MEASURED.rows["recording"]
    assert tables.row_line(row)[-2:] == ("A; B", "yes; no")


def test_the_exponent_is_that_of_the_power_law():
    assert Growth("grad", {n: 3.0 * n**1.5 for n in (10, 20, 50)}).exponent == pytest.approx(1.5)


# -- pictures -----------------------------------------------------------------------------------


@pytest.fixture
def drawn(tmp_path):
    """The picture of a group of `MEASURED`, as text."""
    pytest.importorskip("matplotlib")

    def draw(group):
        words = ["--from", str(saved(tmp_path, MEASURED)), group]
        command.main([*words, "--plot", str(tmp_path / "a.svg")])
        return (tmp_path / "a.svg").read_text()

    return draw


def test_overhead_is_drawn_relative_to_the_gradient(drawn):
    picture = drawn("curvature")
    for text in ("mlp", "kfac", "4.0", "1.0", "over 60 s", "not installed"):
        assert re.search(f"> ?{re.escape(text)}<", picture), text


def test_scaling_is_drawn_with_exponents_and_for_dark_pages(drawn):
    picture = drawn("scaling")
    assert ">kfac: 2.00<" in picture
    assert ">layers<" in picture
    assert "@media (prefers-color-scheme:dark)" in picture
    assert drawn("scaling") == picture


def test_times_over_the_gradient_need_the_gradient(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = ["--from", str(saved(tmp_path, MEASURED)), "curvature", "--quantity", "kfac"]
    with pytest.raises(SystemExit):
        command.main([*words, "--plot", str(tmp_path / "a.svg")])
    assert "times over that of grad" in capsys.readouterr().err


# -- processes ----------------------------------------------------------------------------------


def test_a_step_is_timed_in_a_process_of_its_own_with_its_peak_memory(monkeypatch):
    monkeypatch.setattr(processes, "TURNS", 1)
    size = 64 << 20
    took = processes.in_turn(
        {
            "filled": partial(partial, operator.mul, b"x", size),
            "failed": partial(partial, operator.truediv, 1, 0),
        },
        60.0,
    )
    assert took["failed"] == Taken("failed")
    assert 0 < took["filled"].seconds < 60
    if processes.STATUS.exists():
        # the system counts pages a few dozen at a time
        assert 0.99 * size < took["filled"].memory.growth < 1.1 * size


def test_a_step_over_its_limit_has_no_time():
    asleep = partial(partial, time.sleep, 60)
    assert processes.in_turn({"asleep": asleep}, 0.1)["asleep"] == Taken("over 0.1 s")


# -- floors -------------------------------------------------------------------------------------


def test_the_maps_of_a_convolutional_network():
    assert list(floors.maps(NETWORKS["2c2d"])) == [
        Map(25, 32, 784, True, (5, 5)),
        Map(800, 64, 196, False, (5, 5)),
        Map(3136, 1024, 1, False),
        Map(1024, 10, 1, False),
    ]


def test_the_maps_of_a_recurrent_network_are_its_input_its_state_and_its_read_out():
    assert list(floors.maps(NETWORKS["lstm"])) == [
        Map(32, 256, 50, True),
        Map(64, 256, 50, False),
        Map(3200, 10, 1, False),
    ]


@pytest.mark.parametrize("name", floors.HEAVY)
def test_products_of_the_forward_pass_are_those_that_are_recorded(name):
    network = replace(NETWORKS[name], samples=2)
    model, (x, _) = network.build(tracer_layers), network.data()
    with tracer.Tape() as tape:
        model(x)
    recorded = sum(node.op.flops(node) for node in tape.recorded() if node.op.flops)
    counted = 2 * network.samples * sum(each.product for each in floors.maps(network))
    assert 0.9 * recorded < counted <= recorded


def test_the_gradient_takes_three_products_of_each_map_but_the_first():
    first, *others = [784 * 1000, 1000 * 500, 500 * 100, 100 * 10]
    assert floors.work("mlp", "grad") == Work(
        128 * (2 * first + 3 * sum(others)), 4 * (first + sum(others))
    )


@pytest.mark.parametrize("quantity", curvature.QUANTITIES)
def test_every_quantity_has_a_floor_at_the_rates_that_were_measured(quantity):
    counted = floors.work("3c3d", quantity)
    assert counted.seconds(RATES) == counted.multiply_adds / 1e9 + counted.written / 1e9
    assert floors.work("mlp", "batch_l2").multiply_adds < counted.multiply_adds


@given(
    channels=st.integers(1, 60),
    outputs=st.integers(1, 60),
    positions=st.integers(1, 60),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    rows=st.integers(1, 12),
)
def test_floors_never_exceed_the_plain_forms(channels, outputs, positions, window, rows):
    inputs = channels * math.prod(window)
    each = Map(inputs, outputs, positions, False, window)
    assert each.norms() <= each.product
    assert each.squares(rows) <= rows * each.product
    assert each.factors(rows) <= positions * (inputs**2 + rows * outputs**2)
    assert each.squares(rows) <= each.squares(rows + 1)


def test_the_history_is_of_what_made_it_faster():
    assert all(change.after < change.before for change in CHANGES)
    lines = [" ".join(line.split()) for line in tables.history_table().splitlines()]
    assert len(lines) == len(CHANGES) + 2
    assert "| The same | `grad`, GRU | 13 | 7.7 | 0.59 |" in lines


@pytest.mark.slow
def test_what_a_shard_sends_is_a_table(capsys):
    command.main(["scale", "bytes"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "## bytes"
    assert lines[2] == "| quantity | bytes of a shard |"
    assert sum(line.startswith("| kflr |") for line in lines) == 1
