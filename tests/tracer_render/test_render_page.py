"""The HTML page in headless Chromium: what a reader does with mouse and keys."""

from __future__ import annotations

import pytest
import render_graphs

from tracer_render.overlays import GradNorm

pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys


@pytest.fixture
def page(show):
    opened = show(render_graphs.nested().both())
    opened.find("#fit").click()
    return opened


def test_buttons_and_keys_zoom(page):
    whole = page.seen
    page.find("#in").click()
    near = page.seen
    assert near[3] < whole[3]
    page.find("#in").click()
    assert page.seen[3] < near[3]
    page.find("#out").click()
    assert page.seen == pytest.approx(near)
    page.find("#fit").click()
    assert page.seen == whole
    page.find("#view").click()
    page.press("+")
    assert page.seen == pytest.approx(near)
    page.press("-", "-")
    assert page.seen[3] > near[3]
    page.press("0")
    assert page.seen == whole


def test_the_wheel_zooms_at_the_pointer(page):
    page.find("#in").click()
    before = page.seen
    node = page.node("n4")
    centre = _centre(node)
    page.browser.execute_script(
        "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -100, clientX: arguments[1],"
        "clientY: arguments[2], bubbles: true, cancelable: true}))",
        node,
        *centre,
    )
    assert page.seen[3] < before[3]
    assert _centre(node) == pytest.approx(centre, abs=0.5)


def _centre(node):
    script = (
        "const r = arguments[0].getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]"
    )
    return node.parent.execute_script(script, node)


def test_dragging_pans_and_does_not_select(page):
    page.find("#in").click()
    node = page.node("n4")
    before, seen = _centre(node), page.seen
    ActionChains(page.browser).click_and_hold(node).move_by_offset(40, 30).release().perform()
    assert page.seen[:2] != seen[:2]
    assert page.seen[2:] == pytest.approx(seen[2:])
    assert _centre(node) == pytest.approx([before[0] + 40, before[1] + 30], abs=1)
    assert not page.find("#panel").is_displayed()


def test_arrow_keys_pan(page):
    page.find("#view").click()
    before = page.seen
    page.press(Keys.ARROW_RIGHT)
    assert page.seen[0] > before[0]
    page.press(Keys.ARROW_LEFT)
    assert page.seen == pytest.approx(before)


def test_a_click_shows_all_attributes(page):
    page.node("n2").click()
    panel = page.find("#panel")
    assert panel.is_displayed()
    assert page.find("#name").text == "linear"
    for word in ("encoder.0.0", "net.py:2", "4, 3", "float32", "operation"):
        assert word in panel.text
    assert page.all(".line.near")
    page.find("#close").click()
    assert not panel.is_displayed()
    assert not page.all(".line.near, .chosen")


def test_nodes_are_reached_by_keyboard(page):
    page.browser.execute_script("arguments[0].focus()", page.node("n2"))
    page.press(Keys.ENTER)
    assert page.find("#name").text == "linear"
    page.press(Keys.ESCAPE)
    assert not page.find("#panel").is_displayed()


def test_search_highlights_cycles_centres_and_clears(page):
    page.find("#view").click()
    page.press("/")
    page.press("WEIGHT")
    assert len(page.all(".node.hit")) == 8
    assert page.find("#found").text == "8 found"
    page.press(Keys.ENTER)
    assert page.find("#found").text == "1 of 8"
    first = page.find(".chosen")
    box = page.find("#view").rect
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert _centre(first) == pytest.approx(middle, abs=2)
    page.press(Keys.ENTER)
    assert page.find("#found").text == "2 of 8"
    assert page.find(".chosen") != first
    actions = ActionChains(page.browser)
    actions.key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
    assert page.find(".chosen") == first
    page.press(Keys.ESCAPE)
    assert not page.all(".hit, .chosen")
    assert page.find("#search").get_attribute("value") == ""


def test_keys_typed_into_the_search_do_not_zoom(page):
    whole = page.seen
    page.find("#search").send_keys("+-0")
    assert page.seen == whole


def test_names_are_text_everywhere(show):
    graph = render_graphs.nasty()
    page = show(graph, title=render_graphs.NASTY)
    page.node("n0").click()
    assert '<script>alert("x")</script>' in page.find("#attributes").text
    page.find("#search").send_keys("<script>")
    assert len(page.all(".node.hit")) == 1
    assert page.all("#view script, #panel script") == []


@pytest.mark.parametrize("name", ["empty", "single", "components", "folded"])
def test_every_graph_opens(show, name):
    page = show(render_graphs.ALL[name]())
    page.find("#in").click()
    page.find("#fit").click()


@pytest.mark.parametrize(("scheme", "light"), [("light", True), ("dark", False)])
def test_the_page_follows_the_readers_colours(show, scheme, light):
    page = show(render_graphs.sick(), overlay=GradNorm())
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    for element, ground in (("body", "backgroundColor"), (".paper", "fill")):
        colour = page.browser.execute_script(
            f"return getComputedStyle(arguments[0]).{ground}", page.find(element)
        )
        assert (int(colour.split("(")[1].split(",")[0]) > 127) == light


def test_a_fixed_theme_does_not_follow(show):
    page = show(render_graphs.mlp().graph, theme="dark")
    media = [{"name": "prefers-color-scheme", "value": "light"}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    script = "return getComputedStyle(document.body).backgroundColor"
    assert page.browser.execute_script(script) == "rgb(20, 24, 31)"


@pytest.mark.parametrize("size", [(320, 480), (480, 600), (700, 400)], ids=str)
def test_a_small_window_is_mostly_picture(show, size):
    graph = render_graphs.failing()
    graph.graph["error"] = "ShapeError: " + "these shapes do not fit " * 20
    page = show(graph)
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        box = "return document.querySelector(arguments[0]).getBoundingClientRect()"
        view, head = page.run(box, "#view"), page.run(box, "header")
        assert view["height"] > 0.7 * height
        assert head["bottom"] <= view["top"]
        assert page.run("return document.documentElement.scrollWidth") == width
        page.find("#keys").click()  # the last button: the row scrolls to it
        assert page.find("#help").is_displayed()
        page.press(Keys.ESCAPE)
        page.run("page.showSidebar(true); page.choose({ item: 0, back: false })")
        page.find("#close").click()
        assert not page.find("#panel").is_displayed()
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
