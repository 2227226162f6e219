"""Our own layout: no line goes through a box where it could go beside it."""

import numpy as np
import pytest
import render_graphs

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions, input_leaf
from tracer_render.engines import place
from tracer_render.layout import layered
from tracer_render.orientation import in_order, turned
from tracer_render.picture import describe
from tracer_render.quality import measure
from tracer_render.style import LABEL_SIZE, text_width


class Tree(nn.Module):
    """Calls itself: a low box stands beside the high frame of a deeper call."""

    def __init__(self):
        super().__init__()
        self.word, self.compose = nn.Embedding(9, 4), nn.Linear(8, 4)

    def forward(self, tree):
        if isinstance(tree, int):
            return self.word(np.array([tree]))
        return np.tanh(self.compose(np.concatenate([self(part) for part in tree], axis=-1)))


@pytest.mark.parametrize("tree", [(0, (1, (2, 3))), (((0, 1), 2), (3, (4, (5, 6))))])
@pytest.mark.parametrize("depth", [None, 2, 9])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_lines_pass_beside_what_is_higher(tree, depth, direction):
    with tracer.Tape() as tape:
        loss = np.sum(Tree()(tree))
    tape.backward(loss)
    picture = describe(tape.graph(direction), DrawOptions(depth=depth))
    quality = measure(picture, layered(picture))
    assert quality.through == quality.overlaps == 0


def test_a_line_from_a_box_to_itself_has_room():
    w = tracer.parameter(np.eye(4), name="w")
    with tracer.Tape() as tape:
        low, total = np.zeros((3, 4)), np.zeros((3, 4))
        for _ in tracer.steps(6):
            y = np.tanh(np.ones((3, 4)) @ w)
            low, total = np.maximum(low, y), total + y
        loss = np.sum(low * total)
    tape.backward(loss)
    picture = describe(tape.graph("both", "folded"), DrawOptions())
    placed = layered(picture)
    loops = [n for n, line in enumerate(picture.lines) if line.tail == line.head]
    assert len(loops) == 4  # of two values and their cotangents
    assert measure(picture, placed).through == 0
    for index in loops:
        x, y = placed.labels[index]
        assert not any(
            abs(x - r.x) < r.width / 2 and abs(y - r.y) < r.height / 2
            for r in placed.boxes.values()
        )


def test_a_line_from_a_box_to_itself_has_room_in_its_frame():
    net = render_graphs.Net(time="folded")
    x = net.leaf("input", "x")
    inside = net.op("tanh", x, scope="a", steps=9)
    net.state(inside, inside)
    beside = net.op("exp", x, scope="b", steps=9)
    net.op("add", inside, beside)
    picture = describe(net.graph, DrawOptions(depth=None))
    placed = layered(picture)
    index = next(n for n, line in enumerate(picture.lines) if line.tail == line.head)
    right = placed.labels[index][0] + text_width(picture.lines[index].label, LABEL_SIZE) / 2
    frame = placed.frames[("a",)]
    assert right <= frame.x + frame.width / 2


class Bidirectional(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, num_layers=2, bidirectional=True)

    def forward(self, x):
        return self.gru(x)[0]


def of_gru(direction, time, depth):
    with tracer.Tape() as tape:
        loss = np.sum(Bidirectional()(np.ones((4, 2, 3), np.float32)))
    tape.backward(loss)
    return describe(tape.graph(direction, time), DrawOptions(depth=depth))


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_both_directions_of_a_layer_stand_in_their_order(direction):
    picture = of_gru(direction, "folded", "auto")
    placed = place(picture, 30)
    x = {box.title: placed.boxes[box.id].x for box in picture.boxes}
    for layer in ("l0", "l1"):
        assert x[f"gru.{layer}  GRU"] < x[f"gru.{layer}_reverse  GRU"]
    if direction == "both":  # the way back is a mirror
        assert x["∇ gru.l0_reverse  GRU"] < x["∇ gru.l0  GRU"]
    assert in_order(picture, placed) == 2
    assert in_order(picture, turned(placed)) == -2
    assert measure(picture, turned(placed)).crossings == measure(picture, placed).crossings


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, a, b):
        return self.encoder(a) - self.encoder(b)


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_two_calls_of_one_module_stand_in_their_order(direction):
    with tracer.Tape() as tape:
        loss = np.sum(Siamese()(*np.ones((2, 5, 3), np.float32)))
    tape.backward(loss)
    picture = describe(tape.graph(direction), DrawOptions(depth="auto"))
    placed = place(picture, 30)
    calls = [box.id for box in picture.boxes if box.title == "encoder.0  Linear"]
    x = [placed.boxes[name].x for name in calls]
    assert x == sorted(x)
    assert len(x) == 2


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_no_line_goes_through_the_frame_of_another_step_or_module(direction):
    picture = of_gru(direction, "unrolled", None)
    assert measure(picture, place(picture, 30)).foreign == 0


def test_a_line_through_a_frame_is_counted():
    net = render_graphs.Net()
    top = net.op("a", net.leaf("input", "x"))
    net.op("c", net.op("b", top, scope="m"), top)
    picture = describe(net.graph, DrawOptions(depth=None))
    placed = layered(picture)
    assert measure(picture, placed).foreign == 0
    boxes = {box.title: box.id for box in picture.boxes}
    skip = next(
        n
        for n, line in enumerate(picture.lines)
        if (line.tail, line.head) == (boxes["a"], boxes["c"])
    )
    x = placed.boxes[boxes["b"]].x
    ends = [(x, placed.boxes[boxes[name]].y) for name in "ac"]
    placed.curves[skip] = [ends[0], ends[0], ends[1], ends[1]]
    assert measure(picture, placed).foreign == 1


def test_a_line_to_the_cotangent_of_an_input_ends_at_its_side():
    with tracer.Tape() as tape:
        x, y = (input_leaf(np.ones(4), name=name, wants=True) for name in "xy")
        loss = np.sum(np.sin(x) * y + x**3)
    tape.backward(loss)
    picture = describe(tape.graph("both"), DrawOptions())
    placed = place(picture, 30)
    heads = {box.id: placed.boxes[box.id] for box in picture.boxes if box.title in ("∇ x", "∇ y")}
    assert len(heads) == 2
    for line, curve in zip(picture.lines, placed.curves, strict=True):
        if line.head in heads:
            r, (px, py) = heads[line.head], curve[-1]
            assert min(r.width / 2 - abs(px - r.x), r.height / 2 - abs(py - r.y)) <= 1
