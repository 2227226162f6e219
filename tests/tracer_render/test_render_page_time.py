"""The HTML page of a recurrent trace in headless Chromium: both views, and steps through time."""

from __future__ import annotations

import json
import re

import pytest
import render_graphs

from tracer.extensions import DrawOptions
from tracer_render.overlays import GradNorm
from tracer_render.renderers import HTML

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys


def both(tape, first="unrolled", **options):
    """A tape's graph and the options that show its other view, too."""
    other = "folded" if first == "unrolled" else "unrolled"
    return tape.graph("both", first), {"other": (tape.graph("both", other), None), **options}


@pytest.fixture(scope="module")
def tape():
    return render_graphs.trace(30)


@pytest.fixture
def page(show, tape):
    graph, options = both(tape)
    return show(graph, **options)


def lit(page):
    return {node.get_attribute("data-node") for node in page.all("[data-node]:not(.off)")}


def note(page, name):
    return [
        text.get_attribute("textContent")
        for text in page.node(name).find_elements("css selector", ".note")
    ]


def test_buttons_and_a_key_switch_between_unrolled_and_folded(page):
    unrolled = page.boxes
    assert page.find("#unrolled").get_attribute("aria-pressed") == "true"
    page.find("#folded").click()
    assert page.find("#folded").get_attribute("aria-pressed") == "true"
    assert page.find("#unrolled").get_attribute("aria-pressed") == "false"
    assert len(page.boxes) < len(unrolled)
    assert page.all(".line.delayed")
    page.find("#view").click()
    page.press("f")
    assert page.boxes == unrolled


def test_each_view_keeps_what_is_seen_of_it(page):
    page.find("#in").click()
    near = page.seen
    page.find("#folded").click()
    assert page.seen != near
    page.find("#unrolled").click()
    assert page.seen == near


def hits(page):
    return int(page.find("#found").text.removesuffix(" found"))


def test_a_switch_leaves_details_and_finds_again(page):
    page.find("#search").send_keys("tanh")
    before = hits(page)
    page.find("#view").click()
    page.press("f")
    assert 0 < hits(page) < before
    page.all(".node.hit")[0].click()
    assert page.find("#panel").is_displayed()
    page.press("f")
    assert not page.find("#panel").is_displayed()
    assert hits(page) == before


@pytest.mark.parametrize("how", ["buttons", "keys"])
def test_a_step_is_lit_and_the_others_are_not(page, how):
    assert page.find("#when").text == "all 30 steps"
    assert page.find("#all").get_attribute("aria-pressed") == "true"
    page.find("#view").click()
    forward, back, every = (
        (lambda: page.find("#after").click(), lambda: page.find("#before").click(),
         lambda: page.find("#all").click())
        if how == "buttons"
        else (lambda: page.press("."), lambda: page.press(","), lambda: page.press("a"))
    )  # fmt: skip
    whole = lit(page)
    forward()
    forward()
    assert page.find("#when").text == "t = 1, of 30 steps"
    on = page.all("[data-node]:not(.off)")
    assert {node.get_attribute("data-steps") for node in on} == {"1 1"}
    back()
    assert page.find("#when").text == "t = 0, of 30 steps"
    every()
    assert lit(page) == whole
    back()
    assert page.find("#when").text == "t = 29, of 30 steps"


def test_steps_that_are_not_drawn_light_the_box_that_stands_for_them(page):
    page.find("#view").click()
    page.press(*("." * 10))
    spans = {node.get_attribute("data-steps") for node in page.all("[data-node]:not(.off)")}
    assert spans == {"4 25"}


def test_the_slider_steps_by_keyboard_and_says_where_it_is(page):
    slider = page.find("#step")
    assert slider.get_attribute("aria-label") == "Time step"
    page.find("#fit").click()
    page.browser.execute_script("arguments[0].focus()", slider)
    before = page.seen
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.find("#when").text == "t = 2, of 30 steps"
    assert slider.get_attribute("aria-valuetext") == "t = 2, of 30 steps"
    assert page.seen == before


def test_a_step_outside_of_what_is_seen_comes_into_view(page):
    for _ in range(12):
        page.find("#in").click()
    page.press("a")
    page.find("#before").click()
    left, top, width, height = page.seen
    box = page.run(
        "const b = arguments[0].getBBox(); return [b.x, b.y, b.width, b.height]",
        page.find('[data-steps="29 29"]'),
    )
    assert left <= box[0] <= box[0] + box[2] <= left + width
    assert top <= box[1] <= box[1] + box[3] <= top + height


def test_the_folded_view_shows_the_numbers_of_the_step(page, tape):
    unrolled = tape.graph("both")
    copies = {
        data["time"]: data
        for _, data in unrolled.nodes(data=True)
        if data["kind"] == "operation" and data["op"] == "tanh"
    }
    first = next(n for n, data in unrolled.nodes(data=True) if data is copies[0])
    page.find("#folded").click()
    whole = note(page, first)
    assert whole[-1].startswith("T = 30 steps, norm ")
    page.node(first).click()
    for _ in range(3):
        page.find("#after").click()
    norm, low = copies[2]["norm"], copies[2]["min"]
    assert note(page, first)[-1] == f"t = 2, norm {float(f'{norm:.3g}'):g}"
    panel = page.find("#attributes").text
    assert f"min {float(f'{low:.4g}'):g}" in panel
    assert "time 2" in panel
    page.find("#all").click()
    assert note(page, first) == whole


def test_the_folded_view_takes_the_colour_of_the_step(show, tape):
    graph, options = both(tape, "folded", overlay=GradNorm())
    page = show(graph, **options)
    cotangents = [n for n, data in graph.nodes(data=True) if data["label"] == "∇ tanh"]

    def colour():
        body = page.node(cotangents[0]).find_element("css selector", ".body")
        return body.value_of_css_property("fill")

    whole = colour()
    page.find("#after").click()
    early, words = colour(), note(page, cotangents[0])
    page.find("#all").click()
    page.find("#before").click()
    assert early != colour()
    assert words[-1] != note(page, cotangents[0])[-1]
    page.find("#all").click()
    assert colour() == whole


VALUES = """
const found = [];
const take = (label) => {
  for (const box of page.scene.boxes) {
    const span = page.now.span(box.item);
    if (box.item >= 0 || !/cell/.test(page.told(page.now, box.item, false).title)) continue;
    if (page.now.time === "unrolled" && (span[0] !== 2 || span[1] !== 2)) continue;
    const value = page.valueOf(page.now, box.item, box.back);
    found.push([label, box.back, value === undefined ? null : value]);
  }
};
page.switchTo(arguments[0]);
page.closeAll();
page.now.groups.forEach((_, g) => {
  if (/RNN$/.test(page.told(page.now, ~g, false)?.title)) page.now.open.add(g);
});
page.now.groups.forEach((group, g) => {
  if (g > 0 && /^t = /.test(page.told(page.now, ~g, false).title)) page.now.open.add(g);
});
if (arguments[0] === "folded") page.goToStep(2);
page.data.overlays.forEach(({ label }, i) => {
  page.setOverlay(i);
  page.update();
  take(label);
});
return found;
"""


def test_a_closed_module_has_the_number_of_the_step_by_one_rule_in_both_views(show):
    graph, options = both(render_graphs.trace(5))
    page = show(graph, depth=1, **options)
    of_step, at_step = page.run(VALUES, "unrolled"), page.run(VALUES, "folded")
    assert {label for label, _, value in of_step if value} >= {
        "gradient norm", "norm of values", "result", "computation",
    }  # fmt: skip
    named = [{(label, back): value for label, back, value in view} for view in (of_step, at_step)]
    assert named[0].keys() == named[1].keys()
    for key, value in named[0].items():
        at = named[1][key]
        assert (value is None) == (at is None)
        assert value is None or at == pytest.approx(value, rel=1e-3)


def test_a_trace_without_loops_has_no_controls_of_time(show):
    page = show(render_graphs.mlp().both())
    assert not page.all("#step, #folded, #unrolled, template")
    page.find("#view").click()
    page.press("f", ".", ",", "a")


def test_one_view_alone_still_steps(show, tape):
    page = show(tape.graph("both"))
    assert not page.all("#folded")
    page.find("#after").click()
    assert {n.get_attribute("data-steps") for n in page.all("[data-node]:not(.off)")} == {"0 0"}


def test_controls_have_names_for_those_who_do_not_see_them(page):
    for selector in ("#before", "#after", "#step"):
        assert page.find(selector).get_attribute("aria-label")
    for group in page.all("[role=group]"):
        assert group.get_attribute("aria-label")
    assert "full stop" in page.find("#view").get_attribute("aria-label")


def holds(page):
    """What a written page hands to its script."""
    data = re.search(rb'id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(data.group(1))


def held(graph, **options):
    return holds(HTML().render(graph, DrawOptions(**options)))


@pytest.mark.slow
def test_ten_thousand_steps_are_a_small_page():
    graph, options = both(render_graphs.trace(10_000), overlay=GradNorm())
    written = HTML().render(graph, DrawOptions(**options))
    operations = sum(data["kind"] == "operation" for data in graph.nodes.values())
    assert len(written) < 3_000_000 * operations / 10_000  # it holds every step
    steps = holds(written)["steps"]
    assert steps["count"] == 10_000
    assert steps["times"][0] == 0
    assert len(steps["times"]) > 1_000
    assert all(len(column) == len(steps["times"]) for column in steps["statistics"].values())


def test_long_lists_among_the_details_are_cut():
    graph = render_graphs.mlp().graph
    graph.nodes["n0"]["values"] = list(range(242))
    view = held(graph)["views"]["unrolled"]
    (values,) = [word for word in view["words"] if isinstance(word, list) and len(word) > 100]
    assert len(values) == 101
    assert values[-1] == "… 242 in all"


def test_of_many_steps_every_second_or_third_has_numbers(monkeypatch):
    from tracer_render import stepping

    monkeypatch.setattr(stepping, "MOST_ENTRIES", 100)
    graph, options = both(render_graphs.trace(60))
    steps = held(graph, **options)["steps"]
    assert sum(map(len, steps["statistics"].values())) <= 100
    assert steps["times"][:3] == [0, steps["times"][1], 2 * steps["times"][1]]
