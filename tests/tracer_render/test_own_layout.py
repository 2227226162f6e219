"""Our own layout: no line goes through a box where it could go beside it."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions
from tracer_render.layout import layered
from tracer_render.picture import describe
from tracer_render.quality import measure


class Tree(nn.Module):
    """Calls itself: a low box stands beside the high frame of a deeper call."""

    def __init__(self):
        super().__init__()
        self.word, self.compose = nn.Embedding(9, 4), nn.Linear(8, 4)

    def forward(self, tree):
        if isinstance(tree, int):
            return self.word(np.array([tree]))
        return np.tanh(self.compose(np.concatenate([self(part) for part in tree], axis=-1)))


@pytest.mark.parametrize("tree", [(0, (1, (2, 3))), (((0, 1), 2), (3, (4, (5, 6))))])
@pytest.mark.parametrize("depth", [None, 2, 9])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_lines_pass_beside_what_is_higher(tree, depth, direction):
    with tracer.Tape() as tape:
        loss = np.sum(Tree()(tree))
    tape.backward(loss)
    picture = describe(tape.graph(direction), DrawOptions(depth=depth))
    quality = measure(picture, layered(picture))
    assert quality.through == quality.overlaps == 0


def test_a_line_from_a_box_to_itself_has_room():
    w = tracer.parameter(np.eye(4), name="w")
    with tracer.Tape() as tape:
        low, total = np.zeros((3, 4)), np.zeros((3, 4))
        for _ in tracer.steps(6):
            y = np.tanh(np.ones((3, 4)) @ w)
            low, total = np.maximum(low, y), total + y
        loss = np.sum(low * total)
    tape.backward(loss)
    picture = describe(tape.graph("both", "folded"), DrawOptions())
    placed = layered(picture)
    loops = [n for n, line in enumerate(picture.lines) if line.tail == line.head]
    assert len(loops) == 4  # of two values and their cotangents
    assert measure(picture, placed).through == 0
    for index in loops:
        x, y = placed.labels[index]
        assert not any(
            abs(x - r.x) < r.width / 2 and abs(y - r.y) < r.height / 2
            for r in placed.boxes.values()
        )
