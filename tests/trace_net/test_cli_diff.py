"""`trace-net diff`: two models, or two saved graphs, as text, as JSON and as a picture."""

import json

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import compare_graphs, united_graph

MODEL = """
    import numpy as np, tracer, tracer_layers as nn
    tracer.seed(0)
    model = nn.Sequential({layers})
    example_inputs = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
"""
FIRST = "nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)"


@pytest.fixture
def model(write_file):
    return lambda name, layers: write_file(name, MODEL.format(layers=layers))


def test_the_same_model(command, model):
    first, second = model("a.py", FIRST), model("b.py", FIRST)
    outcome = command("diff", first, second)
    assert (outcome.code, outcome.out) == (0, "")
    assert "0 removed, 0 added, 0 changed" in outcome.err


def test_another_activation(command, model):
    first = model("a.py", FIRST)
    second = model("b.py", FIRST.replace("ReLU", "Tanh"))
    lines = command("diff", first, second, "--structure").out.splitlines()
    assert lines == ["--- a.py", "+++ b.py", "- 1  relu [5, 8]", "+ 1  tanh [5, 8]"]
    lines = command("diff", first, second).out.splitlines()
    assert any(line.startswith("~ 2  linear [5, 3]: value's norm") for line in lines)
    assert any(line.startswith("~ 0.weight [8, 4]: gradient's norm") for line in lines)


def test_another_width(command, model):
    first = model("a.py", FIRST)
    second = model("b.py", FIRST.replace("8", "16"))
    lines = command("diff", first, second, "--structure").out.splitlines()
    assert "~ 0.weight [16, 4]: shape [8, 4] -> [16, 4]" in lines
    assert not any(line.startswith(("- ", "+ ")) for line in lines)


def test_saved_graphs_as_json_and_as_a_picture(command, model, folder):
    first = model("a.py", FIRST)
    second = model(
        "b.py", FIRST.replace("Linear(8, 3)", "Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)")
    )
    for name in (first, second):
        assert command("visualize", name, "-o", f"{name}.json").code == 0
    outcome = command("diff", "a.py.json", "b.py.json", "--json", "--structure", "-o", "both.dot")
    found = json.loads(outcome.out)
    assert found["removed"] == []
    assert {node["label"] for node in found["added"]} >= {"linear", "relu", "4.weight", "4.bias"}
    assert "digraph" in (folder / "both.dot").read_text()


@pytest.mark.parametrize(
    ("file", "signs"),
    [
        ("both.svg", ('class="node module removed"', 'class="node module added"')),
        ("both.dot", ("\N{MINUS SIGN} 1  ReLU", "+ 1  Tanh")),
        ("both.mmd", ("class v", "classDef removed", "classDef added")),
    ],
)
def test_a_picture_of_both(command, model, folder, file, signs):
    first = model("a.py", FIRST)
    second = model("b.py", FIRST.replace("ReLU", "Tanh"))
    assert command("diff", first, second, "--structure", "-o", file).code == 0
    drawn = (folder / file).read_text()
    assert [sign for sign in signs if sign not in drawn] == []
    assert "differs" not in drawn  # the legend tells of signs that are there


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.json", "a.py"), "cannot read none.json: No such file or directory"),
        (("bad.json", "a.py"), "bad.json holds no saved graph"),
        (("a.py", "a.py", "--format", "svg"), "--format is of a picture, and none is asked for"),
        (("a.py", "a.py", "--json", "-o", "-"), "-o - and --json both write to stdout"),
    ],
)
def test_what_cannot_be_compared(command, model, folder, arguments, said):
    model("a.py", FIRST)
    (folder / "bad.json").write_text('{"a": 1}')
    outcome = command("diff", *arguments)
    assert outcome.code == 2
    assert said in outcome.error


# -- graphs --------------------------------------------------------------------------------------


def graph(layers, time="unrolled"):
    tracer.seed(0)
    model = nn.Sequential(*layers)
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    with tracer.Tape(watch=True) as tape:
        out = model(x)
        loss = np.sum((out[0] if isinstance(out, tuple) else out) ** 2)
    tape.backward(loss)
    return tape.graph("both", time)


def linear(features=5):
    return [nn.Linear(4, features), nn.Tanh()]


def test_a_graph_and_itself():
    for time in ("unrolled", "folded"):
        lstm = graph([nn.LSTM(4, 3, batch_first=True)], time)
        found = compare_graphs(lstm, lstm)
        assert found.same
        assert found.pairs == {name: name for name in lstm}


def test_pairs_removed_and_added_cover_both_graphs_once():
    first, second = graph(linear()), graph([*linear(), nn.Linear(5, 5), nn.Sigmoid()])
    for a, b in ((first, second), (second, first)):
        found = compare_graphs(a, b)
        both = united_graph(a, b, found)
        assert len(both) == len(a) + len(b) - len(found.pairs)
        kinds = dict.fromkeys(("added", "removed", None), 0)
        for _, data in both.nodes(data=True):
            change = data.get("change")
            kinds[None if change == "changed" else change] += 1
        assert kinds[None] == len(found.pairs)
        assert kinds["added"] + len(found.pairs) == len(b)
        assert kinds["removed"] + len(found.pairs) == len(a)
        for name in both:  # cotangents stay beside their nodes
            assert both.nodes[name].get("of", name) in both


class Wired(nn.Module):
    def __init__(self, order, slope):
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.act, self.order = nn.LeakyReLU(slope), order

    def forward(self, x):
        first, second = (self.a, self.b) if self.order else (self.b, self.a)
        return self.act(second(first(x))) + x


def test_other_wires_and_other_hyperparameters():
    def differences(a, b):
        found = compare_graphs(graph([Wired(*a)]), graph([Wired(*b)]), rtol=None)
        assert not found.removed
        assert not found.added
        return {change.of for changes in found.changed.values() for change in changes}

    assert differences((True, 0.1), (True, 0.1)) == set()
    assert differences((True, 0.1), (False, 0.1)) == {"inputs"}
    assert differences((True, 0.1), (True, 0.3)) == {"hyperparameters"}


def test_a_frozen_parameter_and_its_missing_gradient():
    first, layers = graph(linear()), linear()
    layers[0].weight.requires_grad_(False)
    second = graph(layers)
    found = compare_graphs(first, second)
    (name,) = [n for n in second if second.nodes[n]["label"] == "0.weight"]
    assert [change.of for change in found.changed[name]] == ["frozen", "gradient"]
    assert found.changed[name][1].after is None
    assert not found.removed
    assert not found.added
