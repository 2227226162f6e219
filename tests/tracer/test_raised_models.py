"""The partial graph of a model that raises outside of any operation."""

import json

import numpy as np
import pytest

import tracer
import tracer_layers as nn


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 3)

    def forward(self, x):
        y = self.map(x)
        return {}["missing"][y]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), Head()

    def forward(self, x):
        return self.head(self.body(x))


LINE = Head.forward.__code__.co_firstlineno + 2


def graph_of(function, error, watch=True):
    tape = tracer.Tape(watch=watch)
    with pytest.raises(error), tape:
        function()
    return tape.graph()


def failed(graph):
    return [(name, data) for name, data in graph.nodes(data=True) if data.get("failed")]


def test_the_module_and_the_line_are_known():
    graph = graph_of(lambda: Net()(np.ones((2, 4), np.float32)), KeyError)
    ((name, node),) = failed(graph)
    assert (node["kind"], node["op"], node["label"]) == ("operation", "raise", "raise KeyError")
    assert node["scope"] == "head"
    assert node["scopes"][-1] == "Head"
    assert node["source"] == f"test_raised_models.py:{LINE}"
    assert node["error"] == "KeyError: 'missing'"
    assert graph.graph["error"] == f"KeyError: 'missing' (test_raised_models.py:{LINE})"
    (before,) = graph.predecessors(name)
    assert graph.nodes[before]["scope"] == "head.map"
    json.dumps(dict(graph.nodes(data=True)))


def test_a_step_of_a_loop_is_known():
    def loop():
        h = tracer.parameter(np.ones(2), name="w")
        for t in tracer.steps(3):
            with tracer.scope("cell"):
                h = np.tanh(h)
                if t == 1:
                    raise ValueError

    ((_, node),) = failed(graph_of(loop, ValueError))
    assert (node["scope"], node["times"], node["label"]) == ("cell", [1], "raise ValueError")
    assert node["error"] == "ValueError"


def test_an_error_that_was_caught_before_does_not_say_where():
    def model():
        w = tracer.parameter(np.ones(2), name="w")
        with tracer.scope("tried"):
            try:
                with tracer.scope("inner"):
                    raise KeyError("first")
            except KeyError:
                pass
        h = w * 2.0
        raise RuntimeError(f"second, {h.shape}")

    ((_, node),) = failed(graph_of(model, RuntimeError))
    assert (node["scope"], node["error"]) == ("", "RuntimeError: second, (2,)")


def test_an_error_in_a_library_is_on_the_users_line():
    def model():
        np.tanh(tracer.parameter(np.ones(2)))
        json.loads("{")

    ((_, node),) = failed(graph_of(model, json.JSONDecodeError))
    assert node["source"].startswith("test_raised_models.py:")


def test_an_operation_that_raised_is_what_failed():
    graph = graph_of(lambda: nn.Linear(4, 3)(np.ones((2, 5), np.float32)), tracer.ShapeError)
    ((_, node),) = failed(graph)
    assert node["op"] == "linear"
    assert "(test_raised_models.py:" in graph.graph["error"]


def test_a_tape_that_is_not_watched_and_an_interruption_have_none():
    def interrupted():
        raise KeyboardInterrupt

    def raised():
        raise ValueError

    assert not failed(graph_of(interrupted, KeyboardInterrupt))
    assert not failed(graph_of(raised, ValueError, watch=False))


def test_what_was_computed_in_the_line_that_raised_stands_before_it():
    w = tracer.parameter(np.ones((3, 3)))

    def model():
        other = np.tanh(w)
        return str(np.square(other)).missing

    graph = graph_of(model, AttributeError)
    ((name, _),) = failed(graph)
    (before,) = graph.predecessors(name)
    assert graph.nodes[before]["op"] == "square"
