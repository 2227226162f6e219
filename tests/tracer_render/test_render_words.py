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


def ill_net(counts):
    """A module of two operations, with NaN and infinite entries in these nodes of both ways."""
    net = render_graphs.Net()
    x = net.leaf("input", "x")
    inside = {"scope": "m", "scopes": ["Block"]}
    h = net.op("log", x, shape=(4, 3), **inside)
    h = net.op("slice", h, shape=(4, 1), **inside)
    net.op("sum", h, shape=())
    graph = net.both()
    for node, data in graph.nodes(data=True):
        data.update({"nan": 0, "inf": 0} | counts.get(node, {}))
    return graph


@pytest.mark.parametrize("word", ["NaN", "Inf"])
@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (8, 2, "{} in 2 entries"),
        (0, 1, "{} in 1 entry"),
        (8, 0, "{} inside, in 8 entries"),
        (0, 0, None),
    ],
)
def test_a_closed_box_counts_the_entries_of_its_own_value_both_ways(word, first, last, said):
    key = word.lower()
    # on both ways, the value of `slice` is that of the box, and what `log` has is inside
    counts = {f"{side}{n}": {key: k} for side in "nd" for n, k in ((1, first), (2, last))}
    counts["n3"] = {key: 1}
    drawn = describe(ill_net(counts), DrawOptions(depth=0))
    found = {box.title: box for box in drawn.boxes}
    for title in ("m  Block", "∇ m  Block"):
        told = [note for note in found[title].notes if note.startswith(word)]
        # infinities of values that no later one has are on purpose, as a mask's are
        known = said and not (word == "Inf" and title == "m  Block" and not last)
        assert told == ([said.format(word)] if known else [])
        assert found[title].marks == ((key,) if known else ())
