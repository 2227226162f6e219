"""The numbers of small values in their boxes, in every format."""

import json
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tracer
from tracer.extensions import DrawOptions
from tracer_render import engines, numbers, picture, plugin, style

RENDERERS = {renderer.name: renderer for renderer in plugin.register_renderers()}
NBSP = "\N{NO-BREAK SPACE}"


def text(format, graph, **options):
    return RENDERERS[format].render(graph, DrawOptions(**options)).decode()


def graph(values=True):
    with tracer.Tape(values=values) as tape:
        w = tracer.parameter(np.array([[1.5, -20.25], [0.0, 3e-7]]), name="w")
        h = tracer.batch(np.array([[1.0, 2.0], [3.0, 4.0]]), name="x") @ w
        loss = np.sum((1.0 / (h + 50.0)) ** 3)
    tape.backward(loss)
    return tape.graph("both")


def rows(values):
    return [row.replace(NBSP, " ") for row in numbers.rows({"values": values})]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.1, "0.1"), (1 / 3, "0.3333"),
        (2 / 3e5, "6.667e-06"),
        (1234.5678, "1235"), (-98765.4, "-98765"), (1.25e7, "1.25e+07"), (7, "7"), (True, "1"),
        (123456789, "123456789"), (math.nan, "NaN"), (-math.inf, "-Inf"), ("Infinity", "Inf"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value, shown):
    assert numbers.number_text(value) == shown


def test_columns_are_aligned_at_the_decimal_point():
    assert rows([[1.5, -20.25], [0.125, 3.0]]) == ["1.5    -20.25", "0.125    3   "]
    assert rows([[1.0, math.nan], [-10.0, 1e-9]]) == ["  1  NaN    ", "-10    1e-09"]


def test_a_number_is_one_row_and_a_vector_too():
    assert rows(0.5) == ["0.5"]
    assert rows([1, 2, 30]) == ["1  2  30"]
    assert rows([[[1, 2]], [[3, 4]]]) == ["1  2", "3  4"]
    assert numbers.rows({}) == ()


def test_plain_numbers_stand_among_the_operands():
    assert numbers.operands({"operands": [1.0, None]}) == "(1, ·)"
    assert numbers.operands({"operands": [None, None]}) == ""
    shown = {b.title: b.notes for b in picture.describe(graph(), DrawOptions()).boxes}
    assert "(·, 50)" in shown["add"]
    assert "(1, ·)" in shown["divide"]
    assert not any("·" in note for note in shown["∇ divide"])


@pytest.mark.parametrize("format", ["svg", "dot", "mermaid", "html"])
def test_every_format_has_the_rows_of_values_and_cotangents(format):
    drawn = text(format, graph()).replace("#46;", ".").replace("#45;", "-").replace("#43;", "+")
    for row in (f"1.5{NBSP}{NBSP}-20.25", f"0{NBSP * 4}"):
        assert row in drawn.replace("&#160;", NBSP).replace("\\u00a0", NBSP)
    assert "-20.25" not in text(format, graph(values=False)).replace("#46;", ".")


def test_json_has_the_attribute_where_it_was_asked_for():
    nodes = {n["label"]: n for n in json.loads(text("json", graph()))["nodes"]}
    assert nodes["w"]["values"] == [[1.5, -20.25], [0.0, 3e-7]]
    assert nodes["add"]["operands"] == [None, 50.0]
    assert nodes["∇ sum"]["values"] == 1.0
    assert "values" not in text("json", graph(values=False))


def test_a_picture_of_a_graph_that_was_saved_as_json_is_the_same():
    import networkx as nx

    saved = json.loads(text("json", graph()))
    again = nx.node_link_graph(saved, edges="edges", directed=True, multigraph=True)
    first, second = (picture.describe(g, DrawOptions()) for g in (graph(), again))
    assert [box.rows for box in first.boxes] == [box.rows for box in second.boxes]


def test_boxes_hold_their_rows():
    for box in picture.describe(graph(), DrawOptions()).boxes:
        assert box.rows
        width, height = box.size
        assert width > max(map(len, box.rows)) * style.FIXED_WIDTH * style.NOTE_SIZE
        lines = style.TITLE_SIZE + style.NOTE_SIZE * (len(box.notes) + len(box.rows))
        assert height > lines * style.LINE_HEIGHT


def test_rows_of_svg_lie_inside_of_their_box():
    described = picture.describe(graph(), DrawOptions())
    placed = engines.place(described, 30).boxes
    root = ET.fromstring(text("svg", graph()))
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        if name := group.get("data-node"):
            box = placed[name]
            heights = [float(t.get("y")) for t in group if t.get("class") == "number"]
            assert heights == sorted(heights)
            assert max(heights) < box.y + box.height / 2
    assert re.search(r"\.number\{[^}]*monospace", text("svg", graph()))


def test_modules_that_are_closed_show_none():
    with tracer.Tape(values=True) as tape, tracer.scope("inner", "Inner"):
        np.sum(tracer.parameter(np.ones(2), name="w") * 2.0)
    described = picture.describe(tape.graph(), DrawOptions(depth=0))
    assert [box.rows for box in described.boxes if box.kind == "module"] == [()]


def test_a_small_tape_with_values_draws_all_operations_of_itself():
    with tracer.Tape(values=True) as tape, tracer.scope("inner", "Inner"):
        np.sum(tracer.parameter(np.array([1.0, 2.25]), name="w") * 2.0)
    assert f"1{NBSP * 5}2.25" not in tape.draw().render("svg").decode()
    assert f"1{NBSP * 2}2.25" in tape.draw().render("svg").decode()
    assert "2.25" not in tape.draw(depth=0).render("svg").decode()
