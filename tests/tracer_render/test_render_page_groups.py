"""The HTML page in headless Chromium: modules open and close; what is found, linked and kept."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

import numpy as np
import pytest
import render_graphs

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions
from tracer_render.overlays import GradNorm
from tracer_render.picture import describe
from tracer_render.style import TIMES

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.second = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.second(self.act(self.first(x)))


class Net(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.h = nn.ModuleList([Block() for _ in range(blocks)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for block in self.h:
            x = block(x)
        return self.head(x)


def graph_of(blocks):
    model = Net(blocks)
    with tracer.Tape(watch=True) as tape:
        loss = nn.cross_entropy(model(np.ones((3, 4), np.float32)), np.array([0, 1, 0]))
    tape.backward(loss)
    return tape.graph("both")


@pytest.fixture(scope="module")
def graph():
    return graph_of(3)


@pytest.fixture
def page(show, graph):
    return show(graph, depth=0)


BLOCK = "module_h_1"


def test_it_opens_closed_and_legible_on_the_input(show):
    page = show(graph_of(24), depth="auto")
    boxes = page.boxes
    assert len([box for box in boxes if not box.startswith(("d", "_"))]) <= 40
    assert page.node("n0").is_displayed()
    assert page.run("return page.scale()") <= 1 / 0.79


def test_a_click_opens_a_module_in_place_and_its_title_closes_it(page):
    before = page.boxes
    box = page.node(BLOCK)
    place = box.rect["x"] + box.rect["width"] / 2, box.rect["y"]
    box.click()
    assert BLOCK not in page.boxes
    assert {"module_h_1_first", "module_h_1_act", "module_h_1_second"} <= set(page.boxes)
    assert page.find("#name").text == "h.1 Block"
    frame = page.find(f'[data-group="{BLOCK}"]')
    assert frame.get_attribute("aria-expanded") == "true"
    rect = frame.find_element("css selector", "rect").rect
    assert [rect["x"] + rect["width"] / 2, rect["y"]] == pytest.approx(place, abs=1.5)
    page.run("page.choose(null)")
    frame.find_element("css selector", ".scope:not(.close)").click()
    assert page.boxes == before


def test_enter_opens_and_closes_by_the_keyboard_alone(page):
    before = page.boxes
    page.run("arguments[0].focus()", page.node(BLOCK))
    page.press(Keys.ENTER)
    assert "module_h_1_first" in page.boxes
    assert page.run("return document.activeElement.dataset.group") == BLOCK
    page.press(Keys.ENTER)
    assert page.boxes == before
    assert page.run("return document.activeElement.dataset.node") == BLOCK
    page.press(" ")
    assert page.boxes == before
    assert page.find("#panel").is_displayed()


def test_the_cotangents_module_opens_its_values_and_its_own(page):
    page.node("_module_h_1").click()
    assert {"module_h_1_first", "_module_h_1_first"} <= set(page.boxes)


def test_all_open_and_close_at_once(page, graph):
    before = page.boxes
    page.find("#open-all").click()
    values = {node for node, data in graph.nodes(data=True) if data["kind"] != "cotangent"}
    assert values <= set(page.boxes)
    assert not any(box.startswith("module") for box in page.boxes)
    page.find("#view").click()
    page.press("c")
    assert page.boxes == before
    page.press("e")
    assert values <= set(page.boxes)


def test_values_and_cotangents_stand_at_one_height_in_parallel_columns(page):
    page.find("#open-all").click()
    rows = page.run(
        "return page.scene.boxes.filter((b) => b.back).map((b) => {"
        "const v = page.scene.at.get(`${b.item}`);"
        "return [b.y - v.y, b.x + v.x - 2 * page.scene.axis]; })"
    )
    assert rows
    assert np.abs(rows).max() < 1e-6


def overlaps(page):
    """Boxes that lie over one another."""
    return page.run(
        "const b = page.scene.boxes; let n = 0;"
        "for (let i = 0; i < b.length; i++) for (let j = 0; j < i; j++)"
        " if (Math.abs(b[i].x - b[j].x) < (b[i].width + b[j].width) / 2 - 0.5 &&"
        "     Math.abs(b[i].y - b[j].y) < (b[i].height + b[j].height) / 2 - 0.5) n++;"
        "return n"
    )


def test_no_boxes_overlap_however_much_is_open(page):
    assert overlaps(page) == 0
    page.node(BLOCK).click()
    assert overlaps(page) == 0
    page.find("#open-all").click()
    assert overlaps(page) == 0


@pytest.mark.parametrize("name", sorted(render_graphs.ALL))
def test_no_boxes_of_any_graph_overlap(show, name):
    page = show(render_graphs.ALL[name]())
    page.find("#open-all").click()
    assert overlaps(page) == 0
    page.find("#close-all").click()
    assert overlaps(page) == 0


def test_the_spine_of_a_residual_network_runs_straight(page):
    spine = page.run("return page.scene.boxes.filter((b) => !b.back && b.item < 0).map((b) => b.x)")
    assert np.ptp(spine) < 1e-6


def test_the_tree_and_the_path_follow_what_is_open(page):
    page.find("#modules").click()
    names = lambda: [name.text for name in page.all("#tree .name")]  # noqa: E731
    assert names() == ["h.0 Block", "h.1 Block", "h.2 Block", "head Linear"]
    page.all("#tree .twisty")[1].click()
    assert names()[2:5] == ["h.1.first Linear", "h.1.act Tanh", "h.1.second Linear"]
    assert "module_h_1_first" in page.boxes
    page.all("#tree .name")[3].click()
    assert page.find("#name").text == "h.1.act Tanh"
    assert (
        page.find("#path").text
        == "h.1 Block \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} h.1.act Tanh"
    )
    page.find("#path button").click()
    assert page.find("#name").text == "h.1 Block"


def test_arrow_keys_go_through_the_tree(page):
    page.find("#view").click()
    page.press("m")
    page.run("document.querySelector('#tree .name').focus()")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert "module_h_1_first" in page.boxes
    assert page.run("return document.activeElement.textContent").strip() == "h.1  Block"
    page.press(Keys.ARROW_LEFT)
    assert BLOCK in page.boxes


def test_search_finds_what_is_closed_by_a_regular_expression(page, graph):
    page.find("#search").send_keys(r"^. tanh$")
    found = [n for n, d in graph.nodes(data=True) if d["label"] == "∇ tanh"]
    assert page.find("#found").text == f"{len(found)} found"
    assert len(page.all(".node.holds")) == 3  # of the cotangents alone
    page.press(Keys.ENTER)
    assert page.find("#name").text == "∇ tanh"
    assert page.run("return page.now.id(page.chosen.item, true)") in found
    page.find("#search").clear()
    page.find("#search").send_keys("(")
    assert page.find("#found").text == "0 found (as plain text)"


def test_the_panel_links_inputs_outputs_cotangent_and_source(page, graph):
    page.find("#open-all").click()
    tanh = next(n for n, d in graph.nodes(data=True) if d["label"] == "tanh")
    page.node(tanh).click()
    rows = {
        row.find_element("css selector", "th").text: row.find_element("css selector", "td")
        for row in page.all("#attributes tr")
    }
    assert rows["cotangent"].text == "∇ tanh"
    assert rows["inputs"].text == "linear"
    assert rows["used by"].text == "linear"
    link = rows["source"].find_element("css selector", "a").get_attribute("href")
    assert re.fullmatch(r"vscode://file/.+/test_render_page_groups\.py:\d+", unquote_plus(link))
    norm = graph.nodes[tanh]["norm"]
    assert float(rows["norm"].text) == pytest.approx(norm, rel=1e-5)
    rows["cotangent"].find_element("css selector", "button").click()
    assert page.find("#name").text == "∇ tanh"
    value = graph.nodes[f"d{tanh[1:]}"]["norm"]
    assert f"norm {float(f'{value:.6g}'):g}" in page.find("#attributes").text


def test_arrow_keys_walk_along_lines_and_to_the_cotangent(page):
    page.run("page.choose(page.now.ids.get('module_h_0'))")
    steps = [
        (Keys.ARROW_DOWN, "h.1 Block"), (Keys.ARROW_DOWN, "h.2 Block"),
        (Keys.ARROW_RIGHT, "∇ h.2 Block"), (Keys.ARROW_UP, "∇ h.1 Block"),
        (Keys.ARROW_LEFT, "h.1 Block"),
    ]  # fmt: skip
    for key, name in steps:
        page.press(key)
        assert page.find("#name").text == name


def test_overlays_are_chosen_without_a_new_run(page, graph):
    labels = [option.text for option in page.all("#overlay option")]
    assert {"No overlay", "gradient norm", "norm of values", "bytes (B)", "flops (FLOP)"} <= set(
        labels
    )
    choose = "const m = document.getElementById('overlay'); m.value = [...m.options].find("
    choose += "(o) => o.text === arguments[0]).value; m.dispatchEvent(new Event('change'))"
    page.run(choose, "bytes (B)")
    members = [
        d for d in graph.nodes.values() if d["scope"].startswith("h.1") and d["kind"] == "operation"
    ]
    total = sum(d["nbytes"] for d in members)
    page.node(BLOCK).click()
    assert f"bytes {total} B ({total} B)" in page.find("#attributes").text.replace(",", "")
    page.run("page.closeAll()")
    page.run(choose, "gradient norm")
    largest = max(
        d["norm"]
        for d in graph.nodes.values()
        if d["scope"].startswith("h.1") and d["kind"] == "cotangent"
    )
    notes = [t.text for t in page.node("_module_h_1").find_elements("css selector", ".note")]
    assert f"gradient norm {float(f'{largest:.3g}'):g}" in notes
    body = page.node("_module_h_1").find_element("css selector", ".body")
    assert "rgb" in body.get_attribute("style")
    assert page.find("#colours").is_displayed()
    page.run(choose, "No overlay")
    assert not page.find("#colours").is_displayed()


def test_the_overlay_of_the_options_is_chosen_at_first(show, graph):
    page = show(graph, depth=0, overlay=GradNorm())
    assert page.find("#overlay option:checked").text == "gradient norm"
    assert page.all(".valued")


def test_the_minimap_moves_the_window(show):
    page = show(graph_of(24), depth=1)
    before = page.seen
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page.browser).move_to_element_with_offset(
        page.find("#map"), 0, 60
    ).click().perform()
    assert page.seen[1] > before[1]
    assert page.seen[2:] == pytest.approx(before[2:])


def test_the_minimap_marks_all_four_sides_of_a_window_that_is_wider_than_the_picture(show):
    page = show(graph_of(24), depth=1)
    x, _, width, height = page.seen
    assert x < 0
    assert x + width > page.run("return page.scene.width")
    red = page.run("""
        const map = document.getElementById("map");
        const pen = map.getContext("2d"), unit = map.height / page.scene.height;
        const foot = (page.seen.y + page.seen.height) * unit;
        const places = [[0, foot / 2], [map.width - 1, foot / 2], [map.width / 2, 0],
                        [map.width / 2, foot]];
        const { data, width } = pen.getImageData(0, 0, map.width, map.height);
        return places.map(([x, y]) => {
          const at = 4 * (Math.floor(y) * width + Math.floor(x));
          return [...data.slice(at, at + 4)];
        });
    """)
    for r, g, b, alpha in red:
        assert alpha > 0
        assert r > max(g, b) + 60  # the accent
    assert height < page.run("return page.scene.height")


def test_only_what_is_in_the_window_is_in_the_document(show):
    page = show(graph_of(40))
    page.find("#open-all").click()
    assert len(page.boxes) > 600
    for _ in range(6):
        page.find("#in").click()
    page.run("return new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
    assert len(page.all(".node")) < 60


def test_the_address_keeps_the_view(page):
    page.node(BLOCK).click()
    page.find("#in").click()
    seen, boxes = page.seen, page.boxes
    address = page.run(
        "const { x, y, width } = page.seen; const at = [x, y, width].map(Math.round).join('+');"
        "return new Promise((told) => { const ask = () => location.hash.includes(`at=${at}&chosen`)"
        " ? told(location.href) : setTimeout(ask, 20); ask(); })"
    )
    page.browser.get("about:blank")
    page.open(address)
    assert page.boxes == boxes
    assert page.seen == pytest.approx(seen, abs=2)
    assert page.find("#name").text == "h.1 Block"


def test_the_view_is_saved_as_svg(page):
    text = page.run(
        "let text; const old = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { text = blob.text(); return '#'; };"
        "HTMLAnchorElement.prototype.click = function () {};"
        "document.getElementById('save').click(); URL.createObjectURL = old; return text"
    )
    assert text.startswith("<svg")
    assert f'data-node="{BLOCK}"' in text
    assert ".tracer .name" in text
    assert "tabindex" not in text


def test_help_names_every_key(page):
    page.find("#keys").click()
    assert page.find("#help").is_displayed()
    assert "opens and closes the module" in page.find("#help").text
    page.find("#help button").click()
    assert not page.find("#help").is_displayed()


def test_hostile_names_of_modules_are_text(show):
    graph = render_graphs.nasty()
    for data in graph.nodes.values():
        data["scope"], data["scopes"] = "a.<img src=x onerror=alert(1)>", ["A", "B"]
    page = show(graph, depth=0)
    page.find("#modules").click()
    page.find("#open-all").click()
    assert page.all("img, #tree script, #view script") == []


def test_more_than_forty_neighbours_are_opened_by_rows(show):
    net = render_graphs.Net()
    at = net.leaf("input", "x")
    for _ in range(300):
        at = net.op("tanh", at)
    page = show(net.graph, depth="auto")
    assert len(page.boxes) <= 41
    row = page.run("return page.now.id(page.scene.boxes.find((b) => b.item < 0).item, false)")
    page.run("page.choose({ item: page.scene.boxes.find((b) => b.item < 0).item, back: false })")
    assert "kind several in one box" in page.find("#attributes").text
    page.node(row).click()
    assert row not in page.boxes
    assert len(page.boxes) < 100


def test_equal_neighbours_are_one_box_and_open(show):
    page = show(graph_of(60), depth="auto")
    (alike,) = [box for box in page.boxes if box == "alike"]
    assert "60, one after the other" in page.node(alike).text
    page.node(alike).click()
    assert alike not in page.boxes


def test_the_difference_of_two_graphs_is_marked_in_what_is_closed(show):
    from tracer.extend import compare_graphs, united_graph

    one, two = graph_of(3), graph_of(3)
    for data in two.nodes.values():
        if data["scope"] == "h.1.act" and data["kind"] == "operation":
            data["shape"] = [9, 9]
    united = united_graph(one, two, compare_graphs(one, two))
    page = show(united, depth=0)
    assert page.all(".node.changed")


class Mixture(nn.Module):
    """As many experts as asked for beside one another, each with a weight, added up."""

    def __init__(self, count):
        super().__init__()
        self.router, self.softmax = nn.Linear(4, count), nn.Softmax(dim=-1)
        self.experts = nn.ModuleList([Block() for _ in range(count)])

    def forward(self, x):
        weights, total = self.softmax(self.router(x)), 0.0
        for number, expert in enumerate(self.experts):
            total = total + weights[:, number : number + 1] * expert(x)
        return total


def traced(model):
    with tracer.Tape(watch=True) as tape:
        loss = np.sum(model(np.ones((3, 4), np.float32)))
    tape.backward(loss)
    return tape.graph("both")


def titles(page):
    return page.run(
        "return page.scene.boxes.filter((b) => !b.back).map((b) => {"
        "const { title, notes } = page.now.told(b.item, false); return [title, notes[0]]; })"
    )


@pytest.mark.parametrize("inside", [False, True])
def test_more_equal_branches_than_a_page_is_wide_are_one_box_as_in_the_picture(show, inside):
    model = Mixture(8)
    graph = traced(nn.Sequential(model, nn.Linear(4, 2)) if inside else model)
    page = show(graph, depth="auto")
    start = "0." * inside
    found = dict(titles(page))
    assert {title: note for title, note in found.items() if note.startswith(f"{TIMES} 8")} == {
        f"{start}experts.0 … {start}experts.7  Block": f"{TIMES} 8, side by side",
        "getitem": f"{TIMES} 8, side by side",
        "multiply": f"{TIMES} 8, side by side",
        "add": f"{TIMES} 8, one after the other",
    }
    picture = describe(graph, DrawOptions(depth="auto"))
    drawn = [box.title for box in picture.boxes if box.kind != "cotangent"]
    if not inside:
        assert sorted(title for title, _ in titles(page)) == sorted(drawn)
    assert page.run("return page.scene.width") < 1200
    assert overlaps(page) == 0


def test_equal_branches_open_by_a_click_and_close_by_enter(show):
    page = show(traced(Mixture(8)), depth="auto")
    before = page.boxes
    find = "return page.now.id(page.scene.boxes.find((b) => page.now.told(b.item, false).title"
    branches = page.run(f"{find}.startsWith('experts')).item, false)")
    page.node(branches).click()
    names = [f"module_experts_{number}" for number in range(8)]
    assert branches not in page.boxes
    assert set(names) | {f"_{name}" for name in names} <= set(page.boxes)
    places = page.run(
        "return arguments[0].map((n) => page.scene.at.get(`${page.now.ids.get(n).item}`))"
        ".map((b) => [b.x, b.y])", names
    )  # fmt: skip
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert np.ptp([y for _, y in places]) < 1
    assert overlaps(page) == 0
    page.run("arguments[0].focus()", page.find(f'[data-group="{branches}"]'))
    page.press(Keys.ENTER)
    assert page.boxes == before
    page.press(Keys.ENTER)
    assert set(names) <= set(page.boxes)
    page.find("#open-all").click()
    assert not any(box.startswith(("abreast", "alike")) for box in page.boxes)
    values = {n for n, d in traced(Mixture(8)).nodes(data=True) if d["kind"] != "cotangent"}
    assert len({box for box in page.boxes if box.startswith("n")}) >= len(values)


def test_leaves_of_equal_operations_are_inside_of_their_box(show):
    weights = [tracer.parameter(np.eye(4, dtype=np.float32), name=f"w{i}") for i in range(8)]
    page = show(
        traced(lambda x: np.stack([np.tanh(tracer.batch(x) @ w) for w in weights])), depth="auto"
    )
    told = titles(page)
    assert [title for title, note in told if "side by side" in note] == ["matmul", "tanh"]
    assert not any(title.startswith("w") for title, _ in told)
    page.node("abreast").click()
    assert [title for title, _ in titles(page) if title.startswith("w")] == [
        f"w{i}" for i in range(8)
    ]


@pytest.mark.parametrize("count", [2, 5])
def test_few_equal_branches_stand_side_by_side(show, count):
    page = show(traced(Mixture(count)), depth="auto")
    assert not any("side by side" in (note or "") for _, note in titles(page))


def test_a_branch_that_something_else_reads_is_none_of_the_others(show):
    class Peeking(Mixture):
        def forward(self, x):
            values = [expert(x) for expert in self.experts]
            return np.concatenate(values, axis=-1).sum() * values[3].sum()

    told = dict(titles(show(traced(Peeking(9)), depth="auto")))
    assert told["experts.0 … experts.8  Block"] == f"{TIMES} 8, side by side"
    assert "experts.3  Block" in told or "experts.3.first  Linear" in told


def test_open_paths_lead_into_equal_branches(show):
    page = show(traced(Mixture(8)), depth="auto", opened=("experts.2",))
    assert "module_experts_2_first" in page.boxes
    assert any(box.startswith("module_experts_3") for box in page.boxes)
