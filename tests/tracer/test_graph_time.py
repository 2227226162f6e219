"""The graph in time: marks of nested loops, folding, and folded graphs taken apart again."""

import inspect

import networkx as nx
import numpy as np
import pytest
from networkx.algorithms.isomorphism import (
    categorical_multiedge_match,
    categorical_node_match,
)

import tracer
import tracer_layers as nn

W = np.array([[0.3, -0.2], [0.1, 0.4]])


def weight(name="w"):
    return tracer.parameter(W, name=name)


def cell(x, h, w):
    return np.tanh(x + h @ w)


def traced(model, **inputs):
    """The tape of `model(**inputs)`, swept from the sum of what it returns."""
    with tracer.Tape() as tape:
        loss = np.sum(model(**inputs))
    tape.backward(loss)
    return tape


def delays(graph, kind="data"):
    """Labels of the ends, delay and loop of every edge with a delay."""
    label = {name: a["label"] for name, a in graph.nodes(data=True)}
    return {
        (label[u], label[v], a["delay"], a["loop"])
        for u, v, a in graph.edges(data=True)
        if a["delay"] and a["kind"] == kind
    }


def operations(graph, op):
    return [a for _, a in graph.nodes(data=True) if a["op"] == op and a["kind"] == "operation"]


def without_delays(graph):
    inside = nx.MultiDiGraph(graph)
    inside.remove_edges_from(
        [(u, v, k) for u, v, k, a in graph.edges(keys=True, data=True) if a["delay"]]
    )
    return inside


# -- recurrent models ------------------------------------------------------------------------------


def nested(outer=3, inner=4):
    w, u, h = weight(), weight("u"), np.ones((1, 2))
    for _ in tracer.steps(outer):
        for _ in tracer.steps(inner):
            h = np.tanh(h @ w)
        h = np.sin(h @ u)
    return h


def bidirectional(steps=4):
    w, u = weight(), weight("u")
    x = tracer.batch(np.ones((steps, 3, 2)), axis=1, name="x")
    forward, backward = {}, {}
    h = g = np.zeros((3, 2))
    for t in tracer.steps(steps):
        h = forward[t] = np.tanh(x[t] + h @ w)
    for t in tracer.steps(steps, reverse=True):
        g = backward[t] = np.sin(x[t] + g @ u)
    return np.stack([np.concatenate([forward[t], backward[t]], -1) for t in tracer.steps(steps)])


def stacked(steps=4):
    w, u = weight(), weight("u")
    below = []
    h = g = np.zeros((3, 2))
    for _ in tracer.steps(steps):
        h = np.tanh(1.0 + h @ w)
        below.append(h)
    for t in tracer.steps(steps):
        g = np.sin(below[t] + g @ u)
    return g


def applied_twice(first=4, second=4):
    w = weight()

    def layer(h, steps):
        for _ in tracer.steps(steps):
            h = np.tanh(h @ w)
        return h

    return layer(layer(np.ones((1, 2)), first), second)


def delayed(delay, steps=7):
    """`h[t]` from `h[t - delay]`, with an initial state for each step before the first."""
    w = weight()
    states = [np.full((1, 2), 1.0 + i) for i in range(delay)]
    for _ in tracer.steps(steps):
        states.append(np.tanh(states[-delay] @ w))
    return np.stack(states[delay:])


def two_delays(steps=7):
    w, u = weight(), weight("u")
    states = [np.ones((1, 2)), np.zeros((1, 2)), np.ones((1, 2))]
    for _ in tracer.steps(steps):
        states.append(np.tanh(states[-3] @ w + states[-1] @ u))
    return states[-1]


def first_step_differs(steps=5):
    w, u = weight(), tracer.parameter(np.ones(2), name="u")
    x = tracer.batch(np.ones((steps, 3, 2)), axis=1, name="x")
    h = None
    for t in tracer.steps(steps):
        h = np.tanh((h @ w if h is not None else np.sin(u)) + x[t])
    return h


def every_other_step(steps=8):
    w, h, kept = weight(), np.ones((1, 2)), []
    for t in tracer.steps(steps):
        h = np.tanh(h @ w)
        if t % 2:
            kept.append(np.sin(h))
    return np.stack(kept)


def encoder_decoder(steps=4):
    w, u = weight(), weight("u")
    h = np.ones((1, 2))
    for _ in tracer.steps(steps):
        h = np.tanh(h @ w)
    g, each = h, []
    for _ in tracer.steps(steps):
        g = np.sin(g @ u)
        each.append(g * h)
    return np.stack(each)


def raw_inputs(steps=5):
    w, h = weight(), np.zeros((3, 2))
    for t in tracer.steps(steps):
        h = np.tanh(tracer.batch(np.full((3, 2), float(t))) + h @ w)
    return h


# -- marks -----------------------------------------------------------------------------------------


def test_nested_loops_mark_all_their_steps_the_outermost_first():
    graph = traced(nested, outer=2, inner=3).graph()
    tanh, sin = operations(graph, "tanh"), operations(graph, "sin")
    assert [a["times"] for a in tanh] == [[s, t] for s in range(2) for t in range(3)]
    assert [a["time"] for a in tanh] == [0, 1, 2] * 2
    assert [(a["time"], a["times"]) for a in sin] == [(0, [0]), (1, [1])]
    (total,) = operations(graph, "sum")
    assert (total["time"], total["times"], total["loop"]) == (None, [], None)


def test_a_reversed_loop_marks_positions_in_the_sequence():
    assert list(tracer.steps(3, reverse=True)) == [2, 1, 0]
    graph = traced(bidirectional, steps=3).graph()
    assert [a["time"] for a in operations(graph, "sin")] == [2, 1, 0]


def test_the_graph_knows_its_loops():
    graph = traced(nested, outer=2, inner=3).graph()
    outer, inner = graph.graph["loops"]
    assert (outer["parent"], outer["steps"], outer["reverse"]) == (None, 2, False)
    assert (inner["parent"], inner["steps"], inner["scope"]) == (0, 3, "")
    assert inner["source"].startswith("test_graph_time.py:")
    assert {a["loop"] for a in operations(graph, "tanh")} == {1}
    assert {a["loop"] for a in operations(graph, "sin")} == {0}
    assert traced(bidirectional).graph().graph["loops"][1]["reverse"] is True


def test_scopes_inside_of_steps_keep_the_steps():
    def model():
        h = weight()
        for _ in tracer.steps(2):
            with tracer.scope("cell", "Cell"):
                for _ in tracer.steps(2):
                    h = np.tanh(h)
        return h

    graph = traced(model).graph()
    assert [(a["scope"], a["times"]) for a in operations(graph, "tanh")] == [
        ("cell", [s, t]) for s in range(2) for t in range(2)
    ]
    assert graph.graph["loops"][1]["scope"] == "cell"


def test_steps_without_a_tape_are_a_range():
    assert list(tracer.steps(4)) == [0, 1, 2, 3]


# -- folding ---------------------------------------------------------------------------------------


MODELS = [
    nested, bidirectional, stacked, applied_twice, two_delays, first_step_differs,
    every_other_step, encoder_decoder, raw_inputs,
]  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_folded_graph_without_its_delays_has_no_cycle(model, direction):
    folded = traced(model).graph(direction, "folded")
    assert nx.is_directed_acyclic_graph(without_delays(folded))
    assert list(folded.nodes) == list(traced(model).graph(direction, "folded").nodes)
    if direction == "both":
        assert all(a.get("of", name) in folded for name, a in folded.nodes(data=True))


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_copy_is_counted(model, direction):
    tape = traced(model)
    unrolled, folded = tape.graph(direction), tape.graph(direction, "folded")
    assert sum(a.get("steps", 1) for _, a in folded.nodes(data=True)) == len(unrolled)
    edges = sum(a.get("steps", 1) for *_, a in folded.edges(data=True))
    assert edges == unrolled.number_of_edges()


def test_a_loop_in_a_loop_folds_at_both_levels():
    folded = traced(nested, outer=3, inner=4).graph("forward", "folded")
    (tanh,), (sin,) = operations(folded, "tanh"), operations(folded, "sin")
    assert (tanh["steps"], tanh["loop"], tanh["time"], tanh["times"]) == (12, 1, None, [])
    assert (sin["steps"], sin["loop"]) == (3, 0)
    assert [loop["steps"] for loop in folded.graph["loops"]] == [3, 4]
    assert delays(folded) == {("tanh", "matmul", 1, 1), ("sin", "matmul", 1, 0)}


def test_an_inner_loop_of_varying_length_is_one_loop():
    def model():
        w, h = weight(), np.ones((1, 2))
        for s in tracer.steps(3):
            for _ in tracer.steps(1 + s):
                h = np.tanh(h @ w)
        return h

    folded = traced(model).graph("forward", "folded")
    (tanh,) = operations(folded, "tanh")
    assert tanh["steps"] == 1 + 2 + 3
    assert [loop["steps"] for loop in folded.graph["loops"]] == [3, 3]
    assert delays(folded) == {("tanh", "matmul", 1, 0), ("tanh", "matmul", 1, 1)}


def test_states_that_go_backward_through_a_sequence_have_a_delay_of_one():
    folded = traced(bidirectional).graph("both", "folded")
    assert delays(folded) == {("tanh", "matmul", 1, 0), ("sin", "matmul", 1, 1)}
    assert delays(folded, "cotangent") == {
        ("∇ matmul", "∇ tanh", 1, 0),
        ("∇ matmul", "∇ sin", 1, 1),
    }


def test_layers_on_top_of_each_other_are_joined_without_delay():
    folded = traced(stacked).graph("forward", "folded")
    assert delays(folded) == {("tanh", "matmul", 1, 0), ("sin", "matmul", 1, 1)}
    assert {a["steps"] for op in ("tanh", "sin", "matmul") for a in operations(folded, op)} == {4}


@pytest.mark.parametrize(("first", "second"), [(4, 4), (2, 5), (5, 2)])
def test_two_runs_of_the_same_lines_are_two_loops(first, second):
    folded = traced(applied_twice, first=first, second=second).graph("forward", "folded")
    assert [a["steps"] for a in operations(folded, "tanh")] == [first, second]
    assert delays(folded) == {("tanh", "matmul", 1, 0), ("tanh", "matmul", 1, 1)}


def test_what_happens_in_the_first_step_alone_is_a_node_of_its_own():
    folded = traced(first_step_differs, steps=5).graph("forward", "folded")
    (sin,), (matmul,), (add,) = (operations(folded, op) for op in ("sin", "matmul", "add"))
    assert (sin["steps"], sin["first"]) == (1, 0)
    assert (matmul["steps"], matmul["first"]) == (4, 1)
    assert add["steps"] == 5


def test_two_calls_on_one_line_are_told_apart_where_one_is_left_out():
    def model():
        w, u, h = weight(), weight("u"), None
        for _ in tracer.steps(4):
            h = np.tanh((h @ w if h is not None else 0.0) + np.ones((1, 2)) @ u)
        return h

    folded = traced(model).graph("forward", "folded")
    assert sorted(a["steps"] for a in operations(folded, "matmul")) == [3, 4]


def test_inputs_made_in_every_step_are_one_node():
    folded = traced(raw_inputs, steps=5).graph("forward", "folded")
    (inputs,) = [a for _, a in folded.nodes(data=True) if a["kind"] == "input"]
    assert (inputs["steps"], inputs["loop"]) == (5, 0)
    sizes = {len(traced(raw_inputs, steps=steps).graph("both", "folded")) for steps in (3, 4, 9)}
    assert len(sizes) == 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_long_loops_fold_to_what_short_ones_do(model):
    """The interpreter rewrites the instructions of a loop after some rounds; nothing follows."""
    lengths = (6, 60)
    sizes = {
        len(traced(model, **{first_argument(model): n}).graph("both", "folded")) for n in lengths
    }
    assert len(sizes) == 1


def first_argument(model):
    return next(iter(inspect.signature(model).parameters))


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_delays_are_those_of_the_loop(delay):
    folded = traced(delayed, delay=delay).graph("both", "folded")
    assert delays(folded) == {("tanh", "matmul", delay, 0)}
    assert delays(folded, "cotangent") == {("∇ matmul", "∇ tanh", delay, 0)}


def test_the_last_state_and_all_states_leave_a_loop_by_one_edge_each():
    folded = traced(delayed, delay=1, steps=6).graph("both", "folded")
    label = {name: a["label"] for name, a in folded.nodes(data=True)}
    leaving = [
        (label[u], label[v], a["steps"])
        for u, v, a in folded.edges(data=True)
        if "stack" in label[u] + label[v] and "sum" not in label[u] + label[v]
    ]
    assert leaving == [("tanh", "stack", 6), ("∇ stack", "∇ tanh", 6)]


# -- and back --------------------------------------------------------------------------------------


def is_same(first, second):
    nodes = categorical_node_match(["kind", "op", "label", "time"], [None] * 4)
    edges = categorical_multiedge_match(["kind", "slot", "delay"], [None] * 3)
    return nx.is_isomorphic(first, second, nodes, edges)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("delay", [1, 2, 3])
@pytest.mark.parametrize("steps", [4, 5, 7])
def test_a_folded_loop_unrolls_to_any_number_of_steps(direction, delay, steps):
    folded = traced(delayed, delay=delay, steps=6).graph(direction, "folded")
    again = tracer.unroll(folded, steps)
    assert nx.is_directed_acyclic_graph(again)
    assert is_same(again, traced(delayed, delay=delay, steps=steps).graph(direction))


FLAT = [model for model in MODELS if model not in (nested, applied_twice)]


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("model", FLAT, ids=lambda model: model.__name__)
@pytest.mark.parametrize("steps", [4, 6, 8])
def test_folding_and_unrolling_are_inverse(model, direction, steps):
    folded = traced(model, steps=6).graph(direction, "folded")
    assert is_same(tracer.unroll(folded, steps), traced(model, steps=steps).graph(direction))


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_layers_that_go_both_ways_fold_and_unroll(steps):
    layer = nn.GRU(2, 3, num_layers=2, bidirectional=True)

    def model(steps):
        return layer(np.ones((steps, 1, 2), "f4"))[0]

    folded = traced(model, steps=4).graph(time="folded")
    assert [loop["reverse"] for loop in folded.graph["loops"]] == [False, True, False, True]
    assert {delay for *_, delay in folded.edges(data="delay")} == {0, 1}
    assert is_same(tracer.unroll(folded, steps), traced(model, steps=steps).graph())


def test_a_copy_does_not_have_the_statistics_of_all():
    with tracer.Tape(watch=True) as tape:
        h = weight()
        for _ in tracer.steps(3):
            h = np.tanh(h)
    folded = tape.graph(time="folded")
    assert all("norm" in a for _, a in folded.nodes(data=True))
    again = tracer.unroll(folded, 3)
    assert [a["label"] for _, a in again.nodes(data=True) if "norm" in a] == ["w"]


def test_an_unrolled_structure_does_not_run():
    structure = tracer.unroll(traced(delayed, delay=1).graph(time="folded"), 3)
    with pytest.raises(tracer.GraphError, match="structure of a trace"):
        structure(np.ones((3, 1)))
    steps = [name[1] for name, op in structure.nodes(data="op") if op == "tanh"]
    assert steps == [0, 1, 2]


def test_nested_and_irregular_loops_do_not_unroll():
    with pytest.raises(tracer.GraphError, match=r"not nested.*test_graph_time\.py:"):
        tracer.unroll(traced(nested).graph(time="folded"), 3)

    def irregular():
        h = weight()
        for t in tracer.steps(6):
            h = np.tanh(h) if t in (0, 1, 4) else np.sin(h)
        return h

    with pytest.raises(tracer.GraphError, match=r"'tanh' 3 times at irregular"):
        tracer.unroll(traced(irregular).graph(time="folded"), 6)
