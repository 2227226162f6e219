"""`tape.draw()`, `model.draw(x)`, and what a notebook shows of tapes and results."""

import json

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import GraphError, RegistryError, TracingError
from tracer_render.placement import Rectangle, onto_outline

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def tape():
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    with tracer.Tape(watch=True) as tape:
        loss = nn.cross_entropy(model(X[0]), np.array([0, 1, 1]))
    assert tape.draw().graph.graph["direction"] == "forward"
    tape.results = tape.backward(loss, ("grad", "kfac", "ggn"))
    return tape


def test_a_tape_is_drawn_forward_and_backward_once_it_was_swept(tape):
    drawing = tape.draw()
    assert drawing.graph.graph["direction"] == "both"
    assert set(drawing.graph) == set(tape.graph("both"))
    svg = drawing.render().decode()
    assert "<svg" in svg
    assert "Sequential" in svg
    assert "FLOPs" in svg
    assert drawing.render() is drawing.render("svg")


@pytest.mark.parametrize(
    ("file", "part"),
    [("a.svg", "</svg>"), ("a.gv", "digraph"), ("a.mmd", "flowchart TD"), ("a.html", "</html>")],
)
def test_a_file_has_the_format_of_its_suffix(tape, tmp_path, file, part):
    assert part in tape.draw(depth=0).save(tmp_path / file).read_text()


def test_all_operations_or_few(tape):
    boxes = [len(json.loads(tape.draw(depth=d).render("json"))["nodes"]) for d in ("all", 0)]
    assert boxes[0] == tape.graph("both").number_of_nodes() > boxes[1]


def test_long_loops_are_folded():
    lstm = nn.LSTM(4, 3, batch_first=True)
    drawings = [lstm.draw(np.repeat(X, n, axis=1), **o) for n, o in
                ((1, {}), (3, {}), (3, {"time": "unrolled"}))]  # fmt: skip
    times = [drawing.graph.graph["time"] for drawing in drawings]
    assert times == ["unrolled", "folded", "unrolled"]
    assert "LSTM" in drawings[0].options.title


def test_a_notebook_shows_the_picture(tape):
    for shown in (tape, tape.draw()):
        bundle = shown._repr_mimebundle_()
        assert "</svg>" in bundle["image/svg+xml"]
        assert bundle["text/plain"] == repr(shown)
    with tracer.Tape() as empty:
        assert list(empty._repr_mimebundle_()) == ["text/plain"]


def test_a_notebook_shows_a_table_of_results(tape):
    shown = tape.results._repr_html_()
    norm = np.linalg.norm(tape.results["grad"]["0.weight"].astype(float))
    assert f"<td>5\N{MULTIPLICATION SIGN}4, norm {norm:.3g}</td>" in shown
    assert "<td>Kronecker(5x5, 4x4)</td>" in shown
    assert "<tr><th>ggn</th><td>" in shown  # an operator has one row of its own


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"depth": "some"}, GraphError, 'depth is "auto", "all" or a number'),
        ({"depth": -1}, GraphError, 'depth is "auto", "all" or a number'),
        ({"theme": "blue"}, GraphError, 'theme is "auto", "light" or "dark"'),
        ({"time": "x"}, GraphError, 'time is "auto", "unrolled" or "folded"'),
        ({"direction": "up"}, GraphError, "direction is one of"),
        ({"overlay": "grad_nrm"}, RegistryError, "grad_norm"),
    ],
)
def test_what_cannot_be_drawn(tape, options, error, said):
    with pytest.raises(error, match=said):
        tape.draw(**options)


def test_an_overlay_without_statistics(tape):
    assert b"gradient norm" in tape.draw(overlay="grad_norm").render()
    with tracer.Tape() as unwatched:
        nn.Linear(4, 2)(X[0])
    with pytest.raises(GraphError, match="watch=True"):
        unwatched.draw(overlay="grad_norm")


def test_an_open_tape_and_a_file_without_a_suffix(tape, tmp_path):
    with tracer.Tape() as inner, pytest.raises(TracingError, match="has ended"):
        inner.draw()
    with pytest.raises(GraphError, match="no suffix"):
        tape.draw().save(tmp_path / "picture")


def test_arrows_end_on_the_arc_of_a_round_corner():
    box = Rectangle(10, 20, 60, 30)
    x, y = onto_outline((-19, 5), box, 6)
    assert (x + 14) ** 2 + (y - 11) ** 2 == pytest.approx(36)
    assert onto_outline((0, 5), box, 6) == (0, 5)
    assert onto_outline((-20, 20), box, 6) == (-20, 20)
    assert onto_outline((-20, 5), box, 0) == (-20, 5)
