"""What the page makes of graphs at the edge: shared modules, extreme numbers, odd names."""

import math

import networkx as nx
import numpy as np
import pytest
import render_graphs

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions
from tracer_render.outline import Group, Outline
from tracer_render.overlays import GradNorm
from tracer_render.renderers import HTML


def repeated(count):
    """A model of two layers, called one time after the other, without a mark of time."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 3)))
    with tracer.Tape(watch=True) as tape:
        x = tracer.batch(np.ones((4, 3)))
        for _ in range(count):
            x = model(x)
        loss = np.sum(x)
    tape.backward(loss)
    return tape.graph("both")


def test_calls_of_shared_modules_are_in_their_order():
    outline = Outline(repeated(3), 8)
    groups = [child for child in outline.root.children if isinstance(child, Group)]
    assert [group.level.scope for group in groups] == ["0", "1", "0", "1", "0", "1"]
    for group in groups:
        nodes = [box.node for box in group.boxes() if box.node in outline.own]
        assert nodes == sorted(nodes, key=lambda node: int(node[1:]))
    boxes = list(outline.root.boxes())
    assert len(set(boxes)) == len(boxes)


def test_many_calls_of_a_shared_module_open_at_once(show):
    page = show(repeated(40))
    taken = page.run("const t = performance.now(); page.openAll(); return performance.now() - t")
    assert taken < 5000
    width, height = page.run("return [page.scene.width, page.scene.height]")
    assert width < height


def test_a_cotangent_has_its_own_numbers_where_they_equal_its_values(show):
    graph = render_graphs.mlp().both()
    for node, data in graph.nodes(data=True):
        if data.get("op"):
            graph.nodes[node].update(norm=2.5, nan=3, min=0.0, max=1.0)
    page = show(graph, depth=None)
    told = page.run(
        "return page.scene.boxes.filter((b) => b.back).map((b) =>"
        " [page.now.id(b.item, true), page.now.attributes(b.item, true)])"
    )
    of_operations = [found for name, found in told if graph.nodes[name].get("op")]
    assert of_operations
    for found in of_operations:
        assert [found[key] for key in ("norm", "nan", "min", "max")] == [2.5, 3, 0, 1]
    numbers = [each["label"] for each in page.run("return page.data.overlays")]
    page.run("page.setOverlay(arguments[0]); page.update()", numbers.index("NaN entries"))
    entries = page.run(
        "return page.scene.boxes.map((b) => page.valueOf(page.now, b.item, b.back) ?? null)"
    )
    assert entries.count(3) == 2 * len(of_operations)


@pytest.mark.parametrize("bounds", [(-1e308, 1e308), (0.0, 1.7e308), (5e-324, 1e308)])
def test_overlays_of_extreme_numbers_are_drawn(show, bounds):
    graph = render_graphs.mlp().both()
    values = {node: bounds[i % 2] for i, node in enumerate(graph)}
    page = show(graph, depth=None, values=values)
    ticks = [tick.text for tick in page.all("#colours .tick")]
    assert all(tick and "Inf" not in tick and "NaN" not in tick for tick in ticks)


@pytest.mark.parametrize("name", ["n99999999999", "n2147483647", "n007", "n", "nn1", "n-1"])
def test_names_that_look_like_numbers_are_kept(show, name):
    graph = nx.MultiDiGraph()
    graph.add_node(name, kind="operation", op="tanh", label="tanh", shape=[2], dtype="float64")
    page = show(graph, depth=None)
    assert page.boxes == [name.replace("-", "_")]


@pytest.mark.parametrize("name", ["constructor", "toString", "__proto__"])
def test_sources_with_names_of_objects_are_told(show, name):
    graph = render_graphs.mlp().both()
    for node in graph:
        graph.nodes[node]["source"] = f"{name}:1"
    page = show(graph, depth=None)
    page.run("page.choose({ item: page.scene.boxes[0].item, back: false })")
    assert f"{name}:1" in page.find("#attributes").text


def test_a_graph_read_back_with_words_for_numbers_is_drawn():
    graph = render_graphs.mlp().both()
    for node in graph:
        graph.nodes[node]["norm"] = "NaN"
    assert HTML().render(graph, DrawOptions())
    graph.nodes["n0"]["norm"] = math.nan
    assert HTML().render(graph, DrawOptions(overlay=GradNorm()))


def test_what_is_chosen_goes_to_the_module_that_is_closed_over_it(show):
    page = show(render_graphs.nested().both(), depth=None)
    page.run(
        "const box = page.scene.boxes.find((b) => page.now.container(b.item) > 0);"
        "page.choose({ item: box.item, back: false });"
        "page.toggle({ item: ~page.now.chain(box.item)[1], back: false })"
    )
    chosen = page.run("return page.now.id(page.chosen.item, page.chosen.back)")
    assert chosen in page.boxes


def test_texts_fit_their_boxes_after_a_step_was_looked_at(show):
    tape = render_graphs.trace(9)
    page = show(tape.graph("both", "folded"), depth=None, other=(tape.graph("both"), None))
    page.press(".", ".", ".", "e", "a")
    wide = page.run(
        "return [...document.querySelectorAll('#view [data-node]')].flatMap((node) => {"
        " const body = node.querySelector('.body').getBoundingClientRect();"
        " return [...node.querySelectorAll('text')].filter((text) => {"
        "  const r = text.getBoundingClientRect();"
        "  return r.left < body.left || r.right > body.right;"
        " }).map((text) => text.textContent) })"
    )
    assert wide == []


def test_the_gradient_norm_of_the_menu_colours_as_the_overlay_of_the_command_does(show):
    graph = render_graphs.trace(3).graph("both")
    colours = "return page.scene.boxes.map((b) => page.told(page.now, b.item, b.back).colour ?? '')"
    given = show(graph, depth=None, overlay=GradNorm()).run(colours)
    page = show(graph, depth=None)
    labels = [each["label"] for each in page.run("return page.data.overlays")]
    page.run("page.setOverlay(arguments[0])", labels.index("gradient norm"))
    chosen = page.run(colours)
    assert any(given)
    assert chosen == given
