"""Every format of every graph is well formed, complete, escaped and the same each time."""

from __future__ import annotations

import json
import logging
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import networkx as nx
import pytest
import render_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.errors import GraphError
from tracer.extensions import DrawOptions, RendererUnavailable
from tracer_render import engines, plugin
from tracer_render.overlays import GradNorm

RENDERERS = {renderer.name: renderer for renderer in plugin.register_renderers()}
TEXTS = ["svg", "dot", "mermaid", "json", "html"]
SVG = "{http://www.w3.org/2000/svg}"
GRAPHVIZ = len(engines.available()) > 1
needs_graphviz = pytest.mark.skipif(not GRAPHVIZ, reason="neither dot nor pygraphviz is installed")


def render(format, graph, **options):
    return RENDERERS[format].render(graph, DrawOptions(**options))


def text(format, graph, **options):
    return render(format, graph, **options).decode()


def svg(graph, **options):
    return ET.fromstring(text("svg", graph, **options))


def classes(element):
    return element.get("class", "").split()


def find(root, name):
    return [element for element in root.iter() if name in classes(element)]


def words(root):
    return [element.text for element in root.iter(f"{SVG}text")]


@pytest.fixture
def no_graphviz(monkeypatch):
    monkeypatch.setattr(engines, "_commands", lambda format: {})


def test_the_plugin_registers_formats_and_overlays():
    assert set(RENDERERS) == {"svg", "png", "pdf", "dot", "html", "json", "mermaid"}
    names = {overlay.name for overlay in plugin.register_overlays()}
    assert names == {"grad_norm", "flops", "bytes", "time"}


def test_importing_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, tracer.extend; before = set(sys.modules)\n"
        "import tracer_render.plugin\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert new == {'tracer_render'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("format", TEXTS)
@pytest.mark.parametrize("name", render_graphs.ALL)
def test_drawing_twice_gives_the_same_bytes(name, format):
    make = render_graphs.ALL[name]
    assert render(format, make(), title=name) == render(format, make(), title=name)


@pytest.mark.parametrize("name", render_graphs.ALL)
@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_svg_is_xml_and_shows_every_node(name, theme):
    graph = render_graphs.ALL[name]()
    root = svg(graph, theme=theme)
    shown = {
        element.get("data-node").split("_")[0]
        for element in root.iter()
        if element.get("data-node")
    }
    assert shown == {str(node) for node in graph}
    assert len(find(root.find(f"{SVG}g"), "line")) >= graph.number_of_edges()
    assert ("prefers-color-scheme" in root.find(f"{SVG}style").text) == (theme == "auto")


@pytest.mark.parametrize("name", render_graphs.ALL)
def test_svg_without_graphviz_is_as_complete(name, no_graphviz):
    test_svg_is_xml_and_shows_every_node(name, "light")


def test_missing_graphviz_is_said_on_the_log(no_graphviz, caplog):
    with caplog.at_level(logging.WARNING, "tracer_render"):
        svg(render_graphs.mlp().graph)
    assert "pip install 'trace-net[render]'" in caplog.text


@pytest.mark.parametrize("format", ["png", "pdf"])
def test_raster_formats_without_graphviz_say_what_to_install(format, no_graphviz):
    with pytest.raises(RendererUnavailable, match=r"pip install 'trace-net\[render\]'"):
        render(format, render_graphs.mlp().graph)


@needs_graphviz
@pytest.mark.parametrize(("format", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
@pytest.mark.parametrize("name", ["mlp", "sick", "nasty", "empty"])
def test_raster_formats(format, magic, name):
    graph = render_graphs.ALL[name]()
    assert render(format, graph, overlay=GradNorm()).startswith(magic)


@needs_graphviz
def test_a_native_engine_that_takes_too_long_is_stopped(monkeypatch, caplog):
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(engines, "_commands", lambda format: {"dot": sleeping})
    with caplog.at_level(logging.WARNING, "tracer_render"):
        root = svg(render_graphs.mlp().graph, timeout=0.2)
    assert find(root, "node")
    assert "0.2 s" in caplog.text
    with pytest.raises(RendererUnavailable, match="timeout"):
        render("png", render_graphs.mlp().graph, timeout=0.2)


def test_a_failing_engine_passes_on_to_the_next(monkeypatch):
    broken = [sys.executable, "-c", "raise SystemExit('no plugin')"]
    chain = {"dot": ["/nowhere/dot"], "pygraphviz": broken}
    monkeypatch.setattr(engines, "_commands", lambda format: chain)
    assert find(svg(render_graphs.mlp().graph), "node")
    with pytest.raises(RendererUnavailable, match="no plugin"):
        render("png", render_graphs.mlp().graph)


@pytest.mark.parametrize("name", render_graphs.ALL)
def test_dot_is_read_by_graphviz(name):
    pygraphviz = pytest.importorskip("pygraphviz")
    graph = render_graphs.ALL[name]()
    source = text("dot", graph, title=name)
    read = pygraphviz.AGraph(string=source)
    boxes = {node.split("_")[0] for node in read.nodes() if not node.startswith("below ")}
    assert boxes == {str(node) for node in graph}
    assert len(read.edges()) >= graph.number_of_edges()
    read.close()


def test_a_value_and_its_cotangent_stand_side_by_side():
    source = text("dot", render_graphs.mlp().both())
    assert re.search(r"rank=same\s+n3 -> d3", source)
    assert re.search(r"n3 -> n4 .*\n", source)
    assert re.search(r"d3 -> d4 \[.*dir=back", source), "cotangents are written downwards"


@pytest.mark.parametrize("engine", ["graphviz", "built-in"])
def test_the_ladder_is_upright(engine, monkeypatch):
    from tracer_render import picture

    if engine == "built-in" or not GRAPHVIZ:
        monkeypatch.setattr(engines, "_commands", lambda format: {})
    drawn = picture.describe(render_graphs.nested().both(), DrawOptions())
    placed = engines.place(drawn, 30)
    for value, cotangent in drawn.pairs.items():
        left, right = placed.boxes[value], placed.boxes[cotangent]
        assert left.x < right.x
        assert engine == "built-in" or abs(left.y - right.y) < 1
    for line in drawn.lines:
        upper, lower = (placed.boxes[name] for name in line.ranked)
        assert upper.y < lower.y


def test_shared_leaves_are_repeated_where_they_are_used():
    root = svg(render_graphs.recurrent(4).both())
    shown = [element.get("data-node") for element in find(root.find(f"{SVG}g"), "repeated")]
    for leaf in ("n0", "n1", "d0"):
        assert sum(name.split("_")[0] == leaf for name in shown) == 4
    assert "one value, drawn at each use" in words(root)


def test_the_same_input_in_two_slots_is_two_edges():
    net = render_graphs.Net()
    x = net.leaf("input", "x")
    net.op("multiply", x, x)
    assert len(find(svg(net.graph).find(f"{SVG}g"), "data")) == 2
    assert len(re.findall(r"n0 -> n1", text("dot", net.graph))) == 2
    assert len(re.findall(r"vn0 -->", text("mermaid", net.graph))) == 2


def test_state_edges_are_dashed_and_do_not_rank():
    graph = render_graphs.folded().both()
    assert len(find(svg(graph), "delayed")) == 3  # two edges, and one in the legend
    assert "T = 30 steps" in words(svg(graph))
    assert re.search(r"n3 -> n2 \[.*constraint=false.*style=dashed", text("dot", graph))
    assert "vn3 -.->" in text("mermaid", graph)


def test_modules_are_nested_frames_with_their_classes():
    titles = [element.text for element in find(svg(render_graphs.nested().both()), "scope")]
    assert titles.count("encoder · Encoder") == 1
    assert titles.count("0 · Block") == 1
    assert titles.count("0 · Linear") == 2


def test_frames_hold_their_boxes_and_do_not_overlap(no_graphviz):
    from tracer_render import picture

    drawn = picture.describe(render_graphs.nested().both(), DrawOptions())
    placed = engines.place(drawn, 30)
    for box in drawn.boxes:
        for level in range(1, len(box.scope) + 1):
            frames = [placed.frames[box.scope[:level]]]
            frames += [r for path, _, r in placed.others if path == box.scope[:level]]
            assert any(_inside(placed.boxes[box.id], frame) for frame in frames)
    _check_apart([placed.boxes[box.id] for box in drawn.boxes])
    deepest = [frame for path, frame in placed.frames.items() if len(path) == 3]
    _check_apart(deepest)


def _inside(inner, outer):
    return (
        abs(inner.x - outer.x) <= (outer.width - inner.width) / 2 + 1e-6
        and abs(inner.y - outer.y) <= (outer.height - inner.height) / 2 + 1e-6
    )


def _check_apart(rectangles):
    for index, a in enumerate(rectangles):
        for b in rectangles[:index]:
            assert (
                abs(a.x - b.x) >= (a.width + b.width) / 2 - 1e-6
                or abs(a.y - b.y) >= (a.height + b.height) / 2 - 1e-6
            )


@pytest.mark.parametrize(("depth", "modules"), [(0, 1), (1, 2), (2, 4), (3, 0)])
def test_depth_collapses_deeper_modules(depth, modules):
    root = svg(render_graphs.nested().both(), depth=depth)
    boxes = [box for box in find(root.find(f"{SVG}g"), "node") if "module" in classes(box)]
    assert len(boxes) == modules


def test_a_collapsed_module_counts_what_it_holds():
    norms = {"n1": 3.0, "n3": 4.0}
    graph = render_graphs.nested().both(norms)
    written = json.loads(text("json", graph, depth=1))
    nodes = {node["id"]: node for node in written["nodes"]}
    module = nodes["module encoder.0"]
    assert (module["operations"], module["parameters"], module["parameter_values"]) == (3, 2, 24)
    assert module["members"] == ["n1", "n2", "n3", "n4", "n5"]
    cotangent = nodes["∇module encoder.0"]
    assert cotangent["norm"] == 5.0
    assert cotangent["of"] == "module encoder.0"
    assert "parameters' norm 5" in words(svg(graph, depth=1))


def test_a_failure_inside_a_collapsed_module_shows():
    graph = render_graphs.mlp().graph
    graph.nodes["n3"].update(failed=True, error="broken")
    (box,) = find(svg(graph, depth=0).find(f"{SVG}g"), "failed")
    assert box.get("data-node") == "module_0"


def test_a_negative_depth_is_refused():
    with pytest.raises(GraphError, match="0 or more"):
        svg(render_graphs.mlp().graph, depth=-1)


def test_an_empty_graph_says_so():
    for format in ("svg", "dot", "mermaid", "html"):
        assert "nothing was recorded" in text(format, render_graphs.ALL["empty"]())


def test_a_failed_operation_is_marked_in_words_and_in_shape():
    root = svg(render_graphs.failing())
    (box,) = find(root.find(f"{SVG}g"), "failed")
    assert box.get("data-node") == "n7"
    assert any(word.startswith("failed: ShapeError") for word in words(box))
    assert any(word.startswith("forward failed: ShapeError") for word in words(root))
    assert "alarm" in text("mermaid", render_graphs.failing())


def test_the_overlay_marks_what_has_no_place_on_the_scale():
    root = svg(render_graphs.sick(), overlay=GradNorm())
    drawn = root.find(f"{SVG}g")
    marked = {
        mark: {box.get("data-node") for box in find(drawn, mark) if box.get("data-node")}
        for mark in ("nan", "inf", "zero", "unreached")
    }
    assert marked == {
        "nan": {"n3", "d3"},
        "inf": {"n1", "d1"},
        "zero": {"n2", "d2"},
        "unreached": {"d4"},
    }
    key = words(find(root, "legend")[0])
    assert {"NaN", "infinite", "exactly zero", "no gradient arrives"} <= set(key)
    assert {"gradient norm (log scale)", "2e-05", "4"} <= set(key)
    colours = {
        box.get("data-node"): box.find(f"{SVG}path").get("style") for box in find(drawn, "node")
    }
    assert colours["d8"] == colours["n8"] == "fill:#081d58"
    assert colours["d7"] == "fill:#ffffd9"
    assert not colours["d3"]


def test_given_values_are_drawn_on_a_linear_scale_if_one_is_negative():
    root = svg(render_graphs.mlp().graph, values={"n3": -1.0, "n4": 3.0})
    assert {"value", "-1", "1", "3"} <= set(words(find(root, "legend")[0]))


def test_grad_norm_gives_a_value_to_both_sides_of_the_ladder():
    values = GradNorm().values(render_graphs.sick(), {})
    assert values["d5"] == values["n5"] == 0.25
    assert math.isnan(values["n3"])
    assert "n4" not in values


@pytest.mark.parametrize("name", render_graphs.ALL)
def test_json_is_strict_and_read_back_by_networkx(name):
    def refuse(word):
        raise AssertionError(word)

    graph = render_graphs.ALL[name]()
    document = json.loads(text("json", graph, overlay=GradNorm()), parse_constant=refuse)
    assert document["schema_version"] == 1
    assert document["overlay"]["name"] == "grad_norm"
    read = nx.node_link_graph(document, edges="edges")
    assert nx.utils.graphs_equal(nx.MultiDiGraph(read.edges), nx.MultiDiGraph(graph.edges))
    assert [read.nodes[n]["label"] for n in read] == [graph.nodes[n]["label"] for n in graph]


def test_json_writes_numbers_that_json_lacks_as_words():
    document = json.loads(text("json", render_graphs.sick()))
    norms = {node["id"]: node.get("norm") for node in document["nodes"]}
    assert (norms["d3"], norms["d1"], norms["d5"]) == ("NaN", "Infinity", 0.25)


class Tags(HTMLParser):
    """The tags and the addresses of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href")]


def test_names_do_not_break_out_of_html():
    page = Tags(text("html", render_graphs.nasty(), title=render_graphs.NASTY))
    assert page.tags.count("script") == 2
    assert page.tags.count("style") == 2
    assert page.tags.count("b") == 0


def test_html_loads_nothing():
    page = Tags(text("html", render_graphs.mlp().both()))
    assert page.addresses == ["data:,"]


def test_names_do_not_break_out_of_svg():
    root = svg(render_graphs.nasty(), title=render_graphs.NASTY)
    assert {element.tag.removeprefix(SVG) for element in root.iter()}.isdisjoint({"script", "b"})
    assert any('a"b\\c <script>' in word for word in words(root))
    assert "-->" in words(root)


def test_names_do_not_break_out_of_mermaid():
    source = text("mermaid", render_graphs.nasty(), title=render_graphs.NASTY)
    front, body = source.split("---\n")[1:]
    assert front.count("\n") == 1
    labels = re.findall(r'"([^"\n]*)"', body)
    assert "#45;#45;#62;" in "".join(labels)
    assert not re.search(r"[<>`|\[\]{}\\]", "".join(labels).replace("<br/>", ""))
    for line in body.splitlines():
        assert re.match(
            r"flowchart TD$|%%|\s+(v\w+|subgraph module\d+\[|end$|class|style v\w+|linkStyle)", line
        )


def test_names_do_not_break_out_of_dot():
    pygraphviz = pytest.importorskip("pygraphviz")
    read = pygraphviz.AGraph(string=text("dot", render_graphs.nasty()))
    label = read.get_node("n0").attr["label"]
    assert ET.fromstring(f"<p>{label}</p>").find("b").text.startswith('a"b\\c <script>')
    read.close()


def test_long_names_are_elided_in_the_middle():
    shown = words(svg(render_graphs.nasty()))
    assert max(len(word) for word in shown if set(word) <= {"w", "…"} and word) == 48


@st.composite
def graphs(draw):
    """Any directed graph: cycles, parallel edges, loops, modules, odd names and numbers."""
    count = draw(st.integers(0, 8))
    graph = nx.MultiDiGraph(direction="both", time="unrolled", name=draw(st.text(max_size=5)))
    kinds = ["input", "parameter", "constant", "operation", "cotangent"]
    scopes = st.sampled_from(["", "a", "a.b", "a.b.c", "d", 'x"<'])
    for index in range(count):
        graph.add_node(
            f"n{index}",
            kind=draw(st.sampled_from(kinds)),
            op=draw(st.sampled_from(["", "mul"])),
            label=draw(st.text(max_size=8)),
            shape=draw(st.lists(st.integers(0, 9), max_size=3)),
            scope=draw(scopes),
            of=f"n{draw(st.integers(0, 9))}",
            norm=draw(st.none() | st.floats()),
        )
    for _ in range(draw(st.integers(0, 14)) if count else 0):
        ends = draw(st.tuples(*[st.integers(0, count - 1)] * 2))
        graph.add_edge(
            *(f"n{end}" for end in ends),
            kind=draw(st.sampled_from(["data", "cotangent"])),
            shape=[2],
            delay=draw(st.integers(0, 1)),
        )
    return graph


@settings(max_examples=60)
@given(graphs(), st.none() | st.integers(0, 3))
def test_any_graph_is_drawn(graph, depth):
    from tracer_render import layout, picture, svg

    options = DrawOptions(depth=depth, overlay=GradNorm())
    drawn = picture.describe(graph, options)
    placed = layout.layered(drawn)
    ET.fromstring(svg.write(drawn, placed, "auto"))
    _check_apart(list(placed.boxes.values()))
    json.loads(text("json", graph, depth=depth))
    text("mermaid", graph, depth=depth, overlay=GradNorm())


@settings(max_examples=60)
@given(graphs(), st.none() | st.integers(0, 3) | st.just("auto"))
def test_any_graph_is_placed_and_pinned(graph, depth):
    from tracer_render import picture, pinned, style, svg

    commands, engines._commands = engines._commands, lambda format: {}
    try:
        drawn = picture.describe(graph, DrawOptions(depth=depth))
        placed = engines.place(drawn, 10)
    finally:
        engines._commands = commands
    assert set(placed.boxes) == {box.id for box in drawn.boxes}
    assert all(len(curve) % 3 == 1 for curve in placed.curves)
    _check_apart(list(placed.boxes.values()))
    ET.fromstring(svg.write(drawn, placed, "auto"))
    pinned.write(drawn, placed, style.DARK)


@settings(max_examples=60)
@given(graphs(), st.none() | st.integers(0, 3))
def test_dot_of_any_graph_is_read_by_graphviz(graph, depth):
    pygraphviz = pytest.importorskip("pygraphviz")
    pygraphviz.AGraph(string=text("dot", graph, depth=depth, overlay=GradNorm())).close()


def test_many_nodes_are_drawn_by_the_built_in_layout(caplog):
    net = render_graphs.Net()
    h = net.leaf("input", "x")
    for _ in range(2000):
        h = net.op("tanh", h)
    with caplog.at_level(logging.INFO, "tracer_render"):
        root = svg(net.both())
    assert "4001 nodes" in caplog.text
    assert len(find(root.find(f"{SVG}g"), "node")) == 4001
