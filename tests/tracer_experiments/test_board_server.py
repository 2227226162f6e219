"""The server of the board: who is answered, with what, and that nothing but reading is done."""

import http.client
import json
import shutil
import socket
import sqlite3
import time

import board_runs
import numpy as np
import pytest

from tracer_experiments import Recorder
from tracer_experiments.board.answers import QUESTIONS

NASTY = "<img src=x onerror=alert(1)></script><b>"


def ask(board, path, method="GET", host=None, **headers):
    """The status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", board.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for each in [host] if not isinstance(host, list) else host:
        connection.putheader("Host", each or f"127.0.0.1:{board.server_port}")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def told(board, path):
    status, _, body = ask(board, path)
    assert status == 200, body
    return json.loads(body)


def tables(body):
    """What `wire.packed` packed."""
    length = int.from_bytes(body[:4], "little")
    head = json.loads(body[4 : 4 + length])
    numbers, at, found = np.frombuffer(body, head["dtype"], offset=4 + length), 0, []
    for table in head["tables"]:
        columns = {}
        for name in table["columns"]:
            columns[name] = numbers[at : at + table["rows"]]
            at += table["rows"]
        found.append(table | columns)
    assert at == numbers.size
    return found


def test_it_listens_on_this_machine_only(serve, few):
    board = serve(few)
    assert board.socket.getsockname()[0] == "127.0.0.1"
    assert board.address == f"http://127.0.0.1:{board.server_port}/"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_its_own_names_are_answered(serve, few, name):
    board = serve(few)
    assert ask(board, "/", host=f"{name}:{board.server_port}")[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:PORT", "127.0.0.1", "localhost", "127.0.0.1:1",
     "localhost.:PORT", "127.0.0.1:PORT@evil", "LOCALHOST:PORT ", "0.0.0.0:PORT", ""],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/events", "/api/nothing"])
def test_other_hosts_are_refused(serve, few, host, path):
    """What a name that was rebound to this machine asks is not answered."""
    board = serve(few)
    host = host.replace("PORT", str(board.server_port)) or " "
    if host.strip() in board.hosts:
        pytest.skip("trailing spaces are no part of a header")
    status, _, body = ask(board, path, host=host)
    assert status == 421
    assert b"run-0" not in body


def test_no_host_and_two_hosts_are_refused(serve, few):
    board = serve(few)
    mine = f"127.0.0.1:{board.server_port}"
    assert ask(board, "/", host=[mine, "evil.example"])[0] == 421
    assert ask(board, "/", host=[mine, mine])[0] == 421
    with socket.create_connection(("127.0.0.1", board.server_port), timeout=20) as connection:
        connection.sendall(b"GET /api/runs HTTP/1.0\r\n\r\n")
        assert b" 421 " in connection.recv(100)


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"]
)
def test_only_reading_is_allowed(serve, few, method):
    board = serve(few)
    before = (few / "runs.db").read_bytes()
    for path in ("/", "/api/runs", "/api/curves?name=Loss&runs=1"):
        status, headers, _ = ask(board, path, method)
        assert status == 405
        assert headers["Allow"] == "GET, HEAD"
    assert (few / "runs.db").read_bytes() == before


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/nothing"])
def test_head_is_get_without_the_body(serve, few, path):
    board = serve(few)
    status, headers, body = ask(board, path, "HEAD")
    assert body == b""
    assert status == ask(board, path)[0]
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/runs.db", "/api/../runs.db",
     "/assets/page.css", "/api/", "/api", "/api/runs/", "/API/runs", "/index.html", "/%00", "/?/..",
     "/api/runs%00", "http://evil.example/api/runs", "/api/image/../runs"],
)  # fmt: skip
def test_nothing_else_is_served(serve, few, path):
    board = serve(few)
    status, _, body = ask(board, path)
    assert status in ((200,) if path in ("/?/..", "http://evil.example/api/runs") else (404,))
    assert b"root:" not in body
    assert not body.startswith(b"SQLite")


def test_headers_allow_nothing_from_elsewhere(serve, few):
    board = serve(few)
    _, headers, body = ask(board, "/")
    policy = headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert b"://" not in body.replace(b"http://www.w3.org", b"")  # it names no other place
    assert b" onclick=" not in body


def test_answers_are_no_pages(serve, few):
    """An answer that is opened by itself runs no script and is in no frame of others."""
    board = serve(few)
    for question in ("runs", "graph?run=1", "picture?run=1", "nothing"):
        rules = ask(board, f"/api/{question}")[1]["Content-Security-Policy"]
        assert "default-src 'none'" in rules
        assert "sandbox" in rules
        assert "allow-scripts" not in rules
    rules = ask(board, "/api/graph-page?run=1")[1]["Content-Security-Policy"]
    assert "sandbox allow-scripts" in rules
    assert "allow-same-origin" not in rules
    assert "frame-ancestors 'self'" in rules


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_bad_questions_are_refused_with_a_reason(serve, few, question):
    board = serve(few)
    huge, many = 10**30, ",".join(["1"] * 1001)
    for words in (
        "",
        "run=x&runs=x&first=x",
        f"run={huge}&runs={huge}&first={huge}",
        "run=9&runs=9,,&first=9&second=9&name=a&step=z",
        f"runs={many}&name=Loss&run=&first=",
    ):
        status, headers, body = ask(board, f"/api/{question}?{words}")
        assert status in (400, 503)
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body)["error"]
    assert ask(board, "/api/runs")[0] == 200


def test_a_run_or_series_that_is_not_there_is_told(serve, few):
    board = serve(few)
    status, _, body = ask(board, "/api/histograms?run=999&name=GradHist1d")
    assert status == 503
    assert "999" in json.loads(body)["error"]
    assert tables(ask(board, "/api/curves?name=none&runs=1,999")[2]) == []


def test_runs_are_told_with_their_series(serve, few):
    found = told(serve(few), "/api/runs")
    assert found["ids"] == [1, 2, 3, 4, 5, 6]
    run = found["runs"][2]
    assert (run["name"], run["status"], run["error"]) == ("run-2", "failed", "ValueError: no luck")
    assert run["config"] == {"lr": 0.03, "optimizer": "sgd", "model": {"width": 8}}
    assert run["seed"] == 2
    series = {tuple(found["series"][number]): rest for number, *rest in run["series"]}
    count, step, last = series["Loss", "number"]
    assert (count, step) == (120, 119)
    assert 0 < last < 3
    assert ("GradHist1d", "histogram") in series
    assert ("filters", "image") in series
    assert found["charts"]["GradNorm"]["group"] == "gradients"


def test_only_what_changed_is_told_again(serve, tmp_path):
    with Recorder(tmp_path) as recorder:
        first, second = recorder.run("a"), recorder.run("b")
        first.log(0, loss=1.0)
        recorder.runs()
        board = serve(tmp_path)
        before = told(board, "/api/runs")
        assert [run["name"] for run in before["runs"]] == ["a", "b"]
        assert told(board, f"/api/runs?since={before['now']}")["runs"] == []
        second.log(0, loss=2.0)
        second.finish()
        after = told(board, f"/api/runs?since={before['now']}")
        assert [(run["name"], run["status"]) for run in after["runs"]] == [("b", "finished")]
        assert after["now"] > before["now"]
        recorder.remove("b")
        last = told(board, f"/api/runs?since={after['now']}")
        assert (last["ids"], last["runs"]) == ([1], [])
        assert last["now"] > after["now"]


def test_curves_are_the_series(serve, few, tmp_path):
    board = serve(few)
    found = tables(ask(board, "/api/curves?name=Loss&runs=2,1,99")[2])
    assert sorted(table["run"] for table in found) == [1, 2]
    for table in found:
        stored = board.reader().open(table["run"])
        steps, values = stored.series("Loss")
        np.testing.assert_array_equal(table["step"], steps)
        np.testing.assert_array_equal(table["mean"], values)
        assert table["exact"]
        by_time, by_epoch = (
            tables(ask(board, f"/api/curves?name=Loss&runs={stored.id}&axis={axis}")[2])[0]
            for axis in ("time", "epoch")
        )
        np.testing.assert_array_equal(by_time["time"], stored.times("Loss"))
        np.testing.assert_allclose(by_epoch["epoch"], steps / 50)


def test_a_part_of_a_curve_is_finer(serve, few):
    board = serve(few)
    values = board.reader().open(1).series("Loss")[1]
    (whole,) = tables(ask(board, "/api/curves?name=Loss&runs=1&most=10")[2])
    assert not whole["exact"]
    assert whole["rows"] == 10
    for at, (low, mean, high) in enumerate(
        zip(whole["low"], whole["mean"], whole["high"], strict=True)
    ):
        held = values[12 * at : 12 * at + 12]
        assert (low, high) == (held.min(), held.max())
        assert mean == pytest.approx(held.mean())
    (part,) = tables(ask(board, "/api/curves?name=Loss&runs=1&most=10&from=20&to=25")[2])
    np.testing.assert_array_equal(part["step"], [19, 20, 21, 22, 23, 24, 25, 26])
    np.testing.assert_array_equal(part["mean"], values[19:27])


def test_names_that_are_html_stay_text(serve, tmp_path):
    with Recorder(tmp_path / "runs") as recorder:
        run = recorder.run(NASTY, {NASTY: NASTY}, group=NASTY)
        run.log(0, **{NASTY: 1.0})
        run.finish()
        found = ask(serve(tmp_path / "runs"), "/api/runs")[2]
    assert b"<" not in found
    assert json.loads(found)["runs"][0]["name"] == NASTY


def test_numbers_that_json_has_not(serve, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("a", {"lr": float("nan")})
        for step, value in enumerate([1.0, np.nan, np.inf, -np.inf, 1e300]):
            run.log(step, loss=value)
        run.finish()
        board = serve(tmp_path)
        told(board, "/api/runs")
        (table,) = tables(ask(board, "/api/curves?name=loss&runs=1")[2])
    np.testing.assert_array_equal(table["mean"], [1.0, np.nan, np.nan, np.nan, 1e300])
    np.testing.assert_array_equal(table["marks"], [0, 1, 2, 4, 0])


def events(board):
    """The lines of the server's events as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", board.server_port, timeout=20)
    connection.request("GET", "/api/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    while True:
        line = answer.readline()
        if not line:
            return
        if line.strip():
            yield line.decode().strip()


def test_events_tell_of_what_was_written(serve, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("a")
        heard = events(serve(tmp_path))
        assert next(heard) == "event: runs"
        before = int(next(heard).removeprefix("data: "))
        run.log(0, loss=1.0)
        run.flush()
        assert next(heard) == "event: runs"
        assert int(next(heard).removeprefix("data: ")) > before


def test_a_database_that_vanishes_and_comes_back(serve, tmp_path):
    board_runs.some(tmp_path / "a", 1, steps=5).close()
    board = serve(tmp_path / "a")
    heard = events(board)
    assert [next(heard), next(heard)] == ["event: runs", "data: 1"]
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert next(heard) == "event: trouble"
    assert "no runs" in next(heard)
    status, _, body = ask(board, "/api/runs")
    assert status == 503
    assert "runs.db" in json.loads(body)["error"]
    board_runs.some(tmp_path / "a", 2, steps=5).close()
    assert next(heard) == "event: runs"
    assert int(next(heard).removeprefix("data: ")) > 1
    assert told(board, "/api/runs")["ids"] == [1, 2]


def test_a_database_that_is_not_there_yet(serve, tmp_path):
    board = serve(tmp_path)
    assert ask(board, "/")[0] == 200
    assert ask(board, "/api/runs")[0] == 503
    assert not list(tmp_path.iterdir())  # nothing was made
    with Recorder(tmp_path) as recorder:
        recorder.run("first").finish()
    assert told(board, "/api/runs")["ids"] == [1]


@pytest.mark.parametrize("content", [b"", b"no database" * 900, b"SQLite format 3\0" + b"x" * 9000])
def test_empty_and_other_files_are_told(serve, tmp_path, content):
    (tmp_path / "runs.db").write_bytes(content)
    board = serve(tmp_path)
    status, _, body = ask(board, "/api/runs")
    assert status == 503
    assert json.loads(body)["error"]
    assert ask(board, "/")[0] == 200
    assert (tmp_path / "runs.db").read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["runs.db"]


def test_what_is_whole_in_a_damaged_database_is_shown(serve, tmp_path):
    board_runs.some(tmp_path, 4, steps=40).close()
    connection = sqlite3.connect(tmp_path / "runs.db")
    (block,) = connection.execute(
        "SELECT blocks.id FROM blocks JOIN series ON series.id = series "
        "WHERE run = 2 AND name = 'Loss'"
    ).fetchone()
    connection.execute("UPDATE blocks SET numbers = x'0102' WHERE id = ?", (block,))
    connection.commit()
    connection.close()
    board = serve(tmp_path)
    assert told(board, "/api/runs")["ids"] == [1, 2, 3, 4]
    status, _, body = ask(board, "/api/curves?name=Loss&runs=1,2,3,4")
    assert status == 200, body
    assert [table["run"] for table in tables(body)] == [1, 3, 4]


def test_two_boards_on_one_database(serve, few):
    one, other = serve(few), serve(few)
    assert one.server_port != other.server_port
    assert told(one, "/api/runs")["ids"] == told(other, "/api/runs")["ids"]


def test_histograms_over_time_and_at_a_step(serve, few):
    board = serve(few)
    found = told(board, "/api/histograms?run=1&name=GradHist1d")
    assert found["steps"] == found["columns"] == list(range(0, 120, 10))
    assert len(found["edges"]) == 101
    assert sum(found["shares"][3]) == pytest.approx(1, abs=1e-3)
    one = told(board, "/api/histogram?run=1&name=GradHist1d&step=31")
    assert one["step"] == 30
    assert sum(one["counts"]) == 2000
    np.testing.assert_allclose(np.array(one["counts"]) / 2000, found["shares"][3], atol=1e-5)
    assert told(board, "/api/histograms?run=1&name=GradHist2d")["pairs"]
    assert np.shape(told(board, "/api/histogram?run=1&name=GradHist2d&step=0")["counts"]) == (
        40,
        50,
    )


def test_images(serve, few):
    board = serve(few)
    assert told(board, "/api/images?run=1&name=filters") == [0, 50, 100]
    _, headers, body = ask(board, "/api/image?run=1&name=filters&step=50")
    assert headers["Content-Type"] == "image/png"
    assert body == dict(board.reader().open(1).images("filters"))[50]
    assert ask(board, "/api/image?run=1&name=filters&step=51")[0] == 503


def test_graphs_and_what_lies_over_them(serve, few):
    board = serve(few)
    overlays = told(board, "/api/graph?run=1")["overlays"]
    assert list(overlays) == ["GradNorm"]
    assert set(overlays["GradNorm"]) == {
        f"{n}.{of}" for n in (0, 2, 4) for of in ("weight", "bias")
    }
    values = told(board, "/api/layers?run=1&overlay=GradNorm&step=60")
    steps, series = board.reader().open(1).series("GradNorm/2.weight")
    assert values["2.weight"] == series[steps.tolist().index(60)]
    _, headers, body = ask(board, "/api/picture?run=1&overlay=GradNorm&step=60&theme=dark")
    assert headers["Content-Type"] == "image/svg+xml"
    assert b"GradNorm at step 60" in body
    same = told(board, "/api/difference?first=1&second=3")
    assert same["counts"] == {"removed": 0, "added": 0, "changed": 0}
    differ = told(board, "/api/difference?first=1&second=2")
    assert differ["counts"]["changed"] == len(differ["changed"]) > 0
    assert "0.weight [6, 4]: shape [8, 4] to [6, 4]" in differ["changed"]
    assert b"</svg>" in ask(board, "/api/difference-picture?first=1&second=2")[2]


def test_a_server_that_stops_ends_its_events(few, serve):
    board = serve(few)
    heard = events(board)
    assert next(heard) == "event: runs"
    begin = time.monotonic()
    board.is_closing.set()
    assert len(list(heard)) < 10
    assert time.monotonic() - begin < 10
