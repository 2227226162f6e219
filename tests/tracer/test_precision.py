"""Where numbers become wider by accident: found in the record, and marked in the graph."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import precision_changes

F32 = np.float32
X = np.linspace(-1, 1, 20, dtype=F32).reshape(5, 4)
D = 4


def weight(dtype=F32, shape=(4, 3), name="w"):
    return tracer.parameter(np.full(shape, 0.1, dtype), name=name)


def traced(function):
    with tracer.Tape() as tape:
        function()
    return tape


def told(function):
    return [
        (each.node.op.name, each.before, each.after, each.by, each.advice)
        for each in precision_changes(traced(function))
    ]


def test_a_numpy_scalar_is_told_with_its_line_and_what_to_write():
    def model():
        h = tracer.batch(X) @ weight()
        h = np.tanh(h / np.sqrt(D))
        return np.sum(h * h / np.sqrt(D))

    (found,) = precision_changes(traced(model))
    line = model.__code__.co_firstlineno + 2
    assert str(found) == (
        f"float32 becomes float64 at test_precision.py:{line} (divide, by the NumPy scalar "
        f"np.sqrt(D)): float(np.sqrt(D)) keeps float32"
    )


def test_every_way_of_giving_a_constant_is_found():
    scale, half = np.array([1.0, 2.0, 3.0]), np.float64(0.5)
    w = weight()

    def of(function):
        ((operation, before, after, by, advice),) = told(lambda: function(X @ w))
        assert (before, after) == ("float32", "float64")
        return operation, by, advice

    scalar = ("the NumPy scalar half", "float(half) keeps float32")
    array = ("scale, an array of float64", "scale.astype(np.float32) keeps float32")
    # models stand outside of assert statements: pytest before 8.1 moves what is within them
    scalars = [
        of(lambda h: h * half),
        of(lambda h: half - h),
        of(lambda h: np.multiply(h, half)),
    ]
    assert scalars == [("multiply", *scalar), ("subtract", *scalar), ("multiply", *scalar)]
    arrays = [of(lambda h: h + scale), of(lambda h: np.where(X[:, :3] > 0, h, scale))]
    assert arrays == [("add", *array), ("where", *array)]
    within_a_list = of(lambda h: np.concatenate([h, scale[None]]))
    assert within_a_list == (
        "concatenate",
        "scale[None], an array of float64",
        "scale[None].astype(np.float32) keeps float32",
    )
    a_call = of(lambda h: np.maximum(h, np.zeros(3)))
    assert a_call == (
        "maximum",
        "np.zeros(3), an array of float64",
        "np.zeros(3).astype(np.float32) keeps float32",
    )


def test_an_input_of_float64_in_a_model_of_float32():
    x = tracer.batch(X.astype(np.float64), name="x")
    expected = ("linear", "float32", "float64", "x, an input of float64")
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    ((*found, advice),) = told(lambda: model(x))
    assert tuple(found) == expected
    assert advice == "x.astype(np.float32) keeps float32"


def test_a_target_of_float64():
    model = nn.Linear(4, 2)
    ((*found, _),) = told(lambda: nn.mse_loss(model(X), np.ones((5, 2))))
    assert found == ["squared_error", "float32", "float64", "target, an array of float64"]


def test_a_frozen_parameter_of_float64():
    u = weight(np.float64, (3,), "u").requires_grad_(False)
    ((*_, by, _advice),) = told(lambda: X @ weight() * u)
    assert by == "u, a frozen parameter of float64"


def test_half_precision_is_widened_by_single_precision():
    ((*found, _),) = told(lambda: X.astype(np.float16) @ weight(np.float16) * np.ones(3, F32))
    assert found[:3] == ["multiply", "float16", "float32"]


def test_before_the_first_parameter_it_is_marked_once():
    """On the way of a batch, which wants no gradient: and not again where it meets a weight."""
    found = told(lambda: np.sum((tracer.batch(X) / np.sqrt(D)) @ weight()))
    assert [operation for operation, *_ in found] == ["divide"]


def test_each_way_is_told_once_and_each_expression_once():
    w, u = weight(), weight(name="u")

    def model():
        first, second = X @ w, X @ u
        for _ in range(3):
            first = first * np.float64(2.0)
        for _ in range(3):
            np.tanh(second * np.float64(3.0))
        return first

    assert [by for *_, by, _ in told(model)] == [
        "the NumPy scalar np.float64(2.0)",
        "the NumPy scalar np.float64(3.0)",
    ]


def test_what_is_cast_back_may_be_widened_again():
    found = told(lambda: (X @ weight() * np.float64(2)).astype(F32) * np.float64(3))
    assert [by[-14:] for *_, by, _ in found] == [" np.float64(2)", " np.float64(3)"]


@pytest.mark.parametrize(
    "function",
    [
        lambda: np.sum((X @ weight()) / D**0.5 * 2 + 1.0),
        lambda: (X @ weight()).astype(np.float64) * np.float64(2),
        lambda: np.sum(X @ weight(), dtype=np.float64),
        lambda: X @ weight() * np.float32(2.0),
        lambda: np.where(X[:, :3] > 0, X @ weight(), 0.0),
        lambda: (X @ weight()) * (X[:, :3] > 0),
        lambda: X.astype(np.float64) @ weight(np.float64) / np.sqrt(D),
        lambda: X @ weight(np.float64) / np.sqrt(D),
        lambda: weight()[np.array([0, 2])] * np.float32(1),
        lambda: nn.Embedding(5, 3)(np.array([[0, 1], [2, 3]])),
        lambda: nn.cross_entropy(nn.Linear(4, 3)(X), np.array([0, 1, 2, 0, 1])),
        lambda: nn.LSTM(4, 3)(X[:, None]),
        lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.GELU())(X),
        lambda: nn.MultiheadAttention(4, 2)(X[:, None], X[:, None], X[:, None]),
        lambda: nn.TransformerEncoderLayer(4, 2, 8)(X[:, None]),
    ],
)
def test_what_is_meant_has_no_mark(function):
    assert told(function) == []


def test_the_graph_has_the_mark_of_the_first_operation():
    with tracer.Tape() as tape:
        h = X @ weight()
        for t in tracer.steps(4):
            h = np.tanh(h * np.float64(0.5 + t))
        np.sum(h)
    for time in ("unrolled", "folded"):
        graph = tape.graph("both", time)
        marked = {n: a for n, a in graph.nodes(data=True) if "widened" in a}
        (node,) = marked.values()
        assert (node["op"], node["kind"]) == ("multiply", "operation")
        assert (node["widened"], node["dtype"]) == ("float32", "float64")
        assert node["widened_by"] == "the NumPy scalar np.float64(0.5 + t)"


def test_code_without_a_source_is_told_as_well():
    made: dict = {}
    exec(compile("def f(h, np):\n    return h * np.float64(2)", "<nowhere>", "exec"), made)
    ((*_, by, advice),) = told(lambda: made["f"](X @ weight(), np))
    assert (by, advice) == ("a NumPy scalar", "float(...) keeps float32")
