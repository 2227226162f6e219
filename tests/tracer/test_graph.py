"""The graph that renderers draw: attributes, directions, folding in time."""

import json

import networkx as nx
import numpy as np
import pytest

import tracer

NODE_KEYS = {"kind", "op", "label", "shape", "dtype", "nbytes", "scope", "scopes", "time", "source"}
EDGE_KEYS = {"kind", "slot", "shape", "delay"}


def record(*, watch=False, sweep=True):
    rng = np.random.default_rng(0)
    with tracer.Tape(watch=watch) as tape:
        x = tracer.batch(rng.standard_normal((4, 3)).astype("f4"), name="x")
        w = tracer.parameter(rng.standard_normal((3, 2)).astype("f4"), name="0.weight")
        with tracer.scope("0", "Linear"):
            h = x @ w
        with tracer.scope("1", "Tanh"):
            y = np.tanh(h)
        scale = np.array([1.0, 2.0], "f4")
        loss = np.sum(y * scale)
    if sweep:
        tape.backward(loss)
    return tape


def by_label(graph, label):
    (name,) = [n for n, a in graph.nodes(data=True) if a["label"] == label]
    return graph.nodes[name]


def recurrent(steps=4, *, watch=False, extra=False):
    with tracer.Tape(watch=watch) as tape:
        w = tracer.parameter(np.full((3, 3), 0.1), name="w")
        x = tracer.batch(np.ones((2, steps, 3)), name="x")
        h = np.zeros((2, 3))
        for t in tracer.steps(steps):
            h = np.tanh(x[:, t] + h @ w)
        loss = np.sum(h)
    tape.backward(loss)
    return tape


# -- attributes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("times", ["unrolled", "folded"])
def test_every_node_and_edge_has_the_attributes_of_the_reference(direction, times):
    for tape in (record(), recurrent(), record(watch=True), record(sweep=False)):
        graph = tape.graph(direction, times)
        assert isinstance(graph, nx.MultiDiGraph)
        assert graph.graph["direction"] == direction
        assert graph.graph["time"] == times
        assert isinstance(graph.graph["name"], str)
        assert len(graph) > 3
        for name, attributes in graph.nodes(data=True):
            assert attributes.keys() >= NODE_KEYS, name
            assert name[0] in ("d" if attributes["kind"] == "cotangent" else "n")
        for *_, attributes in graph.edges(data=True):
            assert attributes.keys() >= EDGE_KEYS
            assert attributes["kind"] in ("data", "cotangent")


def test_attributes_of_leaves_and_operations():
    graph = record().graph()
    x, w = by_label(graph, "x"), by_label(graph, "0.weight")
    assert (x["kind"], x["op"], x["shape"], x["dtype"]) == ("input", "", [4, 3], "float32")
    assert (w["kind"], w["nbytes"]) == ("parameter", 3 * 2 * 4)
    assert by_label(graph, "scale")["kind"] == "constant"
    matmul = by_label(graph, "matmul")
    assert matmul["kind"] == "operation"
    assert matmul["op"] == "matmul"
    assert (matmul["scope"], matmul["scopes"]) == ("0", ["Linear"])
    assert matmul["source"].startswith("test_graph.py:")
    assert by_label(graph, "sum")["shape"] == []


def test_slots_say_which_input():
    graph = record().graph()
    names = {a["label"]: n for n, a in graph.nodes(data=True)}
    (first,) = graph.get_edge_data(names["x"], names["matmul"]).values()
    (second,) = graph.get_edge_data(names["0.weight"], names["matmul"]).values()
    assert (first["slot"], second["slot"]) == (0, 1)
    assert first["shape"] == [4, 3]


def test_an_input_used_twice_has_two_edges():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2), name="w")
        w * w
    graph = tape.graph()
    assert [a["slot"] for *_, a in graph.edges(data=True)] == [0, 1]


def test_ids_are_the_same_every_time():
    first, second = record().graph("both"), record().graph("both")
    assert list(first.nodes) == list(second.nodes)
    assert list(first.edges) == list(second.edges)
    assert [n for n in first if n[0] == "n"] == [f"n{i}" for i in range(7)]


@pytest.mark.parametrize(
    "label", ['"quoted"', "<script>alert(1)</script>", "two\nlines", "naïve ∇"]
)
def test_labels_are_kept_as_they_are(label):
    with tracer.Tape() as tape:
        tracer.parameter(np.ones(2), name=label) * 2.0
    assert by_label(tape.graph(), label)["kind"] == "parameter"


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("times", ["unrolled", "folded"])
def test_graphs_go_through_json_and_come_back(direction, times):
    for tape in (record(watch=True), recurrent(watch=True)):
        graph = tape.graph(direction, times)
        text = json.dumps(nx.node_link_data(graph, edges="edges"), allow_nan=False)
        again = nx.node_link_graph(json.loads(text), edges="edges", directed=True, multigraph=True)
        assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
        assert list(again.edges(keys=True, data=True)) == list(graph.edges(keys=True, data=True))
        assert again.graph == graph.graph


@pytest.mark.parametrize(("direction", "times"), [("sideways", "unrolled"), ("forward", "curled")])
def test_unknown_options_are_refused(direction, times):
    with pytest.raises(tracer.GraphError, match=r"sideways|curled"):
        record().graph(direction, times)


def test_an_empty_tape_has_an_empty_graph():
    with tracer.Tape() as tape:
        pass
    assert len(tape.graph("both")) == 0
    assert len(tape.graph("both", "folded")) == 0


class Holder:
    order = np.array([1, 0])


def test_arrays_that_index_and_masks_are_constants_with_their_names():
    rows, columns, holder = np.array([0, 2]), np.array([1, 0]), Holder()
    mask = np.array([[True, False]])
    with tracer.Tape() as tape:
        w = tracer.parameter(np.arange(8.0).reshape(4, 2), name="w")
        w[rows, columns]
        w[:, holder.order]
        np.take(w, rows, axis=0)
        w.take(columns, axis=1)
        w[w.data > 3]
        w[[0, 1]]
        np.where(mask, w, 0.0)
        np.where(mask[0], w, 0.0)
        np.diagonal(w)
    graph = tape.graph()
    inputs = [
        {slot: graph.nodes[source] for source, _, slot in graph.in_edges(node, data="slot")}
        for node, kind in graph.nodes(data="kind")
        if kind == "operation"
    ]
    named = [[of[slot]["label"] for slot in sorted(of)] for of in inputs]
    assert named == [
        ["w", "rows", "columns"],
        ["w", "order"],
        ["w", "rows"],
        ["w", "columns"],
        ["w", "index"],
        ["w", "index"],
        ["mask", "w"],
        ["mask", "w"],
        ["w"],
        ["transpose"],  # the diagonal of it, by indices of our own
    ]
    index = inputs[0][1]
    assert (index["kind"], index["shape"], index["dtype"]) == ("constant", [2], "int64")
    assert (inputs[6][0]["kind"], inputs[6][0]["dtype"]) == ("constant", "bool")


def test_arrays_that_index_at_each_step_are_folded():
    steps = [np.array([0, 1]), np.array([1, 1]), np.array([1, 0])]
    with tracer.Tape() as tape:
        w, h = tracer.parameter(np.ones((2, 2)), name="w"), 0.0
        for t in tracer.steps(3):
            rows = steps[t]
            h = np.tanh(w[rows] + h)
    index = by_label(tape.graph(time="folded"), "rows")
    assert index["steps"] == 3


# -- directions ------------------------------------------------------------------------------------


def test_the_backward_graph_has_cotangents_alone_against_the_data():
    forward, backward = record().graph(), record().graph("backward")
    assert {a["kind"] for _, a in backward.nodes(data=True)} == {"cotangent"}
    wanted = {"0.weight", "matmul", "tanh", "multiply", "sum"}
    assert {a["label"] for _, a in backward.nodes(data=True)} == {f"∇ {n}" for n in wanted}
    for source, target, attributes in backward.edges(data=True):
        assert attributes["kind"] == "cotangent"
        assert forward.has_edge(f"n{target[1:]}", f"n{source[1:]}")


def test_both_directions_hold_both_families_paired_by_of():
    graph = record().graph("both")
    for name, attributes in graph.nodes(data=True):
        if attributes["kind"] == "cotangent":
            assert attributes["of"] == f"n{name[1:]}"
            assert graph.nodes[attributes["of"]]["shape"] == attributes["shape"]
    forward, backward = record().graph(), record().graph("backward")
    assert set(graph) == set(forward) | set(backward)
    assert graph.number_of_edges() == forward.number_of_edges() + backward.number_of_edges()


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_the_unrolled_graph_has_no_cycles(direction):
    assert nx.is_directed_acyclic_graph(recurrent().graph(direction))


def test_what_no_gradient_reaches_is_marked():
    with tracer.Tape() as tape:
        w, u = tracer.parameter(np.ones(2), name="w"), tracer.parameter(np.ones(2), name="u")
        np.exp(u)
        loss = np.sum(w * 2.0)
    tape.backward(loss)
    graph = tape.graph("both")
    assert by_label(graph, "u")["reached"] is False
    assert by_label(graph, "exp")["reached"] is False
    assert "reached" not in by_label(graph, "w")
    assert {a["label"] for _, a in graph.nodes(data=True)} >= {"∇ w"}
    assert "∇ u" not in {a["label"] for _, a in graph.nodes(data=True)}


# -- statistics ------------------------------------------------------------------------------------


def watched(quantities):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    with tracer.Tape(watch=True) as tape:
        w = tracer.parameter(np.array([1.0, -2.0]), name="w")
        h = tracer.batch(x, name="x") * w
        loss = np.mean(np.sum(h * h, axis=1))
    tape.backward(loss, quantities, outputs=h if len(quantities) > 1 else None)
    gradient = np.mean(2 * x * x * w.data, axis=0)
    return tape.graph("both"), x, gradient


@pytest.mark.parametrize(
    "quantities", [("grad",), ("diag_ggn_exact", "grad"), ("grad", "diag_ggn_exact", "kflr")]
)
@pytest.mark.parametrize("budget", [None, 1])
def test_a_watched_tape_has_norms_of_values_and_gradients(quantities, budget):
    graph, x, gradient = watched(quantities)
    assert by_label(graph, "x")["norm"] == pytest.approx(np.linalg.norm(x))
    w = by_label(graph, "w")
    assert (w["min"], w["max"], w["nan"], w["inf"]) == (-2.0, 1.0, 0, 0)
    assert by_label(graph, "∇ w")["norm"] == pytest.approx(np.linalg.norm(gradient))
    cotangents = [a for _, a in graph.nodes(data=True) if a["kind"] == "cotangent"]
    assert all("norm" in a for a in cotangents), [a["label"] for a in cotangents if "norm" not in a]


def test_a_tape_with_values_has_the_numbers_of_what_is_small():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    with tracer.Tape(values=True) as tape:
        w = tracer.parameter(np.array([1.0, -2.0]), name="w")
        h = tracer.batch(x, name="x") * w + np.array([0.5, 0.0])
        wide = np.concatenate([h, h, h, h], axis=1)
        loss = np.mean(h * h) + 0.0 * np.sum(wide)
    tape.backward(loss)
    graph = tape.graph("both")
    assert by_label(graph, "x")["values"] == x.tolist()
    assert by_label(graph, "w")["values"] == [1.0, -2.0]
    assert by_label(graph, "constant")["values"] == [0.5, 0.0]
    assert by_label(graph, "mean")["values"] == np.mean(h.data**2)
    assert by_label(graph, "∇ w")["values"] == (x * h.data / 2).sum(axis=0).tolist()
    assert by_label(graph, "∇ mean")["values"] == 1.0
    assert "values" not in by_label(graph, "concatenate")
    assert "norm" in by_label(graph, "concatenate")
    assert not any("values" in a for _, a in watched(("grad",))[0].nodes(data=True))


def test_copies_that_are_folded_have_no_numbers():
    with tracer.Tape(values=True) as tape:
        w, h = tracer.parameter(np.full((2, 2), 0.1), name="w"), np.ones((1, 2))
        for _ in tracer.steps(3):
            h = np.tanh(h @ w)
    assert "values" not in by_label(tape.graph(time="folded"), "tanh")
    assert by_label(tape.graph(time="folded"), "w")["values"] == [[0.1, 0.1], [0.1, 0.1]]


def test_a_tape_that_is_not_watched_has_none():
    graph = record().graph("both")
    assert not any("norm" in a for _, a in graph.nodes(data=True))


def test_nan_and_infinity_are_counted():
    with tracer.Tape(watch=True) as tape:
        w = tracer.parameter(np.array([0.0, 1.0, -1.0]), name="w")
        with np.errstate(all="ignore"):
            np.log(w)
    log = by_label(tape.graph(), "log")
    assert (log["nan"], log["inf"]) == (1, 1)
    assert np.isnan(log["norm"])


# -- time ------------------------------------------------------------------------------------------


def test_the_unrolled_graph_has_every_step():
    graph = recurrent(4).graph()
    times = [a["time"] for _, a in graph.nodes(data=True) if a["op"] == "tanh"]
    assert times == [0, 1, 2, 3]


def test_the_folded_graph_has_one_cell_with_a_state_edge():
    graph = recurrent(4).graph("forward", "folded")
    tanh = by_label(graph, "tanh")
    assert (tanh["steps"], tanh["time"]) == (4, None)
    assert "steps" not in by_label(graph, "w")
    delayed = [(u, v) for u, v, a in graph.edges(data=True) if a["delay"] == 1]
    assert [(graph.nodes[u]["op"], graph.nodes[v]["op"]) for u, v in delayed] == [
        ("tanh", "matmul")
    ]
    assert not nx.is_directed_acyclic_graph(graph)
    inside = nx.MultiDiGraph(graph)
    inside.remove_edges_from(
        [(u, v, k) for u, v, k, a in graph.edges(keys=True, data=True) if a["delay"]]
    )
    assert nx.is_directed_acyclic_graph(inside)


def test_the_folded_graph_does_not_grow_with_the_steps():
    sizes = {len(recurrent(steps).graph("both", "folded")) for steps in (3, 6, 9)}
    assert len(sizes) == 1


def test_the_folded_backward_graph_has_the_reversed_state_edge():
    graph = recurrent(4).graph("both", "folded")
    delayed = {
        (graph.nodes[u]["label"], graph.nodes[v]["label"])
        for u, v, a in graph.edges(data=True)
        if a["delay"] and a["kind"] == "cotangent"
    }
    assert delayed == {("∇ matmul", "∇ tanh")}
    for _, attributes in graph.nodes(data=True):
        if attributes["kind"] == "cotangent":
            assert attributes["of"] in graph


def test_a_connection_over_two_steps_has_delay_two():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2), name="w")
        states = [w * 0.0, w * 1.0]
        for _ in tracer.steps(5):
            states.append(np.sin(states[-2]))
    graph = tape.graph("forward", "folded")
    assert {a["delay"] for *_, a in graph.edges(data=True)} == {0, 2}


def test_statistics_of_folded_nodes_are_those_of_all_steps():
    tape = recurrent(4, watch=True)
    unrolled, folded = tape.graph(), tape.graph("forward", "folded")
    norms = [a["norm"] for _, a in unrolled.nodes(data=True) if a["op"] == "tanh"]
    assert by_label(folded, "tanh")["norm"] == pytest.approx(np.linalg.norm(norms))


def test_a_graph_without_time_is_its_own_folding():
    graph, folded = record().graph("both"), record().graph("both", "folded")
    assert dict(graph.nodes(data=True)) == dict(folded.nodes(data=True))
    assert sorted(map(str, graph.edges(data=True))) == sorted(map(str, folded.edges(data=True)))


# -- failures --------------------------------------------------------------------------------------


def failing_model(tape):
    with tape:
        w = tracer.parameter(np.ones((3, 2)), name="w")
        h = np.tanh(tracer.batch(np.ones((4, 3)), name="x") @ w)
        with tracer.scope("head", "Linear"):
            h @ np.ones((5, 1))


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_the_graph_of_a_failing_model_ends_at_the_failing_operation(direction):
    tape = tracer.Tape(watch=True)
    with pytest.raises(tracer.ShapeError):
        failing_model(tape)
    graph = tape.graph(direction)
    assert "head" in graph.graph["error"]
    if direction != "backward":
        (failed,) = [a for _, a in graph.nodes(data=True) if a.get("failed")]
        assert failed["op"] == "matmul"
        assert failed["scope"] == "head"
        assert failed["source"].startswith("test_graph.py:")
        assert "float64[4, 2]" in failed["error"]
        assert failed.keys() >= NODE_KEYS
    json.dumps(nx.node_link_data(graph, edges="edges"), allow_nan=False)


def test_a_model_that_fails_at_its_first_operation():
    with pytest.raises(tracer.ShapeError), tracer.Tape(watch=True) as tape:
        tracer.batch(np.ones((4, 3)), name="x") @ tracer.parameter(np.ones((2, 2)), name="w")
    graph = tape.graph()
    assert {a["label"] for _, a in graph.nodes(data=True)} == {"x", "w", "matmul"}
    assert graph.number_of_edges() == 2


# -- size ------------------------------------------------------------------------------------------


def test_a_hundred_thousand_operations():
    with tracer.Tape() as tape:
        x = tracer.parameter(np.array(1.0), name="x")
        for _ in range(100_000):
            x = x + 1.0
    graph = tape.graph()
    assert len(graph) == 100_001
    assert graph.number_of_edges() == 100_000


def test_each_call_of_a_module_is_told_apart():
    import tracer_layers as nn

    class Net(nn.Module):
        def __init__(self):
            self.enc = nn.ModuleList([nn.Linear(3, 3)])
            self.act = nn.ReLU()

        def forward(self, x):
            x = self.act(self.enc[0](x))
            with tracer.scope("tail"):
                return self.act(x)

    net = Net()
    with tracer.Tape() as tape:
        nn.mse_loss(net(np.ones((2, 3))), np.zeros((2, 3)))
    graph = tape.graph()
    calls = graph.graph["calls"]
    told = [(call["scope"], call["kind"], call["number"], call["parent"]) for call in calls]
    assert told == [
        ("enc.0", "Linear", 0, None),
        ("act", "ReLU", 0, None),
        ("tail", "tail", 0, None),
        ("tail.act", "ReLU", 0, 2),
    ]
    assert calls[1]["module"] == calls[3]["module"] != calls[0]["module"]
    assert calls[0]["hyperparameters"].startswith("in_features=3")
    assert [d["call"] for _, d in graph.nodes(data=True) if d["op"] == "relu"] == [1, 3]
    assert "target" in [d["label"] for _, d in graph.nodes(data=True)]


def test_calls_in_the_steps_of_a_loop_are_one_in_a_folded_graph():
    import tracer_layers as nn

    cell = nn.Sequential(nn.RNNCell(2, 2), nn.Tanh())
    with tracer.Tape() as tape:
        h = np.ones((1, 2))
        for _ in tracer.steps(4):
            h = cell[1](cell[0](np.ones((1, 2)), h))
    assert len(tape.graph().graph["calls"]) == 8
    folded = tape.graph(time="folded").graph["calls"]
    assert [(call["scope"], call["number"]) for call in folded] == [("0", 0), ("1", 0)]
