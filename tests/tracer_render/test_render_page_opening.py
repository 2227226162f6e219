"""The HTML page in headless Chromium: what is seen as it opens, and after all is opened."""

from __future__ import annotations

import numpy as np
import pytest
import render_graphs

import tracer
import tracer_layers as nn
from tracer_render.overlays import GradNorm

pytest.importorskip("selenium")

#: The names of boxes that something in the corner covers.
COVERED = """
const seen = document.getElementById("view").getBoundingClientRect();
const over = [...document.querySelectorAll(".corner > *")].map((e) => e.getBoundingClientRect());
return [...document.querySelectorAll("#view [data-node]")].filter((node) => {
  const b = node.querySelector(".body").getBoundingClientRect();
  const bottom = Math.min(b.bottom, seen.bottom);
  const meets = (r) => b.left < r.right && b.right > r.left && b.top < r.bottom && bottom > r.top;
  return over.some((r) => r.width && meets(r));
}).map((node) => node.dataset.node)
"""

#: Whether a box, or a frame, is wholly in the window.
INSIDE = """
const is = (what) => `[data-${what}="${arguments[0]}"]`;
const b = document.querySelector(`${is("node")}, ${is("group")}`)?.getBoundingClientRect();
const w = document.getElementById("view").getBoundingClientRect();
if (b === undefined) return false;
return b.left >= w.left && b.right <= w.right && b.top >= w.top && b.bottom <= w.bottom;
"""


def graph_of(model, *inputs):
    with tracer.Tape(watch=True) as tape:
        loss = np.sum(model(*inputs))
    tape.backward(loss)
    return tape.graph("both")


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.first, self.act, self.second = nn.Linear(size, size), nn.Tanh(), nn.Linear(size, size)

    def forward(self, x):
        return x + self.second(self.act(self.first(x)))


class Branches(nn.Module):
    """As wide as it has parts."""

    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, size + 1) for size in range(parts)])

    def forward(self, x):
        return sum(np.sum(part(x)) for part in self.parts)


def blocks(count):
    return nn.Sequential(*[Block(4) for _ in range(count)])


ONES = np.ones((3, 4), np.float32)


@pytest.fixture(params=[(1200, 800), (800, 600), (1000, 400), (420, 700)], ids=str)
def window(request, browser):
    """A browser with a window of this size."""
    width, height = request.param
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield request.param
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("model", [blocks(1), blocks(9), Branches(3)], ids=["1", "9", "wide"])
def test_nothing_covers_a_box_as_the_page_opens(show, window, model):
    page = show(graph_of(model, ONES), depth="auto", overlay=GradNorm())
    assert page.find("#colours").is_displayed()
    assert page.run(COVERED) == []
    assert page.run(INSIDE, "n0")
    assert page.run("return page.scale()") <= 1.26


@pytest.mark.parametrize("how", ["fit", "at the end"])
def test_open_all_shows_the_input_legibly_from_wherever_it_was(show, how):
    page = show(graph_of(blocks(9), ONES), depth="auto")
    page.run("page.fit()" if how == "fit" else "page.seen.y = page.scene.height; page.show()")
    page.find("#open-all").click()
    assert page.run("return page.scale()") <= 1.26
    assert page.run(INSIDE, "n0")
    assert page.run("return page.scene.height / page.scale()") > 2000


def test_open_all_keeps_what_is_chosen_in_the_middle(show):
    page = show(graph_of(blocks(9), ONES), depth="auto")
    page.run("page.goTo(page.now.ids.get('module_7_act')); page.fit()")
    page.find("#open-all").click()
    assert page.run("return page.scale()") <= 1.26
    assert page.run(INSIDE, "module_7_act")


@pytest.mark.parametrize("name", ["mlp", "recurrent", "sick", "nested"])
def test_nor_does_it_in_graphs_made_by_hand(show, window, name):
    page = show(render_graphs.ALL[name](), depth="auto", overlay=GradNorm())
    assert page.run(COVERED) == []
