"""Where numbers become wider by accident: a mark of its own in every format."""

import numpy as np
import pytest

import tracer
from tracer.extensions import DrawOptions
from tracer_render import picture, plugin

RENDERERS = {renderer.name: renderer for renderer in plugin.register_renderers()}


def graph(scalar):
    x = np.ones((2, 2), np.float32)
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones((2, 2), np.float32), name="w")
        with tracer.scope("head", "Head"):
            loss = np.sum(np.tanh(x @ w * scalar))
    tape.backward(loss)
    return tape.graph("both")


TWO = np.float64(2)


def described(scalar=TWO, **options):
    return picture.describe(graph(scalar), DrawOptions(**options))


def test_the_first_operation_is_marked_and_says_why():
    (box,) = [box for box in described().boxes if "widened" in box.marks]
    assert box.title == "multiply"
    assert box.notes[-2:] == ("float32 becomes float64, by", "the NumPy scalar scalar")
    assert ("mark", "widened", "wider numbers from here") in described().legend


def test_a_closed_module_is_marked_and_its_cotangent_is_not():
    (box,) = [box for box in described(depth=0).boxes if box.marks]
    assert (box.kind, box.marks) == ("module", ("widened",))


def test_nothing_is_marked_where_all_is_of_one_dtype():
    assert not any(box.marks for box in described(2.0).boxes)
    assert "widened" not in [name for _, name, _ in described(2.0).legend]


@pytest.mark.parametrize("format", ["svg", "dot", "mermaid", "html"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_format_shows_the_mark(format, theme):
    def drawn(scalar):
        return RENDERERS[format].render(graph(scalar), DrawOptions(theme=theme)).decode()

    assert "wider numbers from here" in drawn(np.float64(2))
    assert "float32 becomes float64" in drawn(np.float64(2))
    assert "wider numbers from here" not in drawn(2.0)
