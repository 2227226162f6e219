"""What notebooks show: graphs, Kronecker blocks, operators, results and modules."""

import copy
import pickle

import networkx as nx
import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import GraphError
from tracer.extend import Kronecker

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="module")
def model():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


@pytest.fixture(scope="module")
def swept(model):
    with tracer.Tape(watch=True) as tape:
        loss = nn.cross_entropy(model(X), np.array([0, 1, 1]))
    return tape, tape.backward(loss, ("grad", "kfac", "ggn", "hmp"))


def test_a_graph_is_a_picture(swept):
    graph = swept[0].graph("both")
    assert isinstance(graph, nx.MultiDiGraph)
    some = graph.subgraph(list(graph)[:5])
    for shown in (graph, swept[0].graph(time="folded"), graph.copy(), some, copy.deepcopy(graph)):
        bundle = shown._repr_mimebundle_()
        assert "</svg>" in bundle["image/svg+xml"]
        assert "MultiDiGraph" in bundle["text/plain"] or "Graph" in bundle["text/plain"]
    assert pickle.loads(pickle.dumps(graph)).nodes == graph.nodes


def test_a_graph_of_the_users_own_is_text(swept):
    graph = type(swept[0].graph())()
    assert list(graph._repr_mimebundle_()) == ["text/plain"]
    graph.add_edge("a", "b")
    assert list(graph._repr_mimebundle_()) == ["text/plain"]


def test_a_kronecker_block_is_a_table_of_its_factors(swept):
    block = swept[1]["kfac"]["2.weight"]
    shown = block._repr_html_()
    assert "Kronecker block of a parameter 2\N{MULTIPLICATION SIGN}5" in shown
    for factor, name in zip(block.factors, ("output factor", "input factor"), strict=True):
        eigenvalues = np.linalg.eigvalsh(factor.astype(float))
        size = f"{len(factor)}\N{MULTIPLICATION SIGN}{len(factor)}"
        cells = (name, size, *(f"{x:.3g}" for x in (np.trace(factor), *eigenvalues[[0, -1]])))
        assert "".join(f"<td>{cell}</td>" for cell in cells) in shown


def test_eigenvalues_are_left_out_where_they_take_long_or_there_are_none():
    large = Kronecker((np.eye(600), np.full((2, 2), np.nan)), (600, 2))._repr_html_()
    assert "600\N{MULTIPLICATION SIGN}600</td><td>600</td><td></td><td></td>" in large
    assert "<td>nan</td><td></td><td></td>" in large
    grouped = Kronecker((np.eye(2), np.eye(3)) * 2, (4, 3))._repr_html_()
    assert "output factor 0" in grouped
    assert "input factor 1" in grouped
    assert "half" not in Kronecker((np.eye(2, dtype=np.float16),), (2,))._repr_html_()


def test_an_operator_says_what_its_rows_are(swept):
    shown = swept[1]["ggn"]._repr_html_()
    assert "ggn: operator 37\N{MULTIPLICATION SIGN}37, float32" in shown
    assert "<td>0.bias</td><td>5</td><td>20 to 24</td>" in shown


def test_results_show_tables_of_all(swept):
    shown = swept[1]._repr_html_()
    assert "Kronecker(5x5, 4x4)" in shown
    assert "operator 37" in shown
    assert "&lt;product with a block of shape [5, 4]&gt;" in shown
    one = swept[1]["grad"]._repr_html_()
    assert "<th>0.weight</th><td>5\N{MULTIPLICATION SIGN}4, norm " in one


def test_a_module_is_a_table(model):
    tracer.seed(0)
    outer = nn.Sequential(model, nn.Linear(2, 3, bias=False))
    outer[1].weight.requires_grad_(False)
    shown = outer._repr_html_()
    assert "<caption>Sequential: 43, 6 frozen parameters</caption>" in shown
    for text in ("0.2", "Linear", "in_features=5, out_features=2", "<td>12</td>"):
        assert text in shown
    alone = nn.Linear(2, 3)._repr_html_()
    assert "Linear(in_features=2, out_features=3" in alone
    assert "<tr>" not in alone
    assert "… 1 more" in nn.Sequential(*(nn.Tanh() for _ in range(201)))._repr_html_()


# -- options of pictures -------------------------------------------------------------------------


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    def forward(self, x, *, scale):
        return self.inner(x) * scale


def test_a_model_is_drawn_with_named_inputs_and_options():
    drawing = Named().draw(X, scale=np.float32(2), depth=0, open="inner", theme="dark")
    assert drawing.options.opened == ("inner",)
    assert "inner.0  Linear" in drawing.render("dot").decode()
    assert "inner.0" not in Named().draw(X, scale=2.0, depth=0).render("dot").decode()
    assert Named().draw(x=X, scale=2.0, open=["inner", "inner.0"]).options.opened[1] == "inner.0"


def test_as_many_steps_as_asked_for():
    layer, x = nn.RNN(4, 3, batch_first=True), np.repeat(X[None], 4, axis=1)
    drawings = {n: layer.draw(x, steps=n) for n in (2, "all")}
    assert {d.graph.graph["time"] for d in drawings.values()} == {"unrolled"}
    texts = {n: d.render("dot").decode() for n, d in drawings.items()}
    assert "10 steps" in texts[2]
    assert "steps" not in texts["all"].replace("steps of a loop", "")
    for wrong in (1, "some"):
        with pytest.raises(GraphError, match='from 2, or "all"'):
            layer.draw(x, steps=wrong)
