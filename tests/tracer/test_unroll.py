"""Cyclic graphs of modules, unrolled: they compute what a loop written by hand computes."""

import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn

SAMPLES, SIZE = 3, 2


class Affine:
    """A module by its interface alone: callable, and it names its parameters."""

    def __init__(self, seed, inputs=1):
        rng = np.random.default_rng(seed)
        self.weights = [tracer.parameter(rng.standard_normal((SIZE, SIZE))) for _ in range(inputs)]
        self.bias = tracer.parameter(rng.standard_normal(SIZE))

    def __call__(self, *inputs):
        terms = (x @ w for x, w in zip(inputs, self.weights, strict=True))
        return np.tanh(sum(terms, start=self.bias))

    def named_parameters(self):
        yield from ((f"weight_{i}", w) for i, w in enumerate(self.weights))
        yield "bias", self.bias


def recurrent(initial=0.0):
    """x -> cell, with the cell's last value."""
    graph = nx.DiGraph()
    graph.add_node("x")
    graph.add_node("cell", module=Affine(0, inputs=2))
    graph.add_edge("x", "cell")
    graph.add_edge("cell", "cell", delay=1, initial=np.full((SAMPLES, SIZE), initial))
    return graph


def sequence(steps, seed=1):
    return np.random.default_rng(seed).standard_normal((steps, SAMPLES, SIZE))


# -- structure -------------------------------------------------------------------------------------


def test_the_unrolled_graph_has_a_node_per_step():
    unrolled = tracer.unroll(recurrent(), 3)
    assert nx.is_directed_acyclic_graph(unrolled)
    assert set(unrolled) == {
        *((name, t) for name in ("x", "cell") for t in range(3)),
        (("cell", "cell", 0), -1),
    }
    assert unrolled.nodes["cell", 2]["time"] == 2
    assert unrolled.nodes["cell", 2]["scope"] == "cell"
    assert [unrolled.nodes[name, 0]["kind"] for name in ("x", "cell")] == ["input", "operation"]
    into = {slot: source for source, _, slot in unrolled.in_edges(("cell", 1), data="slot")}
    assert into == {0: ("x", 1), 1: ("cell", 0)}


def test_a_delay_may_be_longer_than_the_sequence():
    graph = recurrent()
    graph.edges["cell", "cell"]["delay"] = 5
    unrolled = tracer.unroll(graph, 2)
    assert (("cell", "cell", 0), -5) in unrolled
    x, cell = sequence(2), graph.nodes["cell"]["module"]
    start = np.zeros((SAMPLES, SIZE))
    np.testing.assert_array_equal(
        unrolled(x).data, np.stack([cell(x[t], start).data for t in (0, 1)])
    )


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_it_computes_what_the_loop_computes(steps):
    graph, x = recurrent(initial=0.3), sequence(steps)
    cell, h, expected = graph.nodes["cell"]["module"], np.full((SAMPLES, SIZE), 0.3), []
    for t in range(steps):
        h = cell(x[t], h).data
        expected.append(h)
    np.testing.assert_array_equal(tracer.unroll(graph, steps)(x).data, np.stack(expected))
    np.testing.assert_array_equal(tracer.unroll(graph, steps)(list(x)).data, np.stack(expected))


def test_initial_values_may_depend_on_the_step_and_be_learned():
    start = tracer.parameter(np.ones(SIZE), name="start")
    graph = nx.DiGraph()
    graph.add_node("h", module=lambda old: 2.0 * old)
    graph.add_edge("h", "h", delay=2, initial=lambda t: start * float(-t))
    with tracer.Tape() as tape:
        outputs = tracer.unroll(graph, 4)()
        loss = np.sum(outputs)
    np.testing.assert_array_equal(outputs.data[:, 0], [4.0, 2.0, 8.0, 4.0])
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["start"], [18.0, 18.0])


def test_outputs_are_what_nothing_reads_in_the_same_step_or_what_is_marked():
    graph = recurrent()
    graph.add_node("twice", module=lambda h: 2.0 * h)
    graph.add_edge("cell", "twice")
    x = sequence(3)
    twice = tracer.unroll(graph, 3)(x)
    graph.nodes["cell"]["output"] = graph.nodes["twice"]["output"] = True
    both = tracer.unroll(graph, 3)(x)
    assert list(both) == ["cell", "twice"]
    np.testing.assert_array_equal(both["twice"].data, twice.data)
    np.testing.assert_array_equal(2.0 * both["cell"].data, twice.data)


def test_inputs_by_name_and_slots():
    graph = nx.DiGraph()
    graph.add_node("difference", module=lambda a, b: a - b)
    graph.add_edge("u", "difference", slot=1)
    graph.add_edge("v", "difference", slot=0)
    u, v = sequence(2), sequence(2, seed=2)
    np.testing.assert_array_equal(tracer.unroll(graph, 2)({"u": u, "v": v}), v - u)


def test_one_of_several_values_of_a_module():
    graph = nx.MultiDiGraph()
    graph.add_node("x")
    graph.add_node("pair", module=lambda x, h, c: (x + h, x * c))
    graph.add_node("sum", module=lambda h, c: h + c)
    graph.add_edge("x", "pair", slot=0)
    graph.add_edge("pair", "pair", slot=1, delay=1, output=0, initial=1.0)
    graph.add_edge("pair", "pair", slot=2, delay=2, output=1, initial=2.0)
    graph.add_edge("pair", "sum", slot=0, output=0)
    graph.add_edge("pair", "sum", slot=1, output=1)
    x, h, c, expected = sequence(5), [1.0], [2.0, 2.0], []
    for t in range(5):
        h.append(x[t] + h[-1])
        c.append(x[t] * c[-2])
        expected.append(h[-1] + c[-1])
    np.testing.assert_array_equal(tracer.unroll(graph, 5)(x), np.stack(expected))
    graph.nodes["pair"]["output"] = True
    first, second = tracer.unroll(graph, 5)(x)
    np.testing.assert_array_equal(first, np.stack(h[1:]))
    np.testing.assert_array_equal(second, np.stack(c[2:]))


@pytest.mark.parametrize(("cell", "layer"), [(nn.RNNCell, nn.RNN), (nn.LSTMCell, nn.LSTM)])
def test_a_cell_unrolled_is_the_layer(cell, layer):
    tracer.seed(0)
    layer = layer(SIZE, 4).double()
    cell = cell(SIZE, 4).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    graph = nx.DiGraph()
    graph.add_node("cell", module=cell)
    graph.add_edge("x", "cell", slot=0)
    graph.add_edge("cell", "cell", slot=1, delay=1, initial=None)
    x, target = sequence(5), np.zeros((5, SAMPLES, 4))

    def results(run):
        with tracer.Tape() as tape:
            output = run(tracer.batch(x, axis=1))
            output = output[0] if isinstance(output, tuple) else output
            loss = nn.functional.mse_loss(np.swapaxes(output, 0, 1), np.swapaxes(target, 0, 1))
        return tape.backward(loss, ("grad", "grad_batch", "diag_ggn_exact"))

    ours, theirs = results(tracer.unroll(graph, 5)), results(layer)
    for quantity, values in theirs.items():
        for name, value in values.items():
            unrolled = ours[quantity]["cell." + name.removesuffix("_l0")]
            np.testing.assert_allclose(unrolled, value, rtol=1e-10, atol=1e-14)


# -- on the tape -----------------------------------------------------------------------------------


def test_parameters_are_called_by_node_and_found_in_scopes_and_steps():
    graph = recurrent()
    unrolled = tracer.unroll(graph, 4)
    names = ["cell.weight_0", "cell.weight_1", "cell.bias"]
    assert [name for name, _ in unrolled.named_parameters()] == names
    assert len(list(unrolled.parameters())) == 3
    with tracer.Tape() as tape:
        loss = np.sum(unrolled(tracer.batch(sequence(4), axis=1)) ** 2)
    results = tape.backward(loss, ("grad", "grad_batch"))
    assert list(results["grad"]) == names
    for name in names:
        total = results["grad_batch"][name].sum(0)
        np.testing.assert_allclose(total, results["grad"][name], rtol=1e-12)
    tanh = [a for _, a in tape.graph().nodes(data=True) if a["op"] == "tanh"]
    assert [(a["scope"], a["time"]) for a in tanh] == [("cell", t) for t in range(4)]
    assert {a["source"].partition(":")[0] for a in tanh} == {"test_unroll.py"}


def test_layers_in_nodes_with_equal_names_are_kept_apart():
    graph = nx.DiGraph()
    graph.add_node("a", module=nn.Linear(SIZE, SIZE))
    graph.add_node("b", module=nn.Linear(SIZE, SIZE))
    nx.add_path(graph, ["x", "a", "b"])
    with tracer.Tape() as tape:
        loss = np.sum(tracer.unroll(graph, 2)(sequence(2)))
    assert list(tape.backward(loss)["grad"]) == ["a.weight", "a.bias", "b.weight", "b.bias"]


def test_an_unrolled_graph_is_a_module_of_another():
    inner = tracer.unroll(recurrent(), 4)
    graph = nx.DiGraph()
    graph.add_node("inner", module=inner)
    graph.add_edge("x", "inner")
    outer = tracer.unroll(graph, 2)
    x = np.stack([sequence(4), sequence(4, seed=2)])
    with tracer.Tape() as tape:
        loss = np.sum(outer(tracer.batch(x, axis=2)))
    assert set(tape.backward(loss)["grad"]) == {
        "inner.cell.weight_0",
        "inner.cell.weight_1",
        "inner.cell.bias",
    }
    folded = tape.graph(time="folded")
    assert [loop["steps"] for loop in folded.graph["loops"]] == [2, 4]
    np.testing.assert_array_equal(outer(x).data[1], inner(x[1]).data)


# -- random graphs ---------------------------------------------------------------------------------


@st.composite
def cyclic_graphs(draw):
    """A graph of two to four `Affine` modules with edges forward, and delayed ones anywhere.

    Also, for each module, what it reads: pairs of a source and a delay; and what each node was
    before the first step, `[3, samples, size]`.
    """
    count = draw(st.integers(2, 4))
    reads = {}
    for i in range(count):
        sources = draw(st.lists(st.integers(-1, i - 1), max_size=2, unique=True)) or [-1]
        reads[i] = [(source, 0) for source in sources]
        back = st.tuples(st.integers(-1, count - 1), st.integers(1, 3))
        reads[i] += draw(st.lists(back, max_size=2, unique=True))
    starts = {i: sequence(3, seed=i + 10) for i in range(-1, count)}
    graph = nx.MultiDiGraph()
    graph.add_node(-1)
    for i in draw(st.permutations(range(count))):
        module = Affine(seed=i, inputs=len(reads[i]))
        graph.add_node(i, module=module, output=i == count - 1)
    for i, sources in reads.items():
        for slot, (source, delay) in enumerate(sources):
            past = {"initial": lambda t, x=starts[source]: tracer.batch(x[t])} if delay else {}
            graph.add_edge(source, i, slot=slot, delay=delay, **past)
    return graph, reads, starts


def by_hand(parameters, reads, starts, x, extra=None):
    """The same function in plain NumPy, `[steps, samples, size]`, and what each module read.

    `parameters` are by name, `x` is `[steps, samples, size]`; `extra[i]`, shaped like `x`, is added
    inside of module i.
    """
    values, read = {i: [] for i in starts}, {}
    for t in range(len(x)):
        values[-1].append(x[t])
        for i, sources in reads.items():
            h = parameters[f"{i}.bias"] if extra is None else parameters[f"{i}.bias"] + extra[i][t]
            for slot, (source, delay) in enumerate(sources):
                past = starts[source] if t < delay else values[source]
                read[i, slot, t] = past[t - delay]
                h = h + past[t - delay] @ parameters[f"{i}.weight_{slot}"]
            values[i].append(np.tanh(h))
    return np.stack(values[max(reads)]), read


def reached(reads, steps):
    """Module -> the steps in which the last module's values depend on it."""
    found = {i: set(range(steps)) if i == max(reads) else set() for i in reads}
    for t in reversed(range(steps)):
        for i in reversed(reads):
            for source, delay in reads[i] if t in found[i] else ():
                if source >= 0 and t >= delay:
                    found[source].add(t - delay)
    return found


@settings(max_examples=40)
@given(cyclic_graphs(), st.integers(1, 5))
def test_random_cyclic_graphs_are_the_loop_written_by_hand(drawn, steps):
    graph, reads, starts = drawn
    unrolled, x = tracer.unroll(graph, steps), sequence(steps)
    assert nx.is_directed_acyclic_graph(unrolled)
    parameters = {name: p.data for name, p in unrolled.named_parameters()}
    with tracer.Tape() as tape:
        outputs = unrolled(tracer.batch(x, axis=1))
        rows = np.reshape(np.swapaxes(outputs, 0, 1), (SAMPLES, -1))
        loss = nn.functional.mse_loss(rows, np.zeros(rows.shape), reduction="sum")
    values, read = by_hand(parameters, reads, starts, x)
    np.testing.assert_allclose(outputs.data, values, rtol=1e-12)
    results = tape.backward(loss, ("grad", "grad_batch", "diag_ggn_exact", "kflr"))

    def one(n):
        past = {i: start[:, n : n + 1] for i, start in starts.items()}
        return lambda p: by_hand(p, reads, past, x[:, n : n + 1])[0]

    each_sample = [one(n) for n in range(SAMPLES)]
    gradients = [tracer.grad(lambda p, f=f: np.sum(f(p) ** 2))(parameters) for f in each_sample]
    jacobians = [tracer.jacobian(f)(parameters) for f in each_sample]
    zero = {i: np.zeros(x.shape) for i in reads}
    inside = tracer.jacobian(lambda e: by_hand(parameters, reads, starts, x, e)[0])(zero)
    uses = reached(reads, steps)
    for name in results["grad"]:
        each = np.stack([sample[name] for sample in gradients])
        roots = np.stack([j[name].reshape(-1, *parameters[name].shape) for j in jacobians])
        close(results["grad_batch"][name], each)
        close(results["grad"][name], each.sum(0))
        close(results["diag_ggn_exact"][name], 2 * (roots**2).sum((0, 1)))
        node, _, part = name.partition(".")
        b = inside[int(node)].reshape(-1, SIZE)
        factor = 2 * b.T @ b
        if part != "bias":
            slot = int(part.removeprefix("weight_"))
            a = [read[int(node), slot, t] for t in uses[int(node)]]
            inputs = (
                np.mean([x.T @ x / SAMPLES for x in a], axis=0) if a else np.zeros((SIZE, SIZE))
            )
            factor = np.kron(inputs, factor)
        close(results["kflr"][name].dense(), factor)


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_steps():
    def seconds(steps):
        start = time.process_time()
        with tracer.Tape() as tape:
            loss = np.sum(tracer.unroll(recurrent(), steps)(tracer.batch(sequence(steps), axis=1)))
        tape.backward(loss)
        folded = tape.graph("both", "folded")
        assert len(tracer.unroll(folded, steps)) == len(tape.graph("both"))
        return time.process_time() - start

    seconds(100)
    assert seconds(10_000) < 30 * seconds(1_000)


# -- bad graphs ------------------------------------------------------------------------------------


def changed(change):
    graph = recurrent()
    change(graph)
    return graph


def second_edge(**attributes):
    def change(graph):
        graph.add_node("u")
        graph.add_edge("u", "cell", **attributes)

    return change


BAD = {
    "a cycle without delay": (
        lambda g: (g.add_node("a", module=abs), g.add_edge("cell", "a"), g.add_edge("a", "cell")),
        r"delay.*'cell' -> 'a' -> 'cell'|delay.*'a' -> 'cell' -> 'a'",
    ),
    "a negative delay": (
        lambda g: g.edges["cell", "cell"].update(delay=-1),
        r"'cell' to 'cell'.*delay of 0, 1, 2.*-1",
    ),
    "half a delay": (lambda g: g.edges["x", "cell"].update(delay=0.5), r"delay.*got 0\.5"),
    "no initial value": (
        lambda g: g.edges["cell", "cell"].pop("initial"),
        r"'cell' to 'cell' has a delay of 1 and no value.*`initial`",
    ),
    "two edges of one slot": (
        lambda g: [g.edges[e].update(slot=0) for e in g.edges],
        r"into 'cell'.*'x': 0, 'cell': 0",
    ),
    "a gap between slots": (
        lambda g: [g.edges[e].update(slot=2 * i) for i, e in enumerate(g.edges)],
        r"slots 0 to 1.*'x': 0, 'cell': 2",
    ),
    "slots on some edges": (second_edge(slot=2), r"or none at all.*'u': 2"),
    "a slot that is no number": (
        lambda g: [g.edges[e].update(slot="a") for e in g.edges],
        r"slot of 0, 1, 2.*'a'",
    ),
    "no module": (lambda g: g.nodes["cell"].pop("module"), r"'cell' has edges into it and no mod"),
    "a module that is not callable": (
        lambda g: g.nodes["cell"].update(module=np.ones(2)),
        r"'cell' is a callable, got float64\[2\]",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_graphs_that_do_not_fit_together(change, message):
    with pytest.raises(tracer.GraphError, match=message):
        tracer.unroll(changed(change), 3)


@pytest.mark.parametrize("steps", [0, -2, 1.5, True, "3"])
def test_a_number_of_steps_that_is_none(steps):
    with pytest.raises(tracer.GraphError, match=r"steps of at least 1, got"):
        tracer.unroll(recurrent(), steps)


@pytest.mark.parametrize("graph", [nx.Graph([(0, 1)]), "graph", nx.DiGraph(), None])
def test_something_else_than_a_graph_of_modules(graph):
    with pytest.raises(tracer.GraphError, match=r"directed networkx graph|nodes with `module`"):
        tracer.unroll(graph, 3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (sequence(4), r"'x' is a sequence of 3 steps, got 4"),
        ({"x": sequence(2)}, r"'x' is a sequence of 3 steps, got 2"),
        (1.0, r"'x' is a sequence of 3 steps, got 1\.0"),
        (np.array(1.0), r"'x' is a sequence of 3 steps, got float64\[\]"),
        (None, r"inputs 'x', got none"),
        ({"y": sequence(3)}, r"inputs 'x', got 'y'"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(tracer.GraphError, match=message):
        tracer.unroll(recurrent(), 3)(inputs)


def test_several_inputs_need_names():
    graph = nx.DiGraph()
    graph.add_node("sum", module=lambda a, b: a + b)
    graph.add_edges_from([("u", "sum"), ("v", "sum")])
    with pytest.raises(tracer.GraphError, match=r"2 inputs.*dict.*'u', 'v'"):
        tracer.unroll(graph, 3)(sequence(3))


def test_an_output_that_is_not_there():
    graph = recurrent()
    graph.edges["cell", "cell"]["output"] = 1
    with pytest.raises(
        tracer.GraphError, match=r"'cell' to 'cell' picks output 1.*float64\[3, 2\]"
    ):
        tracer.unroll(graph, 3)(sequence(3))
