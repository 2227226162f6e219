"""Where the lines of the HTML page run: past boxes and titles, and straight where they can."""

from __future__ import annotations

import numpy as np
import pytest
import render_graphs

import tracer
import tracer_layers as nn

pytest.importorskip("selenium")

#: What is wrong with the lines of what is open, by fault. Points of paths are about 3 pixels apart.
FAULTS = r"""
const { scene, now } = page, faults = { box: [], title: [], step: [], label: [], end: [] };
const id = (item, back) => now.id(item, back);
const between = (points) => points.slice(1).flatMap(([x1, y1], i) => {
  const [x0, y0] = points[i], count = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / 3));
  return Array.from({ length: count }, (_, k) =>
    [x0 + ((x1 - x0) * k) / count, y0 + ((y1 - y0) * k) / count]);
});
const bezier = ([a, b, c, d]) => Array.from({ length: 41 }, (_, k) => {
  const t = k / 40, u = 1 - t;
  return [0, 1].map((i) =>
    u ** 3 * a[i] + 3 * u * u * t * b[i] + 3 * u * t * t * c[i] + t ** 3 * d[i]);
});
const pieces = (path) => {
  let at = null;
  return [...path.matchAll(/([MLC])([^MLC]*)/g)].flatMap(([, kind, words]) => {
    const numbers = words.trim().split(/\s+/).map(Number), points = [];
    for (let i = 0; i < numbers.length; i += 2) points.push(numbers.slice(i, i + 2));
    const from = at;
    at = points[points.length - 1];
    const all = kind === "C" ? bezier([from, ...points]) : [from, at];
    const bend = kind === "C" && points[0][0] === from[0] && points[1][0] === at[0];
    return kind === "M" ? [] : [{ bend, from, to: at, points: all }];
  });
};
const inner = ({ x, y, width, height }, by) =>
  [x - width / 2 + by, y - height / 2 + by, x + width / 2 - by, y + height / 2 - by];
const inside = ([x, y], [left, top, right, bottom]) =>
  x > left && x < right && y > top && y < bottom;
const titles = scene.frames.map((frame) => {
  const [left, top] = inner(frame, 0), words = page.frameTitle(now, ~frame.item, frame.back);
  const start = left + frame.title + 6;
  const end = start + 12 + page.noteWidth(words);
  return [id(frame.item, frame.back), [start, top + 6, end, top + 16]];
});
for (const line of scene.lines) {
  const name = [id(line.tail, line.back), id(line.head, line.back)];
  const parts = pieces(line.path), points = between(parts.flatMap((part) => part.points));
  for (const box of scene.boxes)
    if (points.some((at) => inside(at, inner(box, 4))))
      faults.box.push([...name, id(box.item, box.back)]);
  for (const [frame, title] of titles)
    if (points.some((at) => inside(at, title))) faults.title.push([...name, frame]);
  const [tail, head] = [line.tail, line.head].map((item) =>
    scene.at.get(`${item}${line.back ? "b" : ""}`));
  if (!inside(parts[0].from, inner(tail, -1)) || !inside(parts.at(-1).to, inner(head, -1)))
    faults.end.push(name);
  if (!line.delayed && !tail.beside && !head.beside)
    for (const { bend, from, to } of parts) {
      const aside = Math.abs(to[0] - from[0]);
      if (bend && aside > 0.15 && aside < 5.8) faults.step.push([...name, aside]);
    }
  if (line.label) {
    const end = line.labelX + line.side * page.noteWidth(line.label);
    const words = between([[line.labelX, line.labelY], [end, line.labelY]]);
    for (const box of scene.boxes)
      if (words.some((at) => inside(at, inner(box, 0))))
        faults.label.push([...name, id(box.item, box.back)]);
  }
}
return faults;
"""


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.second = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.second(self.act(self.first(x)))


class Experts(nn.Module):
    """Weighed experts, one after the other: lines of weights pass by all of them."""

    def __init__(self, count):
        super().__init__()
        self.gate = nn.Linear(4, count)
        self.experts = nn.ModuleList([Block() for _ in range(count)])

    def forward(self, x):
        weights = nn.functional.softmax(self.gate(x), -1)
        return sum(weights[:, i : i + 1] * each(x) for i, each in enumerate(self.experts))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, left, right):
        return np.abs(self.net(left) - self.net(right))


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.of_input, self.of_state = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, state):
        return np.tanh(self.of_input(x) + self.of_state(state))


def swept(forward):
    with tracer.Tape(watch=True) as tape:
        loss = (forward() ** 2).mean()
    tape.backward(loss)
    return tape


def data(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def by_a_loop():
    cell, state = Cell(), data(3, 4)
    for t in tracer.steps(4):
        state = cell(data(3, 4) + t, state)
    return state


def by_hand():
    w, u = tracer.parameter(data(2, 2), "w"), tracer.parameter(data(2, 2), "u")
    x, h, c = tracer.batch(data(3, 4, 2), name="x"), data(3, 2), data(3, 2)
    for t in tracer.steps(4):
        c = 0.5 * c + np.tanh(x[:, t] @ u + h @ w)
        h = np.tanh(c) * 0.9
    return h


FORWARD = {
    "blocks": lambda: nn.Sequential(Block(), Block())(data(3, 4)),
    "experts": lambda: Experts(4)(data(3, 4)),
    "siamese": lambda: Siamese()(data(3, 4), data(3, 4)),
    "transformer": lambda: nn.Sequential(
        *(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
    )(data(2, 3, 8)),
    "lstm": lambda: nn.LSTM(3, 4)(data(4, 2, 3))[0],
    "two lstms": lambda: nn.LSTM(3, 4, num_layers=2)(data(4, 2, 3))[0],
    "gru": lambda: nn.GRU(3, 4)(data(4, 2, 3))[0],
    "a loop": by_a_loop,
    "by hand": by_hand,
}
IN_TIME = ("lstm", "two lstms", "gru", "a loop", "by hand")


@pytest.mark.parametrize(
    ("name", "time"),
    [*((name, "unrolled") for name in FORWARD), *((name, "folded") for name in IN_TIME)],
)
def test_lines_run_past_boxes_and_titles_and_have_no_small_steps(show, name, time):
    page = show(swept(FORWARD[name]).graph("both", time), depth=0)
    assert_no_faults(page)
    page.run("page.openAll()")
    assert_no_faults(page)


@pytest.mark.parametrize("name", sorted(render_graphs.ALL))
def test_so_they_do_in_graphs_made_by_hand(show, name):
    page = show(render_graphs.ALL[name]())
    page.run("page.openAll()")
    assert_no_faults(page)


def assert_no_faults(page):
    assert page.run(FAULTS) == {key: [] for key in ("box", "title", "step", "label", "end")}


def from_left(page, pattern):
    """Titles of boxes and frames of values that match, from left to right."""
    return page.run(
        "return [...page.scene.boxes, ...page.scene.frames].filter((b) => !b.back)"
        ".sort((a, b) => a.x - b.x).map((b) => page.told(page.now, b.item, false).title)"
        ".filter((title) => new RegExp(arguments[0]).test(title))",
        pattern,
    )


def test_equal_calls_stand_in_the_order_in_which_they_were_made(show):
    page = show(swept(lambda: Experts(6)(data(3, 4))).graph("both"), depth=0)
    page.run("page.openAll()")
    titles = [title for title in from_left(page, "Block$") if "…" not in title]  # of all of them
    assert [title.split()[0] for title in titles] == [f"experts.{i}" for i in range(6)]


def test_two_calls_and_their_inputs_stand_from_left_to_right(show):
    left, right = (tracer.batch(data(3, 4), name=name) for name in ("left", "right"))
    page = show(swept(lambda: Siamese()(left, right)).graph("both"), depth=0)
    for script in ("page.closeAll()", "page.openAll()"):
        page.run(script)
        assert from_left(page, "left|right") == ["left", "right"]
        calls = "return ['left', 'right'].map((name) => page.scene.lines.find((l) => !l.back &&"
        calls += " page.told(page.now, l.tail, false).title === name)).map("
        calls += "(l) => page.scene.at.get(`${l.head}`).x)"
        first, second = page.run(calls)
        assert first < second


def test_crossings_come_before_the_order_of_calls(show):
    net = render_graphs.Net()
    x = net.leaf("input", "x")
    first, second, third = (net.op(name, x) for name in ("sin", "cos", "tan"))
    net.op("add", net.op("exp", third), net.op("add", first, second))
    page = show(net.graph)
    assert from_left(page, "sin|cos|tan") in (["sin", "cos", "tan"], ["tan", "sin", "cos"])
    assert_no_faults(page)


def test_a_state_that_a_value_is_for_itself_has_a_loop_beside_its_box(show):
    net = render_graphs.Net(time="folded")
    a = net.op("tanh", net.leaf("input", "x"), steps=5)
    net.state(a, a)
    page = show(net.graph)
    assert_no_faults(page)
    line = page.run("return page.scene.lines.find((l) => l.delayed)")
    assert line["height"] > 4
    assert line["label"] == "t\N{MINUS SIGN}1"
