"""The pictures of seven real networks, by what makes a picture hard to read."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions
from tracer_render import engines, picture, style
from tracer_render.overlays import GradNorm
from tracer_render.quality import measure

SCRIPT = Path(__file__).parents[2] / "docs" / "gallery" / "draw.py"
spec = importlib.util.spec_from_file_location("gallery_draw", SCRIPT)
draw = importlib.util.module_from_spec(spec)
spec.loader.exec_module(draw)

GRAPHVIZ = len(engines.available()) > 1
#: The ratio of the sides that a picture has at most.
LONGEST = 3.0


@pytest.fixture(scope="module")
def runs():
    return {}


@pytest.fixture
def made(name, runs):
    if name not in runs:
        runs[name] = draw.traced(name)
    return draw.drawn(runs[name], name)


@pytest.mark.parametrize("name", draw.NAMES)
def test_a_network_is_legible_on_one_page(made, name):
    described, placed, quality, _ = made
    for back in (False, True):
        assert sum((box.kind == "cotangent") == back for box in described.boxes) <= 40
    assert quality.width <= 4000
    assert quality.height <= 4000
    assert 1 / LONGEST <= quality.aspect <= LONGEST
    assert quality.overlaps == 0
    if GRAPHVIZ:
        assert quality.through == 0
        assert quality.crossings <= 2
    for box in described.boxes:
        r = placed.boxes[box.id]
        assert style.text_width(box.title, style.TITLE_SIZE, bold=True) <= r.width
        for note in box.notes:
            assert style.text_width(note, style.NOTE_SIZE) <= r.width


@pytest.mark.parametrize("name", draw.NAMES)
def test_values_and_cotangents_stand_side_by_side(made, name):
    described, placed, _, _ = made
    for value, cotangent in described.pairs.items():
        left, right = placed.boxes[value], placed.boxes[cotangent]
        assert left.y == right.y
        assert left.x < right.x


def test_a_spine_runs_straight_down(runs):
    runs.setdefault("unet", draw.traced("unet"))
    described, placed, _, _ = draw.drawn(runs["unet"], "unet")
    own = [box for box in described.boxes if box.kind in ("module", "operation")]
    middles = {round(placed.boxes[box.id].x) for box in own}
    assert max(middles) - min(middles) <= 2
    skips = [
        curve
        for line, curve in zip(described.lines, placed.curves, strict=True)
        if line.spine and not line.reverse and curve[-1][1] - curve[0][1] > 150
    ]
    assert len(skips) == 3
    left = min(r.x - r.width / 2 for r in map(placed.boxes.get, (box.id for box in own)))
    assert all(min(x for x, _ in curve) < left for curve in skips)


def test_what_is_a_little_too_long_is_not_cut_unevenly(runs):
    runs.setdefault("unet", draw.traced("unet"))
    graph = runs["unet"].tape.graph("both")
    values = dict.fromkeys(graph, 1.0)
    options = DrawOptions(title="unet", depth="auto", overlay=GradNorm(), values=values)
    described = picture.describe(graph, options)
    quality = measure(described, engines.place(described, 30))
    assert LONGEST < quality.aspect < 3.3  # a line more in each box
    assert quality.crossings == quality.through == 0


def test_a_long_spine_is_set_in_columns(runs):
    runs.setdefault("mobilenet", draw.traced("mobilenet"))
    described, placed, _, _ = draw.drawn(runs["mobilenet"], "mobilenet")
    assert len({round(r.x / 400) for r in placed.boxes.values()}) > 2
    assert any(form == "{}, continued" for _, form, _ in placed.others)
    for line, curve in zip(described.lines, placed.curves, strict=True):
        for end, name in ((curve[0], line.tail), (curve[-1], line.head)):
            r = placed.boxes[name]
            assert abs(end[0] - r.x) <= r.width / 2 + 8
            assert abs(end[1] - r.y) <= r.height / 2 + 8
        assert len(curve) % 3 == 1


class Nested(nn.Module):
    """Two of the same in a row, down to `depth`, and layers in those."""

    def __init__(self, count, depth):
        super().__init__()
        inner = (Nested(count, depth - 1) for _ in range(2))
        layers = (nn.Linear(4, 4) for _ in range(count))
        self.m = nn.Sequential(*(inner if depth else layers))

    def forward(self, x):
        return self.m(x)


@pytest.mark.parametrize(("count", "depth"), [(4, 2), (2, 3), (9, 1)])
def test_frames_that_go_on_in_another_column_hold_those_inside(count, depth):
    with tracer.Tape() as tape:
        loss = np.sum(Nested(count, depth)(np.ones((2, 4), np.float32)))
    tape.backward(loss)
    described = picture.describe(tape.graph("both"), DrawOptions(depth=2 * depth + 1))
    placed = engines.place(described, 30)
    frames = [*placed.frames.items(), *((path, r) for path, _, r in placed.others)]
    assert len(frames) > len(placed.frames)  # it is set in columns
    for path, r in frames:
        for outer, s in frames:
            inside = len(outer) < len(path) and path[: len(outer)] == outer
            if inside and abs(r.x - s.x) < s.width / 2:
                assert abs(r.y - s.y) + r.height / 2 <= s.height / 2 - 4
                assert r.y - r.height / 2 >= s.y - s.height / 2 + 15  # below its title
    left, top, right, bottom = placed.extent()
    lowest = max(r.y + r.height / 2 for _, r in frames)
    for curve in placed.curves:
        assert max(y for _, y in curve) <= lowest + 40
        assert all(left <= x <= right and top <= y <= bottom for x, y in curve)


def test_the_page_has_what_others_draw():
    page = (SCRIPT.parents[1] / "gallery.md").read_text()
    found = json.loads((SCRIPT.parent / "peers.json").read_text())
    assert set(found["networks"]) == set(draw.NAMES)
    for ways in found["networks"].values():
        for entry in ways.values():
            cell = entry.get("error") or draw.size(**entry)
            assert f"| {cell} |" in page
    for name, version in found["versions"].items():
        assert f"{name} {version}" in page
