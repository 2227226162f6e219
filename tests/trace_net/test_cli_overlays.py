"""`--overlay` by every quantity there is, and by FLOPs, bytes and time."""

import json

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from trace_net.overlays import QuantityOverlay, find_overlay
from tracer import registry

#: these give products with vectors, and hold no numbers
OPERATORS = {"ggn", "hessian", "fisher_mc", "fisher_empirical", "hmp", "ggnmp", "pchmp"}


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
        (1, 4, 4),
    ),
    "lstm": (Last, (3, 4)),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_quantity_colours_parameters_or_says_why_not(network):
    make, shape = NETWORKS[network]
    tracer.seed(0)
    model = make()
    x = np.random.default_rng(0).standard_normal((5, *shape)).astype(np.float32)
    with tracer.Tape(watch=True) as tape:
        loss = nn.cross_entropy(model(x), np.array([0, 1, 2, 1, 0]))
    wanted = [name for name in registry.quantities if name != "pchmp"]  # not of an LSTM
    results = tape.backward(loss, wanted)
    graph = tape.graph("both")
    for name in wanted:
        overlay = QuantityOverlay(name)
        values = overlay.values(graph, results)
        if name in OPERATORS:
            assert not values
            assert overlay.why_none(results).startswith(f"{name} gives products")
        else:
            assert len(values) == 2 * len(list(model.parameters())), name
            assert all(value >= 0 and np.isfinite(value) for value in values.values()), name
        if not QuantityOverlay(name, "trace").values(graph, results):
            said = QuantityOverlay(name, "trace").why_none(results)
            assert (name in OPERATORS) or said.startswith(f"{name} holds no matrices")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ggn", "ggn gives products and holds no numbers; take a diagonal"),
        ("grad:trace", "grad holds no matrices; take grad:norm, max, min or mean"),
    ],
)
def test_what_colours_nothing_says_why(command, layers, given, said):
    outcome = command("visualize", layers, "--overlay", given)
    assert outcome.code == 0, outcome.err
    assert "no node is coloured" in outcome.err
    assert said in outcome.err


@pytest.mark.parametrize(("name", "unit"), [("flops", "FLOP"), ("bytes", "B"), ("time", "s")])
def test_overlays_of_what_operations_cost(command, folder, layers, name, unit):
    assert find_overlay(name).unit == unit
    outcome = command("visualize", layers, "--overlay", name, "-o", "g.json")
    assert outcome.code == 0, outcome.err
    document = json.loads((folder / "g.json").read_text())
    numbers = document["overlay"]["values"]
    computed = {n["id"] for n in document["nodes"] if n["op"]}
    if name != "time":
        computed = {n["id"] for n in document["nodes"] if n["kind"] == "operation"}
    assert set(numbers) == computed
    assert all(number > 0 for number in numbers.values())


def test_time_of_a_model_that_fails_is_not_measured(command, folder):
    (folder / "bad.py").write_text(
        "import numpy as np, tracer\nw = tracer.parameter(np.ones((2, 2)))\n"
        "example_inputs = (np.ones((3, 2)),)\n"
        "def model(x):\n    return np.tanh(x @ w) @ np.ones(7)\n"
    )
    outcome = command("visualize", "bad.py", "--overlay", "time")
    assert outcome.code == 1
    assert (folder / "bad.svg").exists()
