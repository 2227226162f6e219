"""The report: the page with its data inside, which is looked at without a server."""

import base64
import json
import re
import subprocess
import sys

import board_runs
import numpy as np
import pytest
from test_board_server import tables

import tracer
import tracer_layers as nn
from tracer_experiments import Reader
from tracer_experiments.board import pictures, report


def silent(words):
    """Nobody is told what is done."""


def held(text):
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data[1])["held"]


@pytest.fixture(scope="module")
def three(few):
    reader = Reader(few)
    return report(reader, reader.runs()[:3], "Three <runs>", silent)


@pytest.fixture
def shown(page, three, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(three)

    def begin(fragment=""):
        page.open(file.as_uri(), fragment)
        return page

    return begin


def test_what_is_done_is_told_in_few_lines(few):
    told, reader = [], Reader(few)
    report(reader, reader.runs()[:3], "Three", told.append)
    assert told == ["reading 3 runs", "drawing the graphs of 3 runs"]


def test_a_picture_of_a_deep_network_does_not_tell_of_options_of_a_command(caplog):
    blocks = [nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(60)]
    with tracer.Tape() as tape:
        nn.Sequential(*blocks)(np.ones((1, 2), np.float32))
    assert b"</svg>" in pictures.picture(tape.graph())[0]
    assert caplog.text == ""


def test_it_holds_the_series_by_every_axis(three, few):
    data = held(three)
    assert data["overview"]["ids"] == [1, 2, 3]
    found = tables(base64.b64decode(data["curves"]["Loss"]))
    run = Reader(few).open(2)
    table = next(table for table in found if table["run"] == 2)
    steps, values = run.series("Loss")
    np.testing.assert_array_equal(table["step"], steps)
    np.testing.assert_allclose(table["mean"], values, rtol=1e-6)
    np.testing.assert_allclose(table["epoch"], steps / 50, rtol=1e-6)
    np.testing.assert_allclose(table["time"], run.times("Loss"), rtol=1e-6, atol=1e-6)


def test_it_names_no_other_place_and_loads_nothing(three):
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', three)[1]
    assert "default-src &#x27;none&#x27;" in policy
    assert "unsafe" not in policy
    assert set(re.findall(r"https?://[\w./]*", three)) <= {"http://www.w3.org/2000/svg"}
    assert "<title>Three &lt;runs&gt;</title>" in three


def test_every_view_is_there_without_a_server(shown):
    page = shown()
    page.drawn("line:Loss", 3)
    assert page.find("#state").text == "report"
    for view in ("cockpit", "table", "compare", "model"):
        page.find(f"[data-view={view}]").click()
        page.until("return !document.querySelector(`#view-${arguments[0]}`).hidden", view)
    page.until("return document.querySelector('#view-model img').naturalWidth > 100")
    assert page.until("return document.querySelectorAll('.layers li').length === 6")


def test_axes_and_zoom_without_a_server(shown):
    page = shown("axis=epoch&span=0.5+1")
    page.drawn("line:Loss", 3)
    assert page.run("return page.cardsInSight()[0].plot.curves[0].x[100]") == pytest.approx(2)


def test_pictures_of_all_kinds_without_a_server(shown):
    page = shown()
    page.drawn("line:Loss", 3)
    page.until(
        "return arguments[0].querySelector('output').textContent === 'step 110'",
        page.card("histogram:GradHist1d"),
    )
    image = page.card("image:filters")
    page.until("return arguments[0].querySelector('img').naturalWidth === 12", image)
    page.find("[data-view=compare]").click()
    page.until("return document.querySelector('.graphs img')?.naturalWidth > 100")
    assert not [each for each in page.texts(".note") if "not in the report" in each]


def test_the_command_writes_chosen_runs(command, few, tmp_path):
    done = command("board", few, "--export", "a.html", "--run", "run-1", "--run", "4")
    assert done.out == ""
    assert held((tmp_path / "a.html").read_text())["overview"]["ids"] == [2, 4]
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]
    done = command("board", few, "--export", "-", "--run", "run-1")
    assert held(done.out)["overview"]["ids"] == [2]


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [(["--export", "no/folder/a.html"], 1, "cannot write"),
     (["--export", "a.html", "--run", "none"], 2, "no run is called"),
     (["--run", "run-1"], 2, "--export"), (["--port", "70000"], 2, "--port")],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(command, few, tmp_path, words, code, reason):
    done = command("board", few, *words, code=code)
    assert reason in done.err
    assert not list(tmp_path.iterdir())


def test_paths_without_runs_are_said(command, tmp_path):
    (tmp_path / "other.db").write_bytes(b"no database" * 99)
    for path in ("none", "other.db"):
        assert path in command("board", path, "--no-open", code=1).err


def test_a_port_that_is_taken_is_said(command, few, serve):
    port = serve(few).server_port
    done = command("board", few, "--no-open", "--port", port, code=1)
    assert f"port {port} cannot be used" in done.err


def test_the_address_is_on_stdout(few):
    words = [sys.executable, "-m", "trace_net", "board", str(few), "--no-open"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", line)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def test_a_report_of_no_runs(tmp_path, page):
    board_runs.some(tmp_path / "a", 0).close()
    reader = Reader(tmp_path / "a")
    file = tmp_path / "report.html"
    file.write_text(report(reader, [], "none", silent))
    page.open(file.as_uri())
    page.until("return !document.querySelector('#empty').hidden")
