"""Equal branches in one box, and what is said of loops that are not marked."""

import logging

import networkx as nx
import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.extend import DrawOptions
from tracer_render import branches, detail
from tracer_render.abreast import Branches
from tracer_render.outline import Outline
from tracer_render.picture import describe
from tracer_render.style import TIMES

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
COUNT = 45


class Together(nn.Module):
    def __init__(self, branch, join, count=COUNT):
        super().__init__()
        self.branches = nn.ModuleList([branch() for _ in range(count)])
        self.join = join

    def forward(self, x):
        return self.join([branch(x) for branch in self.branches])


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.inner(x)


def concatenated(values):
    return np.concatenate(values, axis=-1)


def added(values):
    return sum(values[1:], start=values[0])


def graph_of(model, x=X):
    with tracer.Tape(watch=True) as tape:
        loss = np.sum(model(x))
    tape.backward(loss)
    return tape.graph("both")


def titles(picture, back=False):
    return {box.title: box.notes for box in picture.boxes if (box.kind == "cotangent") == back}


@pytest.mark.parametrize(
    ("branch", "last"),
    [
        (lambda: nn.Linear(4, 3), "branches.44  Linear"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()), "branches.44  Sequential"),
        (Residual, "branches.44  Residual"),
    ],
    ids=["layer", "row", "residual"],
)
@pytest.mark.parametrize("join", [concatenated, added])
def test_equal_branches_are_one_box(branch, last, join):
    picture = describe(graph_of(Together(branch, join)), DrawOptions(depth="auto"))
    found = titles(picture)
    (name,) = (title for title in found if title.startswith("branches.0"))
    assert name.endswith(last)
    assert f"\N{MULTIPLICATION SIGN} {COUNT}, side by side" in found[name]
    assert len(found) <= 5
    assert f"\N{MULTIPLICATION SIGN} {COUNT}, side by side" in titles(picture, True)[f"∇ {name}"]
    if join is added:
        assert f"\N{MULTIPLICATION SIGN} {COUNT - 1}, one after the other" in found["add"]


def test_few_branches_are_drawn_one_by_one():
    model = Together(lambda: nn.Linear(4, 3), concatenated, count=5)
    picture = describe(graph_of(model), DrawOptions(depth="auto"))
    assert sum("Linear" in title for title in titles(picture)) == 5


def test_branches_of_other_shapes_stay():
    sizes = iter([*range(1, 11), *[3] * 40])
    model = Together(lambda: nn.Linear(4, next(sizes)), concatenated, count=50)
    found = titles(describe(graph_of(model), DrawOptions(depth="auto")))
    alone = [title for title in found if "…" not in title and "Linear" in title]
    assert len(alone) == 9  # that of three outputs is one of the others


def test_a_branch_that_another_reads_as_well_stays():
    class Peeking(Together):
        def forward(self, x):
            values = [branch(x) for branch in self.branches]
            return np.sum(concatenated(values)) * np.sum(values[7])

    picture = describe(graph_of(Peeking(lambda: nn.Linear(4, 3), None)), DrawOptions(depth="auto"))
    assert "branches.7  Linear" in titles(picture)


@pytest.mark.parametrize("form", ["side by side", "one after the other"])
def test_parameters_of_operations_that_are_folded(form):
    weights = [tracer.parameter(np.eye(4, dtype=np.float32), name=f"w{i}") for i in range(COUNT)]

    def model(x):
        if form == "side by side":
            return np.stack([np.tanh(x @ w) for w in weights])
        for w in weights:
            x = np.tanh(x @ w)
        return x

    found = titles(describe(graph_of(model), DrawOptions(depth="auto")))
    assert [title for title in found if title.startswith("w")] == ["w0"]
    assert f"the first of {COUNT}" in found["w0"]
    assert any(f"\N{MULTIPLICATION SIGN} {COUNT}, {form}" in notes for notes in found.values())


def test_an_overlay_adds_all_branches_up():
    graph = graph_of(Together(lambda: nn.Linear(4, 3), added))
    overlay = registry.overlays["flops"]
    total = sum(overlay.values(graph, {}).values())
    options = DrawOptions(depth="auto", overlay=overlay)
    notes = [note for box in describe(graph, options).boxes for note in box.notes]
    shown = [note.split()[1:] for note in notes if note.startswith("flops")]
    scale = {"FLOP": 1, "kFLOP": 1000}
    assert sum(float(n) * scale[unit] for n, unit in shown) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("way", ["picture", "page"])
@pytest.mark.parametrize(("marked", "steps"), [(False, 30), (True, 30), (False, 8)])
def test_a_loop_that_is_not_marked_is_spoken_of_where_it_helps(caplog, marked, steps, way):
    w = tracer.parameter(np.eye(4, dtype=np.float32), name="w")
    x = np.ones((2, 30, 4), np.float32)

    def model(x):
        h = np.zeros((2, 4), np.float32)
        for t in tracer.steps(steps) if marked else range(steps):
            h = np.tanh(x[:, t] + h @ w)
        return h

    graph = graph_of(model, tracer.batch(x))
    with caplog.at_level(logging.WARNING, "tracer_render"):
        if way == "page":
            registry.renderers["html"].render(graph, DrawOptions(depth="auto"))
        else:
            detail.detailed(graph, DrawOptions(depth="auto"))
    said = [text for text in caplog.messages if "tracer.steps" in text]
    # of few rounds there is nothing to fold
    assert len(said) == (not marked and steps == 30)
    if said:
        assert "test_branches.py" in said[0]
        assert "reads w 30 times: if it is in a loop, write that as `for t in tracer." in said[0]


class Expert(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.down(np.maximum(self.up(x), 0))


class Mixture(nn.Module):
    """Each branch is made of two things that are the same in all: an expert and a weight."""

    def __init__(self, count, odd=False):
        super().__init__()
        self.router, self.softmax = nn.Linear(4, count), nn.Softmax(dim=-1)
        self.experts = nn.ModuleList([Expert() for _ in range(count)])
        self.odd = odd

    def forward(self, x):
        weights, total = self.softmax(self.router(x)), 0.0
        for number, expert in enumerate(self.experts):
            value = expert(x)
            if self.odd and number == 3:
                value = np.tanh(value)
            total = total + weights[:, number : number + 1] * value
        return total


def test_branches_of_several_parts_are_one_each_where_they_are_wider_than_a_page():
    graph = graph_of(Mixture(8))
    told = titles(describe(graph, DrawOptions(depth="auto")))
    several = {
        title: notes[0] for title, notes in told.items() if notes[0].startswith(f"{TIMES} 8")
    }
    assert several == {
        "experts.0 … experts.7  Expert": f"{TIMES} 8, side by side",
        "getitem": f"{TIMES} 8, side by side",
        "multiply": f"{TIMES} 8, side by side",
        "add": f"{TIMES} 8, one after the other",
    }
    assert nx.is_directed_acyclic_graph(detail.detailed(graph, DrawOptions(depth="auto")))


def test_as_many_branches_of_several_parts_as_a_page_is_wide_are_drawn_one_by_one():
    drawn = describe(graph_of(Mixture(branches.MOST_ABREAST)), DrawOptions(depth="auto"))
    assert "experts.4.up  Linear" in titles(drawn)


def test_a_branch_that_differs_somewhere_is_none_of_the_others():
    drawn = titles(describe(graph_of(Mixture(8, odd=True)), DrawOptions(depth="auto")))
    assert "experts.3  Expert" in drawn
    assert f"{TIMES} 7, side by side" in drawn["experts.0 … experts.7  Expert"]
    assert "tanh" in drawn


class Row(nn.Module):
    def __init__(self, make, count=COUNT):
        super().__init__()
        self.parts = nn.ModuleList([make() for _ in range(count)])

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize(
    ("model", "compared"),
    [
        (Row(lambda: nn.Linear(4, 4)), False),
        (Together(lambda: nn.Linear(4, 4), added), True),
        (Together(Residual, concatenated), True),
    ],
)
def test_only_what_is_no_plain_chain_is_looked_through_for_branches(model, compared, monkeypatch):
    seen = []
    may_be_equal = Branches._may_be_equal

    def counted(self, parts):
        seen.append(len(parts))
        return may_be_equal(self, parts)

    monkeypatch.setattr(Branches, "_may_be_equal", counted)
    Outline(graph_of(model), 8)
    assert bool(seen) == compared


def test_branches_are_found_in_whatever_order_a_graph_has_its_nodes():
    graph = graph_of(Together(Residual, concatenated))
    turned = nx.MultiDiGraph(**graph.graph)
    turned.add_nodes_from(list(graph.nodes(data=True))[::-1])
    turned.add_edges_from(graph.edges(keys=True, data=True))
    for each in (graph, turned):
        assert [group.sort for group in Outline(each, 8).root.groups] == ["abreast"]
