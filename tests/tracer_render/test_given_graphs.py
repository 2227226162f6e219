"""Graphs made by hand, with attributes of any types: drawn, or refused by node and attribute."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import render_graphs

from tracer.errors import GraphError
from tracer.extensions import DrawOptions
from tracer_render import plugin
from tracer_render.given import EDGE, GRAPH, NODE, in_form
from tracer_render.overlays import GradNorm

RENDERERS = {renderer.name: renderer for renderer in plugin.register_renderers()}
FORMATS = ("svg", "dot", "mermaid", "html", "json")
MISSING = object()

#: Of anything that somebody may give as any attribute.
ANYTHING = [
    None, "some", "", 3, 2.5, 2.0, True, 1j, np.int64(2), np.float32(2), np.bool_(True), (1, 2),
    ["a", "b"], [1, 2], [None], [], {}, {"a": 1}, np.array([4, 3]), np.array(2.0), np.ones((2, 2)),
    np.dtype("f4"), np.float32, ValueError("x"), nx, MISSING,
]  # fmt: skip


def chain(**attributes):
    """Input, operation, operation in a module; the last two with these attributes."""
    net = render_graphs.Net()
    h = net.op("tanh", net.leaf("input", "x"))
    net.op("exp", h, scope="enc.0")
    for node in ("n1", "n2"):
        for name, value in attributes.items():
            _set(net.graph.nodes[node], name, value)
    return net.graph


def _set(data, name, value):
    if value is MISSING:
        data.pop(name, None)
    else:
        data[name] = value


def draw(graph, depth="auto", formats=FORMATS):
    options = DrawOptions(title="t", depth=depth, overlay=GradNorm())
    return {name: RENDERERS[name].render(graph, options) for name in formats}


def drawn_or_refused(graph, of, name):
    for depth, formats in (("auto", ("dot", "html", "json")), (0, ("dot",))):
        try:
            draw(graph, depth, formats)
        except GraphError as error:
            assert of in str(error)  # noqa: PT017
            assert name in str(error)  # noqa: PT017
            assert str(error).count("\n") == 0  # noqa: PT017


@pytest.mark.parametrize("name", NODE)
def test_any_attribute_of_a_node_is_drawn_or_refused_by_name(name):
    for value in ANYTHING:
        drawn_or_refused(chain(**{name: value}), "the node 'n1'", name)


@pytest.mark.parametrize("name", EDGE)
def test_any_attribute_of_an_edge_is_drawn_or_refused_by_name(name):
    for value in ANYTHING:
        graph = chain()
        for *_, data in graph.edges(data=True):
            _set(data, name, value)
        drawn_or_refused(graph, "the edge from 'n0' to 'n1'", name)


@pytest.mark.parametrize("name", GRAPH)
def test_any_attribute_of_a_graph_is_drawn_or_refused_by_name(name):
    for value in [*ANYTHING, [{}], [{"steps": np.int64(3)}]]:
        graph = chain()
        _set(graph.graph, name, value)
        drawn_or_refused(graph, "the graph", name)


@pytest.mark.parametrize(
    ("attributes", "plain"),
    [
        ({"shape": (4, 3)}, {"shape": [4, 3]}),
        ({"shape": np.array([4, 3])}, {"shape": [4, 3]}),
        ({"shape": np.int64(4)}, {"shape": [4]}),
        ({"shape": [None, "N"]}, {"shape": ["?", "N"]}),
        ({"dtype": np.dtype("f4")}, {"dtype": "float32"}),
        ({"dtype": np.float32}, {"dtype": "float32"}),
        ({"scope": ("enc", 0)}, {"scope": "enc.0"}),
        ({"source": ("a.py", 3)}, {"source": "a.py:3"}),
        ({"time": np.int64(2)}, {"time": 2}),
        ({"norm": np.array(2.0)}, {"norm": 2.0}),
        ({"label": 7}, {"label": "7"}),
        ({"label": None}, {"label": MISSING}),
        ({"op": MISSING}, {"op": "exp"}),
        ({"kind": MISSING}, {"kind": "operation"}),
        ({"values": np.ones((2, 2))}, {"values": [[1.0, 1.0], [1.0, 1.0]]}),
    ],
    ids=itertools.count(),
)
def test_other_types_are_drawn_as_those_of_the_contract(attributes, plain):
    if "op" in attributes:
        attributes, plain = {**attributes, "label": "exp"}, {**plain, "label": "exp"}
    made, expected = draw(chain(**attributes)), draw(chain(**plain))
    for form in ("svg", "dot", "mermaid", "html"):
        assert made[form] == expected[form]


def test_bare_graphs_are_drawn():
    for graph in (nx.MultiDiGraph(), nx.DiGraph()):
        nx.add_path(graph, ["a", (1, 2), frozenset({3})])
        picture = draw(graph)["svg"].decode()
        assert picture.count('<g class="node input"') == 2  # and in the legend
        assert picture.count('<g class="node operation"') == 3


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"shape": "4x3"}, "shape of the node 'n1' is a list of sizes, and '4x3' came: give it"),
        ({"dtype": 5}, "dtype of the node 'n1' is the name of a dtype, and 5 came"),
        ({"count": 2}, "count of the node 'n1' says nothing without number"),
        ({"kind": "parameter", "shape": ["N"]}, "shape of the node 'n1' is a list of whole numb"),
    ],
    ids=itertools.count(),
)
def test_what_cannot_be_drawn_is_named(attributes, message):
    with pytest.raises(GraphError, match=message):
        draw(chain(**attributes))


@pytest.mark.parametrize(
    ("name", "fine", "other"),
    [("shape", [4, 3], [4, 2.5]), ("times", [1], [1.5]), ("index", ["0"], [0])],
)
def test_a_list_is_looked_into_though_one_like_it_was_in_form(name, fine, other):
    graph = render_graphs.mlp().graph
    for number, data in enumerate(graph.nodes.values()):
        data.pop("times")
        data.update({name: other if number == 5 else fine})
    fits = NODE[name].fits
    try:
        made = fits(other)
    except TypeError:
        with pytest.raises(GraphError, match=rf"{name} of the node 'n5'"):
            in_form(graph)
    else:
        assert in_form(graph).nodes["n5"][name] == made


def test_places_in_tables_that_are_not_there_are_named():
    graph = chain(loop=2, times=[0])
    graph.graph["loops"] = [{"steps": 3}]
    with pytest.raises(GraphError, match=r"loop of the node 'n1' is 2, and the graph's loops are "):
        draw(graph)
    graph = chain(loop=0, times=[0, 1])
    graph.graph["loops"] = [{"steps": 3}]
    with pytest.raises(GraphError, match=r"times of the node 'n1' is \[0, 1\], one for each loop"):
        draw(graph)
    with pytest.raises(GraphError, match=r"directed graph, and a networkx\.Graph came"):
        draw(nx.Graph([("a", "b")]))


@pytest.mark.parametrize("name", render_graphs.ALL)
def test_a_graph_in_form_is_not_copied_nor_another_changed(name):
    graph = render_graphs.ALL[name]()
    assert in_form(graph) is graph
    other = chain(shape=(4, 3))
    in_form(other)
    assert other.nodes["n1"]["shape"] == (4, 3)
