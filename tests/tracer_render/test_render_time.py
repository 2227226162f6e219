"""Loops over time: frames of steps, long sequences in short, and what flows between steps."""

from __future__ import annotations

import json
import logging
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import networkx as nx
import pytest
import render_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.errors import GraphError
from tracer.extensions import DrawOptions
from tracer_render import engines, picture, plugin, style
from tracer_render.collapse import collapse
from tracer_render.elide import elide
from tracer_render.overlays import GradNorm

RENDERERS = {renderer.name: renderer for renderer in plugin.register_renderers()}
SVG = "{http://www.w3.org/2000/svg}"
ENGINES = ["graphviz", "built-in"] if len(engines.available()) > 1 else ["built-in"]


def describe(graph, **options):
    return picture.describe(graph, DrawOptions(**options))


def frames(drawn):
    """Titles of frames by path, outer ones first."""
    found, waiting = {}, [drawn.root]
    while waiting:
        cluster = waiting.pop(0)
        found[cluster.path] = cluster.title
        waiting += cluster.clusters
    return found


def words(graph, **options):
    root = ET.fromstring(RENDERERS["svg"].render(graph, DrawOptions(**options)))
    return [element.text for element in root.iter(f"{SVG}text")]


def test_each_step_is_a_frame_inside_the_module_that_loops():
    drawn = describe(render_graphs.trace(3).graph("both"))
    steps = [title for path, title in frames(drawn).items() if len(path) == 2]
    assert steps == ["t = 0", "t = 1", "t = 2"]
    inside = {path[0]: title for path, title in frames(drawn).items() if len(path) == 3}
    assert inside == {"rnn": "cell · Cell"}
    tanh = [box for box in drawn.boxes if box.title == "tanh"]
    assert len({box.scope for box in tanh}) == 3
    assert [box.span for box in tanh] == [(0, 0), (1, 1), (2, 2)]


def test_values_that_steps_share_are_drawn_in_each():
    drawn = describe(render_graphs.trace(4).graph("both"))
    for name in ("w", "x", "∇ w"):
        boxes = [box for box in drawn.boxes if box.title == name]
        assert {box.span for box in boxes} == {(t, t) for t in range(4)}
        assert all(box.repeated for box in boxes)


def test_a_leaf_of_one_step_stands_in_that_step():
    drawn = describe(render_graphs.trace(3).graph())
    (start,) = [box for box in drawn.boxes if box.kind == "constant"]
    assert start.span == (0, 0)
    assert frames(drawn)[start.scope[:2]] == "t = 0"


def test_a_loop_in_a_loop_is_a_frame_in_a_frame():
    net = render_graphs.Net()
    outer = net.loop(2)
    inner = net.loop(2, parent=0)
    h = net.leaf("input", "h")
    for s in range(2):
        for t in range(2):
            h = net.op("tanh", h, **inner(s, t))
        h = net.op("neg", h, **outer(s))
    drawn = describe(net.graph)
    depths = {box.id: len(box.scope) for box in drawn.boxes if box.kind == "operation"}
    assert [depths[f"n{i}"] for i in range(1, 7)] == [2, 2, 1, 2, 2, 1]
    assert [box.span for box in drawn.boxes if box.title == "tanh"] == [(0, 0)] * 2 + [(1, 1)] * 2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_steps_stand_in_a_column_in_the_order_of_time(engine, direction, monkeypatch):
    if engine == "built-in":
        monkeypatch.setattr(engines, "_commands", lambda format: {})
    drawn = describe(render_graphs.trace(5).graph(direction))
    placed = engines.place(drawn, 30)
    titles = frames(drawn)
    steps = {titles[path]: placed.frames[path] for path in titles if titles[path][:3] == "t ="}
    column = [steps[f"t = {t}"] for t in range(5)]
    for upper, lower in pairwise(column[::-1] if direction == "backward" else column):
        assert upper.y + upper.height / 2 <= lower.y - lower.height / 2
        assert abs(upper.x - lower.x) < (upper.width + lower.width) / 2


def test_steps_that_hand_nothing_on_are_free_to_stand_side_by_side():
    net = render_graphs.Net()
    x, at = net.leaf("input", "x"), net.loop(3)
    net.op("stack", *(net.op("tanh", x, **at(t)) for t in range(3)))
    source = RENDERERS["dot"].render(net.graph, DrawOptions()).decode()
    assert "below" not in source
    recurrent = RENDERERS["dot"].render(render_graphs.recurrent().graph, DrawOptions()).decode()
    assert "newrank=true" in recurrent


def test_depth_keeps_a_copy_of_a_module_for_each_step():
    graph = collapse(render_graphs.trace(3).graph("both"), 1)
    cells = [data for _, data in graph.nodes(data=True) if data["kind"] == "module"]
    assert [cell["time"] for cell in cells] == [0, 1, 2]
    assert [cell["parameter_values"] for cell in cells] == [4, 4, 4]
    assert nx.is_directed_acyclic_graph(graph)
    for _, data in graph.nodes(data=True):
        if data["kind"] == "cotangent" and "members" in data:
            assert graph.nodes[data["of"]]["time"] == data["time"]


def test_depth_merges_a_loop_inside_the_module():
    graph = collapse(render_graphs.trace(3).graph("both"), 0)
    (rnn,) = [data for _, data in graph.nodes(data=True) if data["kind"] == "module"]
    assert (rnn["steps"], rnn["operations"], rnn["parameter_values"]) == (3, 12, 4)


@pytest.mark.parametrize(("shown", "first", "last"), [(2, 1, 1), (5, 3, 2), (8, 4, 4)])
def test_the_middle_of_a_long_loop_is_one_box_that_counts(shown, first, last):
    graph = elide(render_graphs.trace(20).graph("both"), shown)
    times = {data["time"] for _, data in graph.nodes(data=True) if data["time"] is not None}
    assert times == {*range(first), *range(20 - last, 20)}
    (middle,) = [node for node, data in graph.nodes(data=True) if data["kind"] == "elided"]
    data = graph.nodes[middle]
    assert data["label"] == f"… {20 - shown} steps …"
    assert data["between"] == [first, 19 - last]
    assert data["operations"] == 4 * (20 - shown)
    assert graph.nodes[f"∇{middle}"]["of"] == middle


def test_what_flows_through_the_middle_is_kept():
    graph = elide(render_graphs.trace(20).graph("both"), 4)
    assert nx.is_directed_acyclic_graph(graph)
    (middle,) = [node for node, data in graph.nodes(data=True) if data["kind"] == "elided"]
    before = [graph.nodes[n] for n in graph.predecessors(middle)]
    after = [graph.nodes[n] for n in graph.successors(middle)]
    assert [(n["op"], n["time"]) for n in before] == [("tanh", 1)]
    assert [(n["op"], n["time"]) for n in after] == [("matmul", 18)]
    back = f"∇{middle}"
    assert [graph.nodes[n]["time"] for n in graph.predecessors(back)] == [18]
    assert [graph.nodes[n]["time"] for n in graph.successors(back)] == [1]


def test_the_steps_of_a_reverse_loop_are_left_out_in_its_own_order():
    graph = elide(render_graphs.trace(9, reverse=True).graph(), 3)
    (data,) = [data for _, data in graph.nodes(data=True) if data["kind"] == "elided"]
    assert data["between"] == [6, 1]
    (middle,) = [box for box in describe(graph).boxes if box.kind == "elided"]
    assert middle.span == (1, 6)


def test_leaves_that_only_the_middle_uses_go_with_it():
    net = render_graphs.Net()
    at, h = net.loop(30), net.leaf("input", "h")
    for t in range(30):
        h = net.op("add", h, net.leaf("constant", f"c{t}"), **at(t))
    graph = elide(net.graph, 4)
    assert sum(data["kind"] == "constant" for _, data in graph.nodes(data=True)) == 4


def test_what_is_wrong_in_the_middle_shows():
    graph = render_graphs.recurrent(20).graph
    graph.nodes["n23"].update(nan=3)
    graph.nodes["n25"].update(nan=2)
    (middle,) = [box for box in describe(graph, steps=4).boxes if box.kind == "elided"]
    assert middle.marks == ("nan",)
    assert "NaN in 5 entries" in middle.notes


@pytest.mark.parametrize("steps", [None, 19, 20, 50])
def test_a_loop_is_drawn_whole_where_little_is_left_out(steps, caplog):
    graph = render_graphs.trace(20).graph()
    assert set(elide(graph, steps)) == set(graph)
    assert caplog.text == ""


def test_fewer_than_two_steps_are_refused():
    with pytest.raises(GraphError, match="2 steps or more, and 1 came"):
        elide(render_graphs.trace(4).graph(), 1)


def test_how_many_steps_are_missing_is_said_once(caplog):
    with caplog.at_level(logging.WARNING, "tracer_render"):
        RENDERERS["dot"].render(render_graphs.trace(1300).graph("both"), DrawOptions())
    assert [record.message for record in caplog.records] == [
        "1,292 of 1,300 steps are not drawn one by one: `--steps all` draws all"
    ]


@pytest.mark.parametrize("format", ["svg", "dot", "mermaid", "html"])
def test_every_format_draws_the_middle(format):
    drawn = RENDERERS[format].render(render_graphs.trace(40).graph("both"), DrawOptions(steps=4))
    assert re.search(r"(…|\\u2026) 36 steps", drawn.decode())


def test_json_holds_all_steps():
    graph = render_graphs.trace(40).graph("both")
    document = json.loads(RENDERERS["json"].render(graph, DrawOptions(steps=4)))
    assert len(document["nodes"]) == len(graph)


@pytest.mark.parametrize("reverse", [False, True])
def test_delayed_edges_say_from_which_step(reverse):
    graph = render_graphs.trace(6, reverse).graph("both", "folded")
    labels = {line.kind: line.label for line in describe(graph).lines if line.delayed}
    earlier, later = f"t{style.MINUS}1", "t+1"
    data, back = (later, earlier) if reverse else (earlier, later)
    assert labels == {"data": data, "cotangent": back}  # their boxes say the shape
    assert "from another step" in words(graph)


def test_merged_nodes_say_how_many_steps_and_their_norm():
    graph = render_graphs.trace(6).graph("both", "folded")
    tanh = next(data for _, data in graph.nodes(data=True) if data["label"] == "tanh")
    assert f"T = 6 steps, norm {tanh['norm']:.3g}" in words(graph)


@st.composite
def loops(draw):
    """Several loops, one after the other or inside one another, that hand on 1 to 3 steps ahead."""
    net = render_graphs.Net()
    h = net.leaf("input", "h")
    w = net.leaf("parameter", "w")
    for _ in range(draw(st.integers(1, 2))):
        steps, reverse = draw(st.integers(1, 9)), draw(st.booleans())
        at = net.loop(steps, reverse=reverse)
        number = len(net.graph.graph["loops"]) - 1
        inside = draw(st.integers(0, 4))
        inner = net.loop(inside, parent=number) if inside else None
        states = [h] * 3
        for t in range(steps)[:: -1 if reverse else 1]:
            h = net.op("matmul", states[-draw(st.integers(1, 3))], w, **at(t))
            for u in range(inside):
                h = net.op("tanh", h, **inner(t, u))
            states.append(h)
    net.op("mean", h)
    return net


@settings(max_examples=40)
@given(loops(), st.integers(2, 6), st.booleans())
def test_any_loops_are_drawn_in_short(net, shown, back):
    graph = net.both() if back else net.graph
    short = elide(graph, shown)
    assert nx.is_directed_acyclic_graph(short)
    operations = sum(bool(data["op"]) for _, data in graph.nodes(data=True))
    counted = (d.get("operations", bool(d["op"])) for _, d in short.nodes(data=True))
    assert sum(counted) == operations
    for _, data in short.nodes(data=True):
        if data.get("loop") is not None and data["op"]:
            steps = graph.graph["loops"][data["loop"]]["steps"]
            order = data["time"], steps - 1 - data["time"]
            assert steps <= shown + 1 or min(order) < (shown + 1) // 2
    for format in ("svg", "mermaid"):
        RENDERERS[format].render(graph, DrawOptions(steps=shown))


def test_a_title_leaves_out_what_the_frames_say():
    net = render_graphs.Net()
    w = net.leaf("parameter", "rnn.weight_hh_l0", scope="rnn.l0")
    net.op("linear", w, scope="rnn.l0")
    assert [box.title for box in describe(net.graph).boxes] == ["weight_hh_l0", "linear"]


def test_what_vanishes_does_not_take_the_colours_of_the_rest():
    graph = render_graphs.mlp().both({"n7": 1e-200, "n8": 0.01, "n2": 1.0})
    drawn = describe(graph, overlay=GradNorm())
    assert (drawn.scale.low, drawn.scale.high) == (1e-12, 1.0)
    colours = {box.id: box.colour for box in drawn.boxes}
    assert colours["d7"] == style.scale_colour(0)
    assert colours["d8"] == style.scale_colour(10 / 12)
    assert drawn.scale.label == "gradient norm, lower ones as the lowest"
