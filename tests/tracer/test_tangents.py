"""Rules for tangents: which operations have one, and what they make of many rows."""

import numpy as np
import pytest

import tracer
from tracer import registry
from tracer.sweep import tangents
from tracer.testing.cases import Case
from tracer.testing.complex_numbers import is_of_complex
from tracer.testing.operations import check_operation

tracer.grad(np.sin)(0.0)  # which loads the plugins
OPERATIONS = [op for op in registry.operations.values() if type(op).__module__.startswith("tracer")]


def transposing(monkeypatch):
    """The operations whose rule for cotangents is transposed from now on."""
    seen, original = [], tangents.transposed

    def noted(view, node, given):
        seen.append(node.op.name)
        return original(view, node, given)

    monkeypatch.setattr(tangents, "transposed", noted)
    return seen


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_an_operation_has_a_rule_for_tangents_of_its_first_input(op, monkeypatch):
    seen = transposing(monkeypatch)
    for inputs, params in op.examples(np.random.default_rng(0)):
        if is_of_complex(op, inputs, params):
            continue
        case = Case(op, inputs, params, op.name)
        given = [None] * len(case.node.parents)
        given[case.slots[0]] = case.random(2, like=case.floats[0])
        tangents.tangent_of(case.node, case.node, given)
    assert not seen


@pytest.mark.parametrize("name", ["eig", "eigh", "svd"])
def test_it_is_the_rule_for_cotangents_that_tells_of_coinciding_values(name, monkeypatch):
    seen, function = transposing(monkeypatch), getattr(np.linalg, name)

    def moved(*values):
        return tracer.jvp(lambda a: function(a)[name == "svd"], (np.diag(values),), (np.eye(3),))[1]

    np.testing.assert_allclose(moved(1.0, 2.0, 3.0), np.ones(3), rtol=1e-12)
    assert name not in seen
    with pytest.warns(RuntimeWarning, match="coincide"):
        assert np.isnan(moved(1.0, 2.0, 2.0)).any()
    assert name in seen


def summing(node, g):
    """A rule that sums what was broadcast, as one may."""
    x, y = node.inputs
    g_y = g * x
    return g * y, np.sum(g_y, axis=1) if np.ndim(y) < np.ndim(x) else g_y


def test_an_elementwise_rule_that_sums_what_was_broadcast_is_transposed(monkeypatch):
    @tracer.operation("summing")
    class Summing(tracer.Elementwise):
        saves = ("inputs",)

        def forward(x, y):
            return x * y

        vjp = summing

    seen = transposing(monkeypatch)
    x, y, t = np.random.default_rng(0).random((3, 2, 3))
    moved = tracer.jvp(lambda y: Summing(x, y), (y[0],), (t[0],))[1]
    np.testing.assert_allclose(moved, x * t[0], rtol=1e-15)
    assert seen == ["summing"]


def unrecorded(x):
    return x.data if isinstance(x, tracer.Tensor) else x


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        (lambda x, t: t[::-1] * x, "jvp"),
        (lambda x, t: t * x * x, "jvp"),
        (lambda x, t: t * unrecorded(x), "gradient of the jvp"),
    ],
    ids=["reversed", "another slope", "not recorded"],
)
def test_the_kit_finds_a_wrong_rule_for_tangents(moved, told):
    @tracer.operation("halved")
    class Halved(tracer.Elementwise):
        saves = ("inputs",)

        def forward(x):
            return 0.5 * x * x

        def vjp(node, g):
            return (g * node.inputs[0],)

        def jvp(node, tangents):
            return moved(node.inputs[0], tangents[0])

        def examples(rng):
            return [((rng.random(3),), {})]

    with pytest.raises(AssertionError, match=told):
        check_operation(Halved)


def test_tangents_that_lead_nowhere_are_not_computed(monkeypatch):
    met, original = [], tangents.tangent_of

    def noted(view, node, given):
        met.append(node.op.name)
        return original(view, node, given)

    monkeypatch.setattr(tangents, "tangent_of", noted)

    def f(x):
        np.cosh(x)
        return np.sin(x)

    tracer.jvp(f, (np.ones(2),), (np.ones(2),))
    assert met == ["sin"]


def test_products_with_the_hessian_take_many_vectors_through_convolutions():
    """Whose record has rows of cotangents in front of its arrays, and of tangents before these."""
    import tracer_layers as nn

    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=rng), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8, 3, rng=rng),
    ).double()  # fmt: skip
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(rng.random((4, 1, 6, 6))), np.array([0, 2, 1, 1]))
    hessian = tape.backward(loss, ("hessian",))["hessian"]
    vectors = rng.standard_normal((hessian.shape[0], 3))
    products = hessian @ vectors
    for column, vector in zip(products.T, vectors.T, strict=True):
        np.testing.assert_allclose(column, hessian @ vector, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ products, products.T @ vectors, rtol=1e-9, atol=1e-12)
