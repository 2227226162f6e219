"""How much of a network is drawn: calls as boxes, as many as fit on a page."""

from __future__ import annotations

import logging
import re
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import render_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.extensions import DrawOptions
from tracer_render import engines, picture, repeats
from tracer_render.collapse import collapse
from tracer_render.detail import MOST, detailed
from tracer_render.runs import fold
from tracer_render.style import TIMES

AUTO = DrawOptions(depth="auto")


def graph_of(model, *inputs, direction="both", **options):
    with tracer.Tape(watch=True) as tape:
        loss = np.sum(model(*inputs))
    tape.backward(loss)
    return tape.graph(direction, **options)


def ones(*shape):
    return np.ones(shape, np.float32)


class Residual(nn.Module):
    """A block that calls one activation twice."""

    def __init__(self, width=4):
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(x + self.second(self.act(self.first(x))))


def titles(drawn, kind="module"):
    return [box.title for box in drawn.boxes if box.kind == kind]


def test_a_module_called_twice_is_two_boxes_of_one_colour_and_no_cycle():
    graph = graph_of(Residual(), ones(2, 4))
    closed = collapse(graph, 0)
    assert nx.is_directed_acyclic_graph(closed)
    drawn = picture.describe(graph, AUTO)
    relus = [box for box in drawn.boxes if box.title == "act  ReLU"]
    assert len(relus) == 2
    assert len({box.module for box in relus} - {None}) == 1
    assert [box.notes[-1] for box in relus] == ["call 1 of 2", "call 2 of 2"]
    assert "shared" in [name for _, name, _ in drawn.legend]
    assert all(box.module is None for box in drawn.boxes if "Linear" in box.title)


def test_a_closed_module_says_path_class_hyperparameters_shape_and_parameters():
    model = nn.Sequential(nn.ModuleDict({"body": nn.Linear(4, 3)})["body"], nn.Tanh())
    drawn = picture.describe(graph_of(model, ones(2, 4)), AUTO)
    linear = next(box for box in drawn.boxes if box.title == "0  Linear")
    assert linear.notes[0].startswith("in_features=4, out_features=3")
    assert linear.notes[-3:] == (f"2{TIMES}3 float32", f"weight 3{TIMES}4", "bias 3")
    assert titles(drawn, "parameter") == []


def test_two_lists_of_one_module_are_told_apart_and_are_no_level_of_depth():
    class Twice(nn.Module):
        def __init__(self):
            self.enc = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.dec = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x):
            for layer in (*self.enc, *self.dec):
                x = layer(x)
            return x

    drawn = picture.describe(graph_of(Twice(), ones(2, 4)), DrawOptions(depth=0))
    assert titles(drawn) == [f"{name}.{i}  Linear" for name in ("enc", "dec") for i in (0, 1)]


def test_frozen_parameters_are_lines_of_their_module():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    drawn = picture.describe(graph_of(model, ones(2, 4)), AUTO)
    assert f"weight 4{TIMES}4 frozen" in drawn.boxes[1].notes
    assert "40 parameters, 20 of them frozen" in drawn.subtitle


@pytest.mark.parametrize(("blocks", "depth"), [(3, 1), (9, 0)])
def test_as_many_modules_are_open_as_fit(blocks, depth, caplog):
    model = nn.Sequential(*[Residual() for _ in range(blocks)])
    graph = graph_of(model, ones(2, 4))
    with caplog.at_level(logging.WARNING, "tracer_render"):
        drawn = picture.describe(graph, AUTO)
    count = sum(box.kind != "cotangent" for box in drawn.boxes)
    assert count <= MOST
    assert [record.message for record in caplog.records][-1:] == [
        f"depth {depth}: {5 * blocks + 1} operations as {count} boxes; --depth all draws every one"
    ] * (count < 5 * blocks + 1)
    assert ("0.first  Linear" in titles(drawn)) == (depth == 1)


def test_equal_neighbours_are_folded_where_there_are_too_many():
    model = nn.Sequential(*[Residual() for _ in range(60)], nn.Linear(4, 2))
    graph = graph_of(model, ones(2, 4))
    drawn = picture.describe(graph, AUTO)
    assert titles(drawn) == ["0 … 59  Residual", "60  Linear"]
    assert f"{TIMES} 60, one after the other" in drawn.boxes[1].notes
    assert nx.is_directed_acyclic_graph(detailed(graph, AUTO))
    assert len([box for box in drawn.boxes if box.kind == "cotangent"]) == 3


def test_the_first_of_those_folded_is_open_on_request():
    model = nn.Sequential(*[Residual() for _ in range(60)])
    graph = graph_of(model, ones(2, 4))
    drawn = picture.describe(graph, DrawOptions(depth="auto", opened=("0",)))
    assert "1 … 59  Residual" in titles(drawn)
    assert [t for t in titles(drawn) if t.startswith("0.")] == [
        "0.first  Linear", "0.act  ReLU", "0.second  Linear", "0.act  ReLU",
    ]  # fmt: skip
    assert nx.is_directed_acyclic_graph(detailed(graph, AUTO))


def test_a_pattern_of_several_that_repeats_is_folded():
    layers = [layer() for _ in range(25) for layer in (lambda: nn.Linear(4, 4), nn.Tanh)]
    graph = collapse(graph_of(nn.Sequential(*layers), ones(2, 4)), 0)
    folded = fold(graph)
    calls = [d for _, d in folded.nodes(data=True) if d["kind"] == "module"]
    assert [(d["class"], d["repeats"]) for d in calls] == [("Linear, Tanh", 25)]
    assert calls[0]["parameter_values"] == 25 * 20
    backward = [d for _, d in folded.nodes(data=True) if d.get("class") and d["kind"] != "module"]
    assert [(d["class"], d["repeats"]) for d in backward] == [("Linear, Tanh", 25)]
    assert nx.is_directed_acyclic_graph(folded)
    assert fold(folded).number_of_edges() == folded.number_of_edges()


def test_a_long_chain_of_operations_that_share_a_parameter_is_one_box_each_way():
    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape(watch=True) as tape:
        x = tracer.batch(ones(2, 3))
        for _ in range(60):
            x = np.sin(x) * w
        loss = np.sum(x)
    tape.backward(loss)
    drawn = picture.describe(tape.graph("both"), AUTO)
    shown = [box.title for box in drawn.boxes if not box.title.endswith("w")]
    assert sorted(shown) == ["input", "sin, multiply", "sum", "∇ multiply, sin", "∇ sum"]


def test_a_weight_that_is_used_outside_of_its_closed_module_too():
    class Tied(nn.Module):
        def __init__(self):
            self.encoder = nn.Linear(4, 3)

        def forward(self, x):
            return self.encoder(x) @ self.encoder.weight

    drawn = picture.describe(graph_of(Tied(), ones(2, 4)), AUTO)
    by_title = {box.title: box for box in drawn.boxes}
    assert by_title["encoder.weight"].repeated  # it is a line of the closed box as well
    assert by_title["encoder.weight"].scope == ()
    assert "weight 3\N{MULTIPLICATION SIGN}4" in by_title["encoder  Linear"].notes


def test_a_recurrent_module_that_is_closed_keeps_its_state_edge():
    cell = nn.RNNCell(3, 3)

    class Loop(nn.Module):
        def __init__(self):
            self.cell = cell

        def forward(self, x):
            h = None
            for t in tracer.steps(6):
                h = self.cell(x[:, t], h)
            return h

    drawn = picture.describe(graph_of(Loop(), ones(2, 6, 3), time="folded"), AUTO)
    (state,) = [line for line in drawn.lines if line.delayed and line.kind == "data"]
    assert state.tail == state.head
    assert titles(drawn) == ["cell  RNNCell"]


def test_edges_do_not_say_what_boxes_say():
    drawn = picture.describe(render_graphs.nested().both(), DrawOptions())
    assert {line.label for line in drawn.lines} == {""}


def test_targets_are_called_by_their_argument():
    with tracer.Tape() as tape:
        nn.cross_entropy(nn.Linear(3, 2)(ones(4, 3)), np.array([0, 1, 1, 0]))
    labels = [d["label"] for _, d in tape.graph().nodes(data=True)]
    assert "target" in labels


def test_escapes_of_graphviz_are_text():
    net = render_graphs.Net()
    net.op(r"\N\G\E", net.leaf("input", r"\L"))
    from tracer_render import dot, style

    source = dot.write(picture.describe(net.graph, DrawOptions()), style.LIGHT)
    assert r"&#92;N&#92;G&#92;E" in source
    assert r"<b>\N" not in source


@pytest.mark.parametrize("text", ["hello", '{"objects": 3}', '{"objects": [{"name": "n0"}]}'])
def test_a_dot_that_prints_anything_else_falls_back_with_a_message(text, monkeypatch, caplog):
    monkeypatch.setattr(engines, "_commands", lambda format: {"dot": ["echo", text]})
    drawn = picture.describe(render_graphs.mlp().both(), DrawOptions())
    with caplog.at_level(logging.WARNING, "tracer_render"):
        placed = engines.place(drawn, 10)
    assert set(placed.boxes) == {box.id for box in drawn.boxes}
    assert re.search("built-in layout", caplog.text)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_spline_in_pieces_is_one_curve(reverse):
    whole = engines._curve("e,30,0 s,0,0 0,0 5,0 5,0 10,0 15,0 15,0 20,0 25,0 25,0 29,0", reverse)
    pieces = "e,30,0 s,0,0 10,0 15,0 15,0 20,0 25,0 25,0 29,0;0,0 5,0 5,0 10,0"
    assert engines._curve(pieces, reverse) == whole
    assert len(whole) % 3 == 1
    apart = engines._curve("0,0 1,0 2,0 3,0;9,0 10,0 11,0 12,0", False)
    assert len(apart) % 3 == 1
    assert (apart[0], apart[-1]) == ((0, 0), (12, 0))


def test_the_count_is_that_of_the_boxes():
    graph = render_graphs.recurrent(4).both()
    drawn = picture.describe(graph, DrawOptions())
    from tracer_render.calls import Calls
    from tracer_render.frames import Frames

    forward = sum(box.kind != "cotangent" for box in drawn.boxes)
    assert repeats.count(graph, Frames(graph, Calls(graph))) == forward


class Tower(nn.Module):
    """A plain loop over layers in a loop over time; each layer has a state of its own."""

    def __init__(self, sizes):
        self.cells = nn.ModuleList([nn.GRUCell(a, b) for a, b in pairwise(sizes)])

    def forward(self, x):
        states = [np.zeros((x.shape[0], cell.hidden_size), x.dtype) for cell in self.cells]
        for t in tracer.steps(x.shape[1]):
            value = x[:, t]
            for number, cell in enumerate(self.cells):
                value = states[number] = cell(value, states[number])
        return value


def is_acyclic(graph):
    """Whether no cycle is left without what comes from another step."""
    now = [ends for *ends, delay in graph.edges(data="delay") if not delay]
    return nx.is_directed_acyclic_graph(nx.DiGraph(now))


def counts(drawn):
    back = sum(box.kind == "cotangent" for box in drawn.boxes)
    return len(drawn.boxes) - back, back


@pytest.mark.parametrize("time", ["unrolled", "folded"])
@pytest.mark.parametrize("layers", [20, 45])
def test_layers_that_hand_on_states_are_folded_in_each_step(time, layers):
    graph = graph_of(Tower([4] * (layers + 1)), ones(2, 5, 4), time=time)
    drawn = picture.describe(graph, AUTO)
    assert max(counts(drawn)) <= MOST
    if time == "unrolled":
        assert f"cells.0 … cells.{layers - 1}  GRUCell" in titles(drawn)
    elif layers == 45:
        (box,) = [box for box in drawn.boxes if box.kind == "module"]
        assert f"{TIMES} 45, one after the other" in box.notes
        assert [line.delayed for line in drawn.lines if line.tail == line.head == box.id] == [True]
    assert is_acyclic(detailed(graph, AUTO))


@pytest.mark.parametrize("time", ["unrolled", "folded"])
@pytest.mark.parametrize("layers", [20, 45])
def test_layers_that_are_all_different_are_rows(time, layers):
    graph = graph_of(Tower(range(4, 5 + layers)), ones(2, 5, 4), time=time)
    drawn = picture.describe(graph, AUTO)
    assert max(counts(drawn)) <= MOST
    rows = [box.title for box in drawn.boxes if box.kind == "elided" and "steps" not in box.title]
    assert bool(rows) == ((time, layers) != ("folded", 20))


@given(
    seed=st.integers(0, 10**6),
    operations=st.integers(41, 150),
    steps=st.integers(0, 6),
    direction=st.sampled_from(["forward", "backward", "both"]),
    time=st.sampled_from(["unrolled", "folded"]),
)
@settings(max_examples=30, deadline=None)
def test_any_code_has_at_most_so_many_boxes(seed, operations, steps, direction, time):
    """Operations without any order in them, some of them in a loop, of a shared parameter."""
    rng = np.random.default_rng(seed)
    functions = (np.tanh, np.sin, np.cos, np.arctan)
    w = tracer.parameter(np.ones(3), name="w")

    def some(values, count):
        values = list(values)
        for _ in range(count):
            one, other = (values[rng.integers(len(values))] for _ in "ab")
            values.append(functions[rng.integers(4)](one) * (other if rng.random() < 0.3 else w))
        return values[-1]

    with tracer.Tape(watch=True) as tape:
        value = some([w + 0.0], operations // 4)
        for _ in tracer.steps(steps):
            value = value + some([value], operations // 4)
        loss = np.sum(value + some([value], operations // 4))
    tape.backward(loss)
    graph = tape.graph(direction, time)
    drawn = picture.describe(graph, AUTO)
    assert max(counts(drawn)) <= MOST
    short = detailed(graph, AUTO)
    assert is_acyclic(short) or not is_acyclic(graph)
    shown = {
        name
        for node, data in short.nodes(data=True)
        for name in data.get("copies") or data.get("members", (node,))
    }
    made = {node for node, data in graph.nodes(data=True) if data["op"]}
    assert made <= shown


def test_a_row_says_what_is_in_it_and_what_failed():
    net = render_graphs.Net()
    value = net.leaf("input", "x")
    for number in range(90):
        w = net.leaf("parameter", f"w{number}", shape=(2, 2))
        value = net.op("ab"[number % 2] * (1 + number % 7), value, w, shape=(number, 2))
    net.graph.nodes[value].update(failed=True, error="ValueError: no")
    drawn = picture.describe(net.graph, AUTO)
    assert max(counts(drawn)) <= MOST
    rows = [box for box in drawn.boxes if box.kind == "elided"]
    assert rows[0].title == "a … bbbb"
    assert rows[0].notes[:2] == ("4 operations, 16 parameters", f"3{TIMES}2 float32")
    assert rows[-1].marks == ("failed",)
