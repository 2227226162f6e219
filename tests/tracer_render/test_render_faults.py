"""Marks of what went wrong, on closed modules too: what raised, and what no gradient reaches."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extensions import DrawOptions
from tracer_render import picture, plugin

RENDERERS = {renderer.name: renderer for renderer in plugin.register_renderers()}
X = np.ones((2, 4), np.float32)


class Net(nn.Module):
    def __init__(self, fails=False):
        super().__init__()
        self.body, self.side, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.fails = fails

    def forward(self, x):
        x = self.body(x)
        with tracer.scope("beside"):
            self.side(x)
            if self.fails:
                raise RuntimeError("no luck")
        return np.sum(self.head(x))


def boxes(graph, **options):
    return {box.title: box for box in picture.describe(graph, DrawOptions(**options)).boxes}


@pytest.mark.parametrize("depth", [0, 1, "auto", None])
@pytest.mark.parametrize("watch", [True, False])
def test_a_module_whose_result_is_not_used_has_no_gradient(depth, watch):
    with tracer.Tape(watch=watch) as tape:
        loss = Net()(X)
    tape.backward(loss)
    found = boxes(tape.graph("both"), depth=depth)
    marked = {title for title, box in found.items() if "unreached" in box.marks}
    assert marked
    assert not any("body" in title or "head" in title for title in marked)
    for title in marked:
        assert "no gradient" in found[title].notes


def test_a_module_with_a_branch_that_is_not_used_is_reached():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(4, 4)

        def forward(self, x):
            np.exp(self.map(x))
            return np.sum(self.map(x))

    with tracer.Tape(watch=True) as tape:
        loss = Two()(X)
    tape.backward(loss)
    with tracer.Tape(watch=True) as tape, tracer.scope("all", "All"):
        loss = Two()(X)
    tape.backward(loss)
    assert not [box for box in boxes(tape.graph("both"), depth=0).values() if box.marks]


@pytest.mark.parametrize("format", ["svg", "dot", "mermaid", "html"])
def test_a_model_that_raised_is_marked_and_told(format):
    tape = tracer.Tape(watch=True)
    with pytest.raises(RuntimeError), tape:
        Net(fails=True)(X)
    found = boxes(tape.graph(), depth=0)
    (title,) = [title for title, box in found.items() if "failed" in box.marks]
    assert "beside" in title
    assert "failed: RuntimeError: no luck" in found[title].notes
    drawn = RENDERERS[format].render(tape.graph(), DrawOptions(depth=0)).decode()
    told = drawn.replace("#58;", ":").replace("#95;", "_").replace("#46;", ".")
    assert "forward failed: RuntimeError: no luck (test_render_faults.py:" in told
