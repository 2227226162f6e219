"""Labels of lines stand beside their lines, and on nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from render_graphs import Net
from test_render_gallery import draw

import tracer
import tracer_layers as nn
from trace_net.commands.visualize import Direction, Time, build_graph
from tracer.extend import DrawOptions
from tracer_render import labels
from tracer_render.engines import place
from tracer_render.layout import layered
from tracer_render.picture import describe

SCOPES = ("", "", "a", "a.b", "c")


def folded(operations, states, both):
    """Operations by their module and their inputs, and states: what is read at the next step."""
    net = Net(time="folded")
    values = [net.leaf("input", "x")]
    for scope, back in operations:
        inputs = dict.fromkeys(values[max(0, len(values) - distance)] for distance in back)
        values.append(net.op("tanh", *inputs, scope=scope, steps=9))
    for state in states:
        tail, head = (values[1 + number % (len(values) - 1)] for number in state)
        if not net.graph.has_edge(tail, head):
            net.state(tail, head)
    return net.both() if both else net.graph


loops = st.builds(
    folded,
    st.lists(
        st.tuples(st.sampled_from(SCOPES), st.lists(st.integers(1, 4), min_size=1, max_size=2)),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=4),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(loops)
def test_labels_of_our_own_layout_lie_on_nothing(graph):
    picture = describe(graph, DrawOptions())
    placed = labels.clear(picture, layered(picture))
    assert labels.struck(picture, placed) == []


@settings(max_examples=10, deadline=None)
@given(loops)
def test_nor_do_those_of_the_layout_that_is_chosen(graph):
    picture = describe(graph, DrawOptions())
    assert labels.struck(picture, place(picture, 30)) == []


@pytest.fixture(scope="module")
def traced():
    return {}


@pytest.mark.parametrize("name", draw.NAMES)
@pytest.mark.parametrize("direction", [Direction.forward, Direction.both])
def test_labels_of_folded_networks_lie_on_nothing(name, direction, traced):
    if name not in traced:
        traced[name] = draw.traced(name)
    graph = build_graph(traced[name], direction, Time.folded, ())
    for depth in ("auto", 1) if name == "bigru" else ("auto",):
        picture = describe(graph, DrawOptions(depth=depth))
        assert labels.struck(picture, place(picture, 30)) == []
    if name == "bigru":
        assert any(line.label for line in picture.lines)


class Recurrent(nn.Module):
    """A cell in a loop, and a layer after it."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        state = None
        for _ in tracer.steps(7):
            state = self.cell(x, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_the_label_of_a_self_line_is_beside_it(cell, direction):
    with tracer.Tape() as tape:
        loss = np.sum(Recurrent(cell)(np.ones((2, 3), np.float32)))
    tape.backward(loss)
    picture = describe(tape.graph(direction, "folded"), DrawOptions(depth=0))
    assert any(line.tail == line.head and line.label for line in picture.lines)
    assert labels.struck(picture, place(picture, 30)) == []


def test_a_label_on_a_line_a_box_or_another_label_is_counted():
    graph = folded([("", [1]), ("", [1])], [(0, 0), (1, 0)], both=True)
    picture = describe(graph, DrawOptions())
    placed = place(picture, 30)
    index, other, *_ = (n for n, label in enumerate(placed.labels) if label is not None)
    given = placed.labels[index]
    box = next(iter(placed.boxes.values()))
    (x0, y0), (x1, y1) = placed.pairs[0]
    on = [placed.curves[index][3], (box.x, box.y), placed.labels[other]]
    for at in [*on, ((x0 + x1) / 2, (y0 + y1) / 2)]:
        placed.labels[index] = at
        assert labels.struck(picture, placed)
        moved = labels.clear(picture, placed)
        assert labels.struck(picture, moved) == []
    placed.labels[index] = given
    assert labels.struck(picture, placed) == []
