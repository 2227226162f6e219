"""Commands in a folder of their own, and a board that serves with its page in headless Chromium."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import board_runs
import pytest

from trace_net.main import main
from tracer_experiments.board import Board


@dataclass
class Outcome:
    """What a command gave back."""

    code: int
    out: str
    err: str

    def line(self, beginning: str) -> str:
        """The one line of stderr that begins so; the test fails where there are none or several."""
        (found,) = [line for line in self.err.splitlines() if line.startswith(beginning)]
        return found


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run `trace-net` with these arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments: object, code: int = 0) -> Outcome:
        capfd.readouterr()
        found = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert found == code, captured.err
        assert "Traceback" not in captured.err
        return Outcome(found, captured.out, captured.err)

    return run


@pytest.fixture
def serve():
    """Serve a database until the test ends: `serve(path)` gives the board."""
    running = []

    def begin(path, port=0):
        board = Board(path, port)
        thread = threading.Thread(target=board.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((board, thread))
        return board

    yield begin
    for board, thread in running:
        board.shutdown()
        thread.join()
        board.server_close()


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """The folder of a few finished runs of every kind; no test changes it."""
    folder = tmp_path_factory.mktemp("few")
    board_runs.some(folder, steps=120).close()
    return folder


class Page:
    """An open board: its elements by selector, and keys pressed in it."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, address, fragment=""):
        self.browser.get("about:blank")  # another fragment alone would not load it again
        self.browser.get(f"{address}#{fragment}")
        self.until("return document.documentElement.dataset.ready === 'true'")

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def texts(self, selector):
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)",
            selector,
        )

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def until(self, script, *arguments, seconds=20):
        """Wait for a script to return something true, and return that."""
        end = time.monotonic() + seconds
        while True:
            found = self.run(script, *arguments)
            if found:
                return found
            assert time.monotonic() < end, script
            time.sleep(0.02)

    def card(self, key):
        """The card of a series, brought into sight."""
        card = self.until("return document.querySelector(`[data-card='${arguments[0]}']`)", key)
        self.run("arguments[0].scrollIntoView({ block: 'center' })", card)
        return card

    def drawn(self, key, curves):
        """Wait until the chart of a series shows so many curves."""
        card = self.card(key)
        self.until(
            "return Number(arguments[0].querySelector('canvas').dataset.drawn) === arguments[1]",
            card,
            curves,
        )
        return card

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def type(self, selector, text):
        field = self.find(selector)
        field.clear()
        field.send_keys(text)


@pytest.fixture
def page(browser):
    """A page; afterwards, the browser must have had nothing to complain of."""
    browser.get_log("browser")
    yield Page(browser)
    browser.get("about:blank")
    assert browser.get_log("browser") == []


@pytest.fixture
def show(serve, page):
    """Serve a database and open its page, at a fragment."""

    def begin(path, fragment=""):
        board = serve(path)
        page.open(board.address, fragment)
        page.board = board
        return page

    return begin
