"""The keyboard in the page: what draws anew leaves it at its box, or at the module of that."""

from __future__ import annotations

import pytest
import render_graphs

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys

AT = (
    "const e = document.activeElement;"
    "return e.dataset.node ?? e.dataset.group ?? (e.id || e.tagName)"
)


@pytest.fixture
def page(show):
    tape = render_graphs.trace(6)
    folded = tape.graph("both", "folded")
    return show(tape.graph("both"), depth=None, other=(folded, None))


def focus(page, name):
    page.run(
        "page.focusOn(page.now.ids.get(arguments[0]))"
        if name != "view"
        else "document.getElementById('view').focus()",
        name,
    )
    assert page.run(AT) == name


@pytest.mark.parametrize("name", ["n3", "d3", "view"])
def test_a_key_leaves_the_keyboard_where_it_is(page, name):
    focus(page, name)
    for key in ("e", "0", "+", "-", ",", ".", "a", "m", "n"):
        for time in (1, 2):
            page.press(key)
            assert page.run(AT) == name, f"{key}, pressed for the {time}. time"


def test_closing_all_gives_the_keyboard_to_the_module(page):
    focus(page, "n3")
    page.press("c")
    assert page.run(AT) == "module_rnn"
    page.press(Keys.ENTER)
    assert page.run(AT) == "module_rnn"
    assert page.all("[data-group=module_rnn]")
    page.press("c")
    assert page.run(AT) == "module_rnn"


def test_folding_time_gives_the_keyboard_to_the_same_box_or_its_module(page):
    focus(page, "n3")
    for _ in range(3):
        page.press("f")
        found = page.run(AT)
        assert found in page.boxes or found in page.run(
            "return page.scene.frames.map((f) => page.now.id(f.item, f.back))"
        )
    page.press("c")
    focus(page, "module_rnn")
    page.press("f")
    assert page.run(AT) == "module_rnn"


def test_saving_and_an_overlay_leave_the_keyboard(page):
    focus(page, "n3")
    page.run("HTMLAnchorElement.prototype.click = () => {}; page.save()")
    assert page.run(AT) == "n3"
    page.run("page.setOverlay(0); page.update(); page.describe()")
    assert page.run(AT) == "n3"


def test_links_and_closing_the_details_lead_to_the_box(page):
    focus(page, "n3")
    page.press(" ")
    link = page.find("#attributes button.link")
    page.run("arguments[0].focus()", link)
    page.press(Keys.ENTER)
    chosen = page.find(".chosen").get_attribute("data-node")
    assert page.run(AT) == chosen
    page.run("document.getElementById('close').focus()")
    page.press(Keys.ENTER)
    assert page.run(AT) == chosen
    assert not page.find("#panel").is_displayed()


def test_the_tree_keeps_the_keyboard_at_its_row(page):
    page.press("m")
    page.find("#tree .twisty").click()
    assert page.run("return document.activeElement.dataset.group") == "module_rnn"


def test_folding_time_keeps_the_box_that_both_views_have(page):
    names = page.run(
        "const [a, b] = ['unrolled', 'folded'].map((t) => page.views.get(t));"
        "return [...a.ids].filter(([id, { item }]) => item >= 0 && b.ids.get(id)?.item >= 0)"
        ".map(([id]) => id)"
    )
    for name in names[:: max(1, len(names) // 6)]:
        page.run("page.now.reveal(page.now.ids.get(arguments[0]).item); page.update()", name)
        focus(page, name)
        page.press("f")
        assert page.run(AT) in (name, *groups_around(page, name))
        page.press("f")


def test_folding_time_with_the_keyboard_at_a_group(page):
    names = page.run("return page.scene.frames.map((f) => page.now.id(f.item, f.back))")
    for name in list(filter(None, names))[::3]:
        page.run("page.focusOn(page.now.ids.get(arguments[0]))", name)
        page.press("f")
        assert page.run(AT) != "BODY"
        page.press("f")


def groups_around(page, name):
    return page.run(
        "const { item, back } = page.now.ids.get(arguments[0]);"
        "const names = (g) => [page.now.id(~g, back), page.now.id(~g, false)];"
        "return page.now.chain(item).flatMap(names)",
        name,
    )
