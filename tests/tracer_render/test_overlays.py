"""Overlays by FLOPs, bytes and measured time: numbers, sums, units."""

import time

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.extend import DrawOptions, Elementwise, operation, time_operations
from tracer.sweep.timing import RUNS
from tracer_render import style
from tracer_render.picture import describe

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)


def swept(model, x, target):
    with tracer.Tape(watch=True) as tape:
        out = model(x)
        loss = nn.cross_entropy(out[0] if isinstance(out, tuple) else out, target)
    tape.backward(loss)
    return tape


@pytest.fixture
def mlp():
    tracer.seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, 2))
    return swept(model, X[0], np.array([0, 1, 1]))


def notes(picture):
    return {box.title: box.notes for box in picture.boxes}


def pictured(tape, name, **options):
    overlay = registry.overlays[name]
    graph = tape.graph("both", options.pop("time", "unrolled"))
    return describe(graph, DrawOptions(overlay=overlay, **options))


def test_flops_are_those_that_summary_counts(mlp):
    counted = {node.op.name: node.flops for node in mlp.recorded()}
    graph = mlp.graph("both")
    values = registry.overlays["flops"].values(graph, {})
    assert {graph.nodes[node]["label"] for node in values} == set(counted)
    assert sum(values.values()) == sum(node.flops for node in mlp.recorded())
    linear = next(data for _, data in graph.nodes(data=True) if data["op"] == "linear")
    assert linear["flops"] == 2 * 3 * 4 * 5


def test_a_closed_module_has_the_sum_of_what_is_in_it(mlp):
    found = notes(pictured(mlp, "flops", depth=0))["0  Sequential"]
    assert f"flops {2 * 3 * 4 * 5 + 3 * 5} FLOP" in found
    found = notes(pictured(mlp, "bytes", depth=0))
    assert f"bytes {2 * 3 * 5 * 4} B" in found["0  Sequential"]
    assert not any(note.startswith("bytes") for note in found["∇ 0  Sequential"])


def test_a_closed_module_has_the_largest_norm_in_it(mlp):
    graph = mlp.graph("both")
    values = registry.overlays["grad_norm"].values(graph, {})
    inside = [values[n] for n, data in graph.nodes(data=True)
              if data["scope"].startswith("0") and data["kind"] == "cotangent"]  # fmt: skip
    found = notes(pictured(mlp, "grad_norm", depth=0))["∇ 0  Sequential"]
    assert f"gradient norm {max(inside):.3g}" in found


@pytest.mark.parametrize("name", ["flops", "bytes", "time"])
@pytest.mark.parametrize("form", ["elided", "folded", "repeated"])
def test_boxes_that_stand_for_several_have_the_sum(name, form):
    if form == "repeated":
        model, x = nn.Sequential(*(nn.Linear(4, 4) for _ in range(50))), X[0]
        options = {"depth": "auto"}
    else:
        model, x = nn.LSTM(4, 4, batch_first=True), np.repeat(X, 4, axis=1)
        folded = form == "folded"
        options = {"time": "folded"} if folded else {"steps": 2}
    target = np.zeros(x.shape[:-1] if form == "repeated" else (2, 4), int)
    tape = swept(model, x, target)
    time_operations(tape)
    of_all = registry.overlays[name].values(tape.graph("both"), {})
    overlay = registry.overlays[name]
    graph = tape.graph("both", options.get("time", "unrolled"))
    picture = pictured(tape, name, **options)
    assert len(picture.boxes) < len(tape.graph("both"))
    drawn = sum(overlay.values(graph, {}).values())
    assert drawn == pytest.approx(sum(of_all.values()))
    numbers = [n for box in picture.boxes for n in box.notes if n.startswith(overlay.label)]
    shown = sum(map(number, numbers))
    assert shown == pytest.approx(drawn, rel=0.01)  # each of three digits


def number(note):
    """The number in a note, as in `time 1.2 ms`."""
    _, digits, unit = note.rsplit(" ", 2)
    prefix = unit[:-1] if unit.endswith("s") else unit.removesuffix("FLOP").removesuffix("B")
    return float(digits) * {"": 1, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}[prefix]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"), (4.2e-4, "s", "420 µs"), (1.5, "s", "1.5 s"), (3e-9, "s", "3 ns"),
        (1e-11, "s", "0.01 ns"), (9.999e-4, "s", "1 ms"), (1200, "FLOP", "1.2 kFLOP"),
        (3.1e6, "B", "3.1 MB"), (999.9, "B", "1 kB"), (5e15, "B", "5e+03 TB"), (12, "B", "12 B"),
        (float("nan"), "s", "NaN s"), (0.25, "", "0.25"),
    ],
)  # fmt: skip
def test_amounts_have_units_with_prefixes(value, unit, text):
    assert style.amount_text(value, unit) == text


def test_the_legend_has_units(mlp):
    svg = mlp.draw(overlay="bytes").render().decode()
    assert ">bytes (log scale)<" in svg
    assert ">4 B<" in svg
    assert "4 B" in mlp.draw(overlay="bytes").render("dot").decode()


# -- measured ------------------------------------------------------------------------------------


@pytest.fixture
def slow():
    @operation("slow_for_overlays")
    class Slow(Elementwise):
        """The same, later."""

        calls: list[str] = []

        def forward(x):
            Slow.calls.append("forward")
            time.sleep(0.002)
            return x * 1

        def vjp(node, g):
            def later():
                Slow.calls.append("vjp")
                time.sleep(0.004)
                return g

            return (later,)

    return Slow


@pytest.fixture
def of_slow(slow):
    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(slow(w) * 2.0)
    tape.backward(loss)
    type(slow).calls.clear()
    return tape


def test_time_is_that_of_the_operation_and_of_its_rule(of_slow, slow):
    time_operations(of_slow)
    nodes = of_slow.graph("both").nodes(data=True)
    seconds = {data["label"]: data["seconds"] for _, data in nodes if "seconds" in data}
    assert 0.002 <= seconds["slow_for_overlays"] < 0.004
    assert 0.004 <= seconds["∇ slow_for_overlays"] < 0.02
    assert 0 < seconds["multiply"] < 0.002
    # the sweep itself calls each rule once more
    assert type(slow).calls == ["forward"] * (1 + RUNS) + ["vjp"] * (2 + RUNS)


def test_a_tape_goes_on_as_before(mlp):
    (loss,) = (node for node in mlp.recorded() if node is mlp.loss)
    before = mlp.backward(tracer.Tensor(np.float32(0), loss))["grad"]
    time_operations(mlp)
    assert all(node.output is None for node in mlp.recorded())
    after = mlp.backward(tracer.Tensor(np.float32(0), loss))["grad"]
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_without_a_sweep_only_operations_are_timed_and_values_stay():
    model = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X[0]), np.array([0, 1, 1]))
    held = [(node, node.inputs, node.output, node.kept) for node in tape.recorded()]
    time_operations(tape)
    assert set(tape.seconds) == set(tape.recorded())
    assert all(
        node.inputs is inputs and node.output is output and node.kept is kept
        for node, inputs, output, kept in held
    )
    assert "time" in tape.draw(overlay="time").render("dot").decode()
    assert set(tape.backward(loss)["grad"]) == set(tape.backward(loss)["grad"])


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(4, 3), nn.GRU(4, 3), nn.MultiheadAttention(4, 2),
        nn.TransformerEncoderLayer(4, 2, 8),
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(3), nn.GELU(), nn.Dropout(0.5)),
        nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv2d(1, 2, 2), nn.MaxPool2d(2)),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_all_that_was_recorded_is_timed(layer):
    with tracer.Tape() as tape:
        given = (X, X, X) if isinstance(layer, nn.MultiheadAttention) else (X,)
        out = layer(*given)
        loss = np.sum((out[0] if isinstance(out, tuple) else out) ** 2)
    first = tape.backward(loss)["grad"]
    time_operations(tape)
    graph = tape.graph("both")
    computed = [n for n, data in graph.nodes(data=True) if data["op"]]
    assert all(graph.nodes[node]["seconds"] > 0 for node in computed)
    again = tape.backward(loss)["grad"]
    for name, value in first.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6)
