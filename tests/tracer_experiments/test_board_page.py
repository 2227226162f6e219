"""The page of the board in headless Chromium: what a reader does with mouse and keys."""

from __future__ import annotations

import shutil
import time

import board_runs
import numpy as np
import pytest

from tracer_experiments import Chart, Recorder

pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

NASTY = '<img src=x onerror="document.title=1">'


def boxes(page):
    return page.run("return [...document.querySelectorAll('#runs .show')].map((b) => b.checked)")


def span(page):
    return page.run("return page.state.span")


def curves(page, key):
    """The curves that a chart was given last, by the names of their runs: (x, mean)."""
    return page.run(
        "const card = page.cardsInSight().find((c) => c.key === arguments[0]);"
        "return Object.fromEntries(card.plot.curves.map((c) =>"
        " [c.label ?? page.labelOf(c), [[...c.x], [...(c.smooth ?? c.mean)]]]))",
        key,
    )


def drag(page, card, begin, end, *, keys=()):
    canvas = card.find_element("css selector", "canvas")
    actions = ActionChains(page.browser)
    for key in keys:
        actions.key_down(key)
    actions.move_to_element_with_offset(canvas, *begin).click_and_hold()
    actions.move_to_element_with_offset(canvas, *end).release()
    for key in keys:
        actions.key_up(key)
    actions.perform()


def test_curves_of_all_runs_are_shown(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    assert page.texts("#runs .name") == [f"run-{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert page.texts("#count") == ["6 shown, 6 runs"]
    found = curves(page, "line:Loss")
    steps, values = page.board.reader().open("run-3").series("Loss")
    assert found["run-3"] == [steps.tolist(), values.tolist()]


def test_charts_stand_in_the_sections_of_their_charts(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    headings = page.texts(".section h2 .fold")
    assert headings == ["Training", "Step", "Gradients", "Curvature", "Histograms", "Images"]
    assert page.texts(".of-gradients h3 > span") == [
        "Gradient norm", "Norm test", "Gradient norm by layer",
    ]  # fmt: skip
    page.find(".of-step .fold").click()
    page.until("return !document.querySelector('.of-step .card')")
    assert "closed=step" in page.until("return location.hash.includes('closed') && location.hash")
    page.find(".of-step .fold").click()
    page.until("return document.querySelector('.of-step .card')")


def test_runs_are_hidden_and_shown(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    page.all("#runs .show")[1].click()
    page.drawn("line:Loss", 5)
    assert "run-4" not in curves(page, "line:Loss")
    page.find("#show-none").click()
    page.until("return document.querySelector('#count').textContent.startsWith('0 shown')")
    page.find("#show-all").click()
    page.drawn("line:Loss", 6)
    ActionChains(page.browser).double_click(page.all("#runs .name")[2]).perform()
    page.drawn("line:Loss", 1)
    assert list(curves(page, "line:Loss")) == ["run-3"]
    assert boxes(page) == [False, False, True, False, False, False]


def test_colours_stay_whatever_is_shown(show, few):
    page = show(few)
    script = (
        "const card = page.cardsInSight().find((c) => c.key === 'line:Loss');"
        "return Object.fromEntries(card.plot.curves.map((c) => [c.run.name, c.colour]))"
    )
    page.drawn("line:Loss", 6)
    before = page.run(script)
    assert len(set(before.values())) == 6
    page.type("#filter", "optimizer=adam")
    page.drawn("line:Loss", 3)
    assert page.run(script).items() <= before.items()


@pytest.mark.parametrize(
    ("text", "found"),
    [("lr<0.1", [5, 2]), ("lr>=0.1 optimizer=sgd", [4, 0]), ("status=failed", [2]), ("run-3", [3]),
     ("optimizer!=sgd", [5, 3, 1]), ("model.width=8", [4, 2, 0]), ("group~BAS", [5, 3, 1]),
     ("seed>3", [5, 4]), ("nothing", []), ("adam lr=0.3", [3]), ("Loss<1000", [5, 4, 3, 2, 1, 0]),
     ('"run-1" "', [1]), ("(", []), ("none<3", [])],
)  # fmt: skip
def test_the_filter_of_runs(show, few, text, found):
    page = show(few)
    page.type("#filter", text)
    wanted = [f"run-{number}" for number in found]
    page.until(
        "return JSON.stringify([...document.querySelectorAll('#runs .name')]"
        ".map((e) => e.textContent)) === arguments[0]",
        str(wanted).replace("'", '"').replace(", ", ","),
    )


def test_series_are_searched_by_a_regular_expression(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    page.press("/")
    page.press("^(Loss|acc)")
    page.until("return document.querySelectorAll('.card').length === 2")
    assert page.texts("#found") == ["2 found"]
    page.type("#search", "(")
    page.until("return document.querySelector('#found').classList.contains('wrong')")
    page.press(Keys.ESCAPE)
    page.until("return document.querySelectorAll('.card').length > 5")


def test_dragging_zooms_and_a_double_click_shows_all(show, few):
    page = show(few)
    card = page.drawn("line:Loss", 6)
    drag(page, card, (-60, 0), (40, 4))
    low, high = page.until("return page.state.span")
    assert 20 < low < 60 < high < 100
    page.drawn("line:Loss", 6)
    assert "span=" in page.until("return location.hash.includes('span=') && location.hash")
    canvas = card.find_element("css selector", "canvas")
    ActionChains(page.browser).double_click(canvas).perform()
    page.until("return page.state.span === null")


def test_shift_and_dragging_moves(show, few):
    page = show(few, "span=40 80")
    card = page.drawn("line:Loss", 6)
    drag(page, card, (0, 0), (-50, 0), keys=[Keys.SHIFT])
    low, high = page.until("return page.state.span[0] !== 40 && page.state.span")
    assert high - low == pytest.approx(40)
    assert low > 41
    page.press("p")
    assert page.until("return page.state.drag") == "pan"
    drag(page, card, (0, 0), (50, 0))
    page.until("return page.state.span[0] < arguments[0] - 1", low)


def test_a_part_is_fetched_in_more_detail(show, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("long")
        for step in range(20_000):
            run.log(step, loss=float(np.sin(step)))
        run.finish()
        page = show(tmp_path)
        page.drawn("line:loss", 1)
        assert len(curves(page, "line:loss")["long"][0]) == 400
        page.run("page.changed({ span: [1000, 1100] })")
        page.until(
            "const c = page.cardsInSight()[0].plot.curves[0]; return c.exact && c.x.length > 100"
        )
        x, y = curves(page, "line:loss")["long"]
        np.testing.assert_allclose(y, np.sin(x))
        assert x[0] <= 1000
        assert x[-1] >= 1100


@pytest.mark.parametrize(("axis", "last"), [("step", 119), ("epoch", 119 / 50), ("time", None)])
def test_axes(show, few, axis, last):
    page = show(few)
    Select(page.find("#axis")).select_by_value(axis)
    page.until("return page.state.axis === arguments[0]", axis)
    page.drawn("line:Loss", 6)
    page.until("return page.cardsInSight()[0].plot.curves.length === 6")
    x, _ = curves(page, "line:Loss")["run-0"]
    if last is None:
        last = page.board.reader().open("run-0").times("Loss")[-1]
    assert x[-1] == pytest.approx(last)


def test_logarithmic_axes(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    page.find("#logx").click()
    Select(page.find("#y")).select_by_value("log")
    page.until(
        "const { plot } = page.cardsInSight().find((c) => c.key === 'line:Loss');"
        "return plot.x.scale.kind === 'log' && plot.y.scale.kind === 'log' && plot.x.low === 0"
    )
    Select(page.find("#y")).select_by_value("auto")
    page.card("line:GradNorm")
    kinds = page.until(
        "const c = Object.fromEntries(page.cardsInSight().filter((c) => c.plot?.y)"
        ".map((c) => [c.key, c.plot.y.scale.kind]));"
        "return c['line:GradNorm'] === 'log' && c"
    )
    assert kinds["line:Loss" if "line:Loss" in kinds else "line:Distance"] == "linear"


def test_smoothing_does_not_depend_on_how_many_points_are_sent(show, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("a")
        for step in range(8000):
            run.log(step, loss=float(step > 4000))
        run.finish()
        page = show(tmp_path, "smooth=0.5")
        page.drawn("line:loss", 1)
        x, coarse = curves(page, "line:loss")["a"]
        assert 0.3 < np.interp(4500, x, coarse) < 0.7
        page.run("page.changed({ span: [3800, 5200] })")
        page.until("const { x } = page.cardsInSight()[0].plot.curves[0]; return x[1] - x[0] < 15")
        x, fine = curves(page, "line:loss")["a"]
        rise = 1 - np.exp(-(4500 - 4000) / (7979 * 0.3 * 0.25))
        assert np.interp(4500, x, fine) == pytest.approx(rise, abs=0.02)


@pytest.mark.parametrize("view", ["", "band=group", "smooth=0.5", "band=group&smooth=0.5"])
def test_what_is_constant_is_drawn_as_constant(show, tmp_path, view):
    """To the last bit: rounding would be all that an axis shows."""
    with Recorder(tmp_path) as recorder:
        for lr in (0.1, 0.1, 0.01 / 3):
            with recorder.run("run", group=str(lr)) as run:
                for step in range(1380):
                    run.log(step, lr=lr)
    page = show(tmp_path, view)
    page.drawn("line:lr", 2 if "band" in view else 3)
    drawn = page.run(
        "const card = page.cardsInSight().find((c) => c.key === 'line:lr');"
        "return card.plot.curves.map((c) => [...(c.smooth ?? c.mean), ...c.low, ...c.high])"
    )
    assert {value for curve in drawn for value in curve} == {0.1, 0.01 / 3}


def test_groups_are_bands_of_median_and_quartiles(show, few):
    page = show(few, "band=group")
    page.drawn("line:Loss", 2)
    labels = page.run("return page.cardsInSight()[0].plot.curves.map((c) => page.labelOf(c))")
    assert sorted(labels) == ["base (3 runs)", "wide (3 runs)"]
    found = page.run(
        "const c = page.cardsInSight()[0].plot.curves.find((c) => c.band === 'base');"
        "return [[...c.x], [...c.low], [...c.mean], [...c.high]]"
    )
    runs = [page.board.reader().open(f"run-{n}").series("Loss")[1] for n in (1, 3, 5)]
    wanted = np.quantile(runs, [0.25, 0.5, 0.75], axis=0)
    for row, values in zip(found[1:], wanted, strict=True):
        np.testing.assert_allclose(row, np.interp(found[0], np.arange(120), values), rtol=1e-6)
    assert page.texts(".legend span")[:2] == ["wide (3)", "base (3)"]
    Select(page.find("#band")).select_by_value("config:lr")
    page.drawn("line:Loss", 3)


def test_what_has_no_neighbour_has_the_whole_width(show, tmp_path):
    """Names of a sweep are told apart: in the table of a comparison, and where runs are chosen."""
    with Recorder(tmp_path) as recorder:
        for seed in (0, 1):
            with recorder.run(f"lr=0.001 optimizer=adamw model.width=64 seed={seed}") as run:
                run.log(0, loss=seed)
                if seed:
                    run.graph(board_runs.tape_of(board_runs.network()))
    page = show(tmp_path, "view=compare")
    table, view = page.find("#view-compare .scroll"), page.find("#view-compare")
    assert table.size["width"] > 0.8 * view.size["width"]
    for menu in page.all("#view-compare select"):
        assert menu.size["width"] > 300
    page = show(tmp_path, "view=model")
    assert page.until("return document.querySelector('#view-model img').naturalWidth > 0")
    stage, whole = page.find("#view-model .picture"), page.find("#view-model .model")
    assert stage.size["width"] == whole.size["width"]


def test_values_under_the_pointer(show, few):
    page = show(few)
    card = page.drawn("line:Loss", 6)
    ActionChains(page.browser).move_to_element(
        card.find_element("css selector", "canvas")
    ).perform()
    assert page.until("return !document.querySelector('#tip').hidden")
    where = page.texts("#tip .where")[0]
    step = int(where.removeprefix("step "))
    assert 40 < step < 80
    told = dict(zip(page.texts("#tip th"), page.texts("#tip td:nth-child(3)"), strict=True))
    assert set(told) == {f"run-{n}" for n in range(6)}
    value = page.board.reader().open("run-2").series("Loss")[1][step]
    assert float(told["run-2"]) == pytest.approx(value, rel=1e-3)


def test_what_is_not_finite_is_a_gap_and_a_mark(show, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("a")
        for step, value in enumerate([1, 2, np.nan, 4, np.inf, 6, -np.inf, 8.0]):
            run.log(step, loss=value)
        run.finish()
        page = show(tmp_path)
        page.drawn("line:loss", 1)
        found = page.run("const c = page.cardsInSight()[0].plot.curves[0]; return [...c.marks]")
        assert found == [0, 0, 1, 0, 2, 0, 4, 0]
        ink = (
            "const { plot } = page.cardsInSight()[0]; const { area, ratio } = plot;"
            "const at = (plot.atX(arguments[0]) - 3) * ratio;"
            "const copy = document.createElement('canvas'); copy.width = plot.canvas.width;"
            "copy.height = plot.canvas.height;"
            "const context = copy.getContext('2d', { willReadFrequently: true });"
            "context.drawImage(plot.canvas, 0, 0);"
            "const data = context.getImageData(at, (arguments[1] + area.y) * ratio, 6 * ratio,"
            " area.height * arguments[2] * ratio).data;"
            "let most = 0; for (let i = 0; i < data.length; i += 4) most = Math.max(most,"
            " data[i + 2] - data[i]); return most"
        )
        height = page.run("return page.cardsInSight()[0].plot.area.height")
        assert page.run(ink, 2, height * 0.1, 0.7) < 40  # no line leads through NaN
        assert page.run(ink, 2, height * 0.9, 0.1) > 60  # a cross at the foot
        assert page.run(ink, 4, 0, 0.05) > 60  # a triangle at the top
        assert page.run(ink, 6, height * 0.95, 0.05) > 60


def test_a_few_far_values_do_not_flatten_the_others(show, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("a")
        for step in range(200):
            run.log(step, loss=np.sin(step) if step != 100 else 1e6, even=float(step % 7))
        run.finish()
        page = show(tmp_path)
        card = page.drawn("line:loss", 1)
        ends = (
            "const { plot } = page.cardsInSight().find((c) => c.key === arguments[0]);"
            "return [plot.y.low, plot.y.high]"
        )
        low, high = page.run(ends, "line:loss")
        assert -4 < low < -1 < 1 < high < 4
        button = card.find_element("xpath", ".//button[text()='far values']")
        button.click()
        page.until(f"{ends.replace('return', 'return 1e6 <= ')}[1]", "line:loss")
        low, high = page.run(ends, "line:even")
        assert low < 0 < 6 < high
        hidden = page.card("line:even").find_element("xpath", ".//button[text()='far values']")
        assert not hidden.is_displayed()


def test_names_that_are_html_stay_text(show, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run(NASTY, {NASTY: NASTY}, group=NASTY)
        run.describe(NASTY, Chart(NASTY, about=NASTY, unit=NASTY, lines=((0.5, NASTY),)))
        for step in range(3):
            run.log(step, **{NASTY: float(step)})
            run.log(step, **{f"hist{NASTY}": np.arange(9.0)})
        run.finish("failed", NASTY)
        other = recorder.run("b", {NASTY: 1})
        other.log(0, **{NASTY: 1.0})
        other.finish()
        page = show(tmp_path)
        page.until("return document.querySelectorAll('.card').length === 2")
        for view in ("charts", "cockpit", "table", "compare", "model"):
            page.find(f"[data-view={view}]").click()
            page.until("return !document.querySelector(`#view-${arguments[0]}`).hidden", view)
            time.sleep(0.2)
            assert not page.all("main img[src=x], #side img")
            assert page.run("return document.title") != "1"
        assert NASTY in page.texts("#runs .name")


def test_the_table_sorts_and_tells_what_differs(show, few):
    page = show(few, "view=table")
    page.until(
        "return [...document.querySelectorAll('.configurations thead button')]"
        ".some((b) => b.textContent === 'lr')"
    )
    heads = page.texts(".configurations thead button")
    assert {"lr", "optimizer", "model.width", "Loss", "status", "duration"} <= set(heads)
    names = "#view-table tbody .name"
    assert page.texts(names) == [f"run-{n}" for n in (5, 4, 3, 2, 1, 0)]

    def click(column):
        page.run(
            "[...document.querySelectorAll('.configurations thead button')]"
            ".find((b) => b.textContent.startsWith(arguments[0])).click()",
            column,
        )
        time.sleep(0.1)

    click("lr")
    assert page.texts(names)[:2] == ["run-2", "run-5"]
    click("lr")
    assert page.texts(names)[:2] == ["run-0", "run-3"]
    page.type("#filter", "optimizer=sgd")
    page.until("return document.querySelectorAll('#view-table tbody tr').length === 3")
    assert "optimizer" not in page.texts(".configurations thead button")
    page.find("#view-table input[type=checkbox]").click()
    page.until(
        "return [...document.querySelectorAll('.configurations thead button')]"
        ".some((b) => b.textContent === 'optimizer')"
    )
    page.all("#view-table tbody .show")[0].click()
    page.until("return document.querySelector('#count').textContent.startsWith('2 shown')")


def test_two_runs_are_compared(show, few):
    page = show(few, "view=compare&first=1&second=2")
    page.until("return document.querySelectorAll('#view-compare tbody tr').length > 3")
    rows = page.run(
        "return Object.fromEntries([...document.querySelectorAll('#view-compare tbody tr')]"
        ".map((r) => [...r.children].map((c) => c.textContent))"
        ".map(([key, ...rest]) => [key, rest.slice(0, 2)]))"
    )
    assert rows["lr"] == ["0.3", "0.1"]
    assert rows["optimizer"] == ["sgd", "adam"]
    assert "status" not in rows  # which is the same
    page.drawn("line:Loss", 2)
    page.until("return document.querySelector('.graphs .changed li')")
    assert "0.weight [6, 4]: shape [8, 4] to [6, 4]" in page.texts(".graphs .changed li")
    page.until("return document.querySelector('.graphs img')?.naturalWidth > 100")
    page.find("#view-compare [aria-label='Exchange the runs']").click()
    page.until("return page.state.first === 2 && page.state.second === 1")


def test_the_cockpit_shows_one_run(show, few):
    page = show(few, "view=cockpit&focus=3")
    page.drawn("line:Loss", 1)
    assert list(curves(page, "line:Loss")) == ["run-2"]
    assert "failed" in page.texts(".fact.status dd")
    assert "ValueError: no luck" in page.texts(".fact.wide dd")
    across = page.run(
        "return ['step', 'gradients', 'curvature'].map((g) =>"
        " document.querySelector(`#view-cockpit .of-${g}`).getBoundingClientRect().left)"
    )
    assert across == sorted(across)
    assert len(set(across)) == 3


def test_histograms_over_time_and_at_a_step(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    card = page.card("histogram:GradHist1d")
    page.until("return arguments[0].querySelector('output').textContent === 'step 110'", card)
    slider = card.find_element("css selector", "input[type=range]")
    slider.send_keys(Keys.HOME)
    page.until("return arguments[0].querySelector('output').textContent === 'step 0'", card)
    canvas = card.find_element("css selector", "canvas")
    ActionChains(page.browser).move_to_element(canvas).click().perform()
    page.until("return /step [4-7]0/.test(arguments[0].querySelector('output').textContent)", card)
    part = Select(card.find_element("css selector", "[aria-label=Part]"))
    assert [each.text for each in part.options] == ["all", "0.weight"]
    part.select_by_visible_text("0.weight")
    page.until(
        "const c = page.cardsInSight().find((c) => c.key === 'histogram:GradHist1d');"
        "return c.edges === 21"
    )
    pairs = page.card("histogram2d:GradHist2d")
    page.until("return arguments[0].querySelector('output').textContent === 'step 110'", pairs)
    page.until(
        "const c = arguments[0].querySelector('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.some((v) => v)",
        pairs,
    )


def test_images_by_a_slider(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    card = page.card("image:filters")
    page.until("return arguments[0].querySelector('img').naturalWidth === 12", card)
    card.find_element("css selector", "input[type=range]").send_keys(Keys.HOME)
    page.until("return arguments[0].querySelector('img').src.endsWith('step=0')", card)


def test_the_model_with_an_overlay_at_a_step(show, few):
    page = show(few, "view=model&focus=1")
    page.until("return document.querySelector('#view-model img').naturalWidth > 100")
    assert page.until("return document.querySelectorAll('.layers li').length === 6")
    last = page.texts(".layers .number")
    slider = page.find("#view-model input[type=range]")
    slider.send_keys(Keys.HOME)
    page.until("return page.state.step === 0")
    changed = "return document.querySelector('.layers .number').textContent !== arguments[0]"
    page.until(changed, last[0])
    value = page.board.reader().open(1).series("GradNorm/0.weight")[1][0]
    assert float(page.texts(".layers .number")[0]) == pytest.approx(value, rel=1e-3)
    page.all("#view-model .heading button")[0].click()
    frame = page.until("return document.querySelector('iframe')")
    assert frame.get_attribute("sandbox") == "allow-scripts"
    page.browser.switch_to.frame(frame)
    page.until("return document.querySelector('#view [data-node]')")
    page.browser.switch_to.default_content()


def test_a_run_that_goes_on_is_live(show, tmp_path):
    with Recorder(tmp_path) as recorder:
        run = recorder.run("first")
        run.log(0, loss=1.0)
        run.log(1, loss=2.0)
        run.flush()
        page = show(tmp_path)
        page.drawn("line:loss", 1)
        assert page.find("#state").text == "live"
        assert page.all("#runs .dot.running")
        for step in range(2, 50):
            run.log(step, loss=float(step))
        run.flush()
        page.until("return page.cardsInSight()[0].plot.curves[0].x.length === 50")
        second = recorder.run("second")
        second.log(0, loss=1.0, other=2.0)
        second.finish("failed", "no luck")
        page.drawn("line:loss", 2)
        page.until("return document.querySelector('#runs .dot.failed')")
        page.until("return document.querySelectorAll('.card').length === 2")
        recorder.remove("second")
        page.until("return document.querySelectorAll('#runs .name').length === 1")
        page.drawn("line:loss", 1)


def quiet(page):
    """What the browser says of addresses that cannot be read is expected here."""
    messages = [entry["message"] for entry in page.browser.get_log("browser")]
    assert [each for each in messages if "/api/" not in each] == []


def test_a_database_that_is_not_there_yet_and_no_more(show, tmp_path):
    (tmp_path / "a").mkdir()
    page = show(tmp_path / "a")
    page.until("return !document.querySelector('#empty').hidden")
    assert "no runs" in page.find("#banner").text
    board_runs.some(tmp_path / "a", 2, steps=10).close()
    page.drawn("line:Loss", 2)
    page.until("return document.querySelector('#banner').hidden")
    assert page.find("#state").text == "live"
    shutil.move(tmp_path / "a", tmp_path / "b")
    page.until("return document.querySelector('#state').textContent === 'trouble'")
    assert "What was read before stays" in page.find("#banner").text
    page.drawn("line:Loss", 2)
    quiet(page)


def test_a_server_that_stops_and_comes_back(show, serve, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    board = page.board
    board.shutdown()
    board.server_close()
    page.until("return document.querySelector('#state').textContent === 'not live'")
    assert page.find("#banner").is_displayed()
    page.drawn("line:Loss", 6)
    serve(few, board.server_port)
    page.until("return document.querySelector('#state').textContent === 'live'")
    quiet(page)


def test_the_address_keeps_the_view(show, few):
    page = show(few, "axis=epoch&logx=1&y=log&smooth=0.25&band=group&filter=lr%3C1&search=Los"
                     "&off=2-3&span=0.5+2&view=charts&focus=4")  # fmt: skip
    page.until("return document.querySelectorAll('.card').length === 1")
    assert page.find("#axis").get_attribute("value") == "epoch"
    assert page.find("#logx").is_selected()
    assert page.find("#smooth").get_attribute("value") == "25"
    assert page.find("#filter").get_attribute("value") == "lr<1"
    assert boxes(page) == [True, True, True, False, False, True]
    assert span(page) == [0.5, 2]
    page.find("#show-none").click()
    page.until("return location.hash.includes('on=')")
    address = page.run("return location.href")
    page.browser.get("about:blank")
    page.browser.get(address)
    page.until("return document.documentElement.dataset.ready === 'true'")
    assert boxes(page) == [False] * 6


def test_a_wrong_address_shows_what_there_is(show, few):
    page = show(few, "view=none&axis=x&logx=z&span=5&off=a-b,9-1&smooth=99&focus=-3&y=odd&sort=q")
    page.drawn("line:Loss", 6)
    page.find("[data-view=table]").click()
    page.until("return document.querySelectorAll('#view-table tbody tr').length === 6")


def test_everything_by_keys(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    views = ("charts", "cockpit", "table", "compare", "model")
    for number, view in reversed(list(enumerate(views, 1))):
        page.press(str(number))
        page.until("return !document.querySelector(`#view-${arguments[0]}`).hidden", view)
    page.run("document.querySelector('.card').focus()")
    page.press(Keys.ARROW_RIGHT)
    page.until("return !document.querySelector('#tip').hidden")
    page.press("+")
    page.until("return page.state.span !== null")
    page.press("0")
    page.until("return page.state.span === null")
    page.press(Keys.ARROW_DOWN)
    page.until("return document.activeElement.dataset.card === 'line:accuracy'")
    page.press(Keys.ENTER)
    page.until("return document.activeElement.classList.contains('large')")
    page.press(Keys.ESCAPE)
    page.until("return !document.querySelector('.large')")
    page.press("x")
    page.until("return page.state.axis === 'epoch'")
    page.press("]")
    page.until("return page.state.smooth === 0.1")
    page.press("f")
    assert page.run("return document.activeElement.id") == "filter"
    page.press("run-1", Keys.TAB)
    page.until("return document.querySelectorAll('#runs .name').length === 1")
    page.press("?")
    assert page.find("#help").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.find("#help").is_displayed()


def test_every_button_and_field_has_a_name(show, few):
    page = show(few)
    for view in ("charts", "cockpit", "table", "compare", "model"):
        page.find(f"[data-view={view}]").click()
        time.sleep(0.3)
        nameless = page.run(
            "return [...document.querySelectorAll('button, input, select, img')].filter((e) =>"
            " !(e.textContent.trim() || e.ariaLabel || e.getAttribute('alt') !== null"
            " || e.closest('label'))).map((e) => e.outerHTML)"
        )
        assert nameless == []


def test_light_and_dark(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.find("#theme").click()
    page.until(f"{ground} !== arguments[0]", light)
    dark = page.run(ground)
    assert sum(map(int, dark[4:-1].split(","))) < 150
    page.open(page.board.address)
    assert page.run(ground) == dark  # this browser remembers it
    page.press("t")
    page.until(f"{ground} === arguments[0]", light)
    page.run("localStorage.clear()")


@pytest.fixture
def narrow(page):
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.usefixtures("narrow")
def test_a_narrow_screen(show, few):
    page = show(few)
    page.drawn("line:Loss", 6)
    for view in ("charts", "cockpit", "table", "compare", "model"):
        page.find(f"[data-view={view}]").click()
        time.sleep(0.3)
        assert page.run("return document.documentElement.scrollWidth") <= 390
        assert page.run("return document.querySelector('main').scrollWidth") <= 390
    page.find("[data-view=charts]").click()
    assert not page.find("#side").is_displayed()
    page.find("#drawer").click()
    page.until("return document.querySelector('#side').getBoundingClientRect().left === 0")
    page.all("#runs .show")[0].click()
    page.press(Keys.ESCAPE)
    page.until("return !document.body.classList.contains('drawer')")
    page.drawn("line:Loss", 5)
