"""What is written in boxes of single operations, and of what failed."""

import numpy as np

import tracer
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
