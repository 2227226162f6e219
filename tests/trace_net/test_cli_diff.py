"""`trace-net diff`: two models, or two saved graphs, as text, as JSON and as a picture."""

import json
import math

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import Drawing, DrawOptions, compare_graphs, united_graph
from tracer_render.collapse import collapse

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


def test_the_title_of_both_counts_each(command, model, folder):
    first = model("a.py", FIRST)
    wider = model("b.py", FIRST.replace("8", "16"))
    assert command("diff", first, wider, "--structure", "-o", "both.dot").code == 0
    title = (folder / "both.dot").read_text()
    counts = [
        sum(math.prod(p.shape) for _, p in net.named_parameters())
        for net in (nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 3)) for n in (8, 16))
    ]
    assert f"{counts[0]:,} / {counts[1]:,} parameters" in title
    assert title.count("FLOPs") == 2
    assert command("diff", first, first, "-o", "same.dot").code == 0
    assert f" {counts[0]:,} parameters (" in (folder / "same.dot").read_text()


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


def test_an_input_that_gives_way_to_something_new_and_one_that_is_put_in_between():
    def traced(function):
        with tracer.Tape() as tape:
            function(tracer.batch(np.ones((2, 3)), name="x"))
        return tape.graph()

    def replaced(x):
        a, _ = np.sin(x), np.cos(x)
        return a - np.tanh(x)

    first = traced(lambda x: np.sin(x) - np.cos(x))

    def rewired(second):
        found = compare_graphs(first, second, rtol=None).changed
        return [(c.of, c.before, c.after) for changes in found.values() for c in changes]

    assert rewired(traced(replaced)) == [("inputs", ["sin", "cos"], ["sin", "tanh"])]
    assert rewired(traced(lambda x: np.sin(x) - np.tanh(np.cos(x)))) == []
    assert rewired(traced(lambda x: np.sin(x) - np.exp(np.tanh(np.cos(x))))) == []


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


class Joined(nn.Module):
    """Two layers, and a sum with the value before them, or with the input."""

    def __init__(self, skip):
        super().__init__()
        tracer.seed(0)
        self.a, self.b, self.skip = nn.Linear(4, 4), nn.Linear(4, 4), skip

    def forward(self, x):
        y = self.a(x)
        return self.b(y) + (y if self.skip else x)


def recorded(model, x):
    with tracer.Tape() as tape:
        loss = np.sum(model(x))
    tape.backward(loss)
    return tape.graph("both")


def edges(graph, change):
    named = graph.nodes(data="label")
    return {(named[a], named[b]) for a, b, how in graph.edges(data="change") if how == change}


def test_edges_that_one_graph_alone_has_are_marked():
    first, second = (recorded(Joined(skip), np.ones((2, 4), np.float32)) for skip in (False, True))
    both = united_graph(first, second, compare_graphs(first, second))
    assert edges(both, "removed") == {("input", "add")}
    assert edges(both, "added") == {("linear", "add"), ("∇ add", "∇ linear")}
    same = united_graph(first, first, compare_graphs(first, first))
    assert not edges(same, "added") | edges(same, "removed")
    svg = Drawing(both, DrawOptions(depth=0)).render().decode()
    assert 'class="line data removed"' in svg
    assert 'marker-end="url(#tip-removed)"' in svg
    assert "only in the first" in svg
    dot = Drawing(both, DrawOptions(depth=0)).render("dot").decode()
    assert dot.count("penwidth=1.8 style=dashed") == 1


def test_an_edge_that_would_close_a_cycle_is_left_out():
    def of(flip):
        def model(x):
            with tracer.scope("a"):
                u = np.tanh(x if flip else x * 2)
            with tracer.scope("b"):
                return np.exp(u)

        return model

    first = recorded(of(True), tracer.parameter(np.ones(3), name="x"))
    second = first.copy()
    named = {data["label"]: n for n, data in first.nodes(data=True)}
    forward = named["tanh"], named["exp"]
    second.remove_edge(*forward)
    second.add_edge(*forward[::-1], kind="data", slot=0, delay=0)
    both = united_graph(first, second, compare_graphs(first, second))
    assert edges(both, "added") == {("exp", "tanh")}
    assert ("tanh", "exp") not in edges(both, "removed")


class Looped(nn.Module):
    def __init__(self, steps):
        super().__init__()
        tracer.seed(0)
        self.cell, self.steps = nn.RNNCell(4, 4), steps

    def forward(self, x):
        h = np.zeros((2, 4), np.float32)
        for t in tracer.steps(self.steps):
            h = self.cell(x[:, t], h)
        return h


def test_a_call_of_a_longer_loop_is_new():
    first, second = (recorded(Looped(n), np.ones((2, 4, 4), np.float32)) for n in (2, 3))
    closed = collapse(united_graph(first, second, compare_graphs(first, second)), 0)
    calls = {
        (data["kind"], data["time"]): data.get("change")
        for _, data in closed.nodes(data=True)
        if data.get("class") == "RNNCell"
    }
    assert calls["module", 0] is calls["module", 1] is None
    assert calls["module", 2] == calls["cotangent", 2] == "added"


class Reader(nn.Module):
    """A recurrent layer, from the last step to the first where it is reversed."""

    def __init__(self, reverse):
        super().__init__()
        tracer.seed(0)
        self.cell, self.reverse = nn.RNNCell(4, 4), reverse

    def forward(self, x):
        h = np.zeros((2, 4), np.float32)
        for t in tracer.steps(5, reverse=self.reverse):
            h = self.cell(x[:, t], h)
        return h


@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_that_only_the_first_graph_has_is_drawn_as_it_was_there(reverse):
    x = np.ones((2, 5, 4), np.float32)
    with tracer.Tape() as tape:
        Reader(reverse)(x)
    folded = tape.graph(direction="forward", time="folded")
    plain = recorded(nn.Sequential(nn.Flatten(), nn.Linear(20, 4)), x)
    both = united_graph(folded, plain, compare_graphs(folded, plain))
    delayed = [data for *_, data in both.edges(data=True) if data.get("delay")]
    assert delayed
    for data in delayed:
        assert data["change"] == "removed"
        assert both.graph["loops"][data["loop"]] == folded.graph["loops"][0]
    drawn = Drawing(both, DrawOptions(depth=None)).render("svg").decode()
    assert ("t+1" if reverse else "t\N{MINUS SIGN}1") in drawn


CONVOLUTIONS = "nn.Conv2d(1, 2, {k}, padding={k} // 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, {n})"


def test_text_and_picture_say_what_of_the_hyperparameters_differs(command, write_file, folder):
    for name, k, n in (("a.py", 3, 4), ("b.py", 5, 6)):
        model = MODEL.replace("20", "32").replace("(5, 4)", "(2, 1, 4, 4)")
        write_file(name, model.format(layers=CONVOLUTIONS.format(k=k, n=n)))
    lines = command("diff", "a.py", "b.py", "--structure", "-o", "both.svg").out.splitlines()
    said = "kernel_size (3, 3) -> (5, 5), padding (1, 1) -> (2, 2)"
    assert f"~ 0  convolution [2, 2, 4, 4]: {said}" in lines
    assert "~ 3  linear [2, 6]: shape [2, 4] -> [2, 6]; out_features 4 -> 6" in lines
    drawn = (folder / "both.svg").read_text().replace("\N{MULTIPLICATION SIGN}", "x")
    for text in (
        "kernel_size (3, 3) → (5, 5)", "padding (1, 1) → (2, 2)", "~ weight 2x1x3x3 → 2x1x5x5",
        "out_features 4 → 6", "2x4 → 2x6 float32", "~ bias 4 → 6",
    ):  # fmt: skip
        assert f">{text}</text>" in drawn
    assert command("diff", "a.py", "b.py", "--structure", "-o", "both.html").code == 0
    assert "kernel_size (3, 3) \\u2192 (5, 5)" in (folder / "both.html").read_text()
    found = json.loads(command("diff", "a.py", "b.py", "--structure", "--json").out)["changed"]
    (told,) = [c for node in found for c in node["changes"] if node["scope"] == "0"][1:]
    assert told["before"] == {"kernel_size": "(3, 3)", "padding": "(1, 1)"}
    assert told["after"] == {"kernel_size": "(5, 5)", "padding": "(2, 2)"}


def test_a_closed_module_says_which_of_those_inside_differs():
    def block(p):
        return nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout(p)), nn.Tanh())

    first, second = graph(block(0.1)), graph(block(0.3))
    both = united_graph(first, second, compare_graphs(first, second, rtol=None))
    closed = collapse(both, 0)
    told = [data["changes"] for _, data in closed.nodes(data=True) if data.get("changes")]
    assert told == [[("hyperparameters", {"p": "0.1"}, {"p": "0.3"}, "1")]]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("8, 3, kernel_size=(3, 3)", "8, 4, kernel_size=(3, 3)", ({"1": "3"}, {"1": "4"})),
        ("a=[1, 2], b=f(x, y=3)", "a=[1, 3], b=f(x, y=3)", ({"a": "[1, 2]"}, {"a": "[1, 3]"})),
        ("p=0.1", "p=0.1, inplace=True", ({"inplace": None}, {"inplace": "True"})),
        ("", "x", ({"0": None}, {"0": "x"})),
    ],
)
def test_arguments_are_compared_one_by_one(before, after, expected):
    graphs = []
    for text in (before, after):
        made = graph(nn.Sequential(nn.Linear(4, 4)))
        made.graph["calls"][-1]["hyperparameters"] = text
        graphs.append(made)
    changed = compare_graphs(*graphs, rtol=None).changed.values()
    assert [tuple(change)[1:] for found in changed for change in found] == [expected]
