"""What is written in boxes of single operations, and of what failed."""

import numpy as np
import pytest
import render_graphs

import tracer
from tracer import registry
from tracer.extensions import DrawOptions
from tracer_render import words
from tracer_render.picture import describe


def titles(tape):
    drawn = describe(tape.graph("both"), DrawOptions(depth=None))
    return [box.title for box in drawn.boxes]


def test_what_is_selected_is_in_the_title_of_values_and_cotangents():
    rows = np.array([0, 1, 1])
    with tracer.Tape() as tape:
        x = tracer.parameter(np.ones((4, 3)), name="x")
        loss = np.sum(x[:, 0]) + np.sum(x[1:, ..., None]) + np.sum(x[rows, :2])
    tape.backward(loss)
    found = titles(tape)
    for text in ("[:, 0]", "[1:, ..., None]", "[rows, :2]"):
        assert {f"getitem{text}", f"∇ getitem{text}"} <= set(found)


def test_a_long_index_is_cut_at_its_end():
    text = words.index({"index": [f"{n}:{n + 100}" for n in range(9)]})
    assert len(text) <= words.LONGEST_INDEX
    assert text.startswith("[0:100, 1:101")
    assert text.endswith("…]")


ERROR = "ShapeError: linear in layer 'b' got " + ", ".join(f"float64[{n}, 6]" for n in range(40))


def failing(error):
    graph = render_graphs.failing()
    graph.graph["error"] = graph.nodes["n7"]["error"] = error
    return graph


@pytest.mark.parametrize("format", ["svg", "dot", "mermaid"])
def test_an_error_is_told_from_its_beginning_in_lines(format):
    drawn = describe(failing(ERROR), DrawOptions())
    for lines, before in (
        (drawn.error, "forward failed: "),
        ([n for box in drawn.boxes for n in box.notes if box.id == "n7"][1:], "failed: "),
    ):
        text = " ".join(lines)
        assert text.startswith(before + ERROR[:200])
        assert text.endswith("…")
        assert max(map(len, lines)) <= 96
    made = registry.renderers[format].render(failing(ERROR), DrawOptions()).decode()
    bracket = "#91;" if format == "mermaid" else "["
    assert f"float64{bracket}0, 6" in made
    assert f"float64{bracket}9, 6" in made


def test_a_short_error_is_whole():
    drawn = describe(failing("ShapeError: no"), DrawOptions())
    assert drawn.error == ("forward failed: ShapeError: no",)


def test_the_page_has_the_whole_error(show):
    page = show(failing(ERROR))
    assert page.find("#error").text == f"forward failed: {ERROR}"
    page.run("page.choose(page.now.ids.get('n7'))")
    assert ERROR in page.find("#attributes").text
