"""The HTML page in headless Chromium, for the tests of what its reader does."""

from __future__ import annotations

import pytest

from tracer.extensions import DrawOptions
from tracer_render.renderers import HTML


class Page:
    """An open page: its elements by selector, what is seen, and keys pressed in it."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, address):
        """Load a page, until something of it is drawn, or it has nothing to draw."""
        self.browser.get(address)
        self.run(
            "const began = performance.now();"
            "return new Promise((told) => { const ask = () => page.scene?.boxes.length === 0 ||"
            " document.querySelector('#view [data-node]') || performance.now() - began > 3000"
            " ? told() : setTimeout(ask, 10); ask(); })"
        )

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def node(self, name):
        return self.find(f'[data-node="{name}"]')

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    @property
    def boxes(self):
        """The names of all boxes of what is open, in the window or not."""
        return self.run("return page.scene.boxes.map((b) => page.now.id(b.item, b.back))")

    @property
    def seen(self):
        svg = self.find("#view > svg")
        box = self.browser.execute_script("return arguments[0].getAttribute('viewBox')", svg)
        return [float(number) for number in box.split()]

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()


@pytest.fixture
def show(browser, tmp_path):
    """Open the page of a graph; afterwards, the browser must have had nothing to complain of."""

    def opened(graph, **options):
        path = tmp_path / "graph.html"
        path.write_bytes(HTML().render(graph, DrawOptions(**options)))
        page = Page(browser)
        page.open(path.as_uri())
        return page

    yield opened
    assert browser.get_log("browser") == []
