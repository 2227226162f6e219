"""`tracer.linearize`: the derivative at a point as a map, against `jvp` and `vjp`."""

import numpy as np
import pytest

import tracer
from tracer.errors import ShapeError, TracingError

RNG = np.random.default_rng(0)
X, W, V, U = RNG.random((2, 3)), RNG.random((3, 2)), RNG.random((2, 3)), RNG.random((3, 2))


def product(x, w):
    return np.tanh(x @ w)


def nested(p):
    return {"sum": np.sum(p["a"] ** 2), "rest": [np.sin(p["b"]), p["a"] * 2]}


def test_its_value_and_tangents_are_those_of_jvp():
    value, linear = tracer.linearize(product, X, W)
    np.testing.assert_array_equal(value, product(X, W))
    for tangents in ((V, U), (2 * V, -U), (V, np.zeros_like(U))):
        expected = tracer.jvp(product, (X, W), tangents)[1]
        np.testing.assert_allclose(linear(*tangents), expected, rtol=1e-14)


def test_the_function_is_called_once():
    calls = []

    def f(x):
        calls.append(x)
        return np.sin(x)

    _, linear = tracer.linearize(f, X)
    for _ in range(3):
        np.testing.assert_allclose(linear(V), V * np.cos(X), rtol=1e-15)
    assert len(calls) == 1


def test_the_transposed_map_is_that_of_vjp():
    _, linear = tracer.linearize(product, X, W)
    g = RNG.random((2, 2))
    _, pull = tracer.vjp(product, X, W)
    for mine, other in zip(linear.T(g), pull(g), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert linear.T.T is linear
    inner = sum(np.sum(a * b) for a, b in zip(linear.T(g), (V, U), strict=True))
    np.testing.assert_allclose(np.sum(g * linear(V, U)), inner, rtol=1e-13)


def test_arguments_and_outputs_may_be_nested():
    p = {"a": RNG.random(3), "b": RNG.random(2)}
    t = {"b": RNG.random(2), "a": RNG.random(3)}
    value, linear = tracer.linearize(nested, p)
    moved = linear(t)
    assert value["rest"][1].shape == (3,)
    np.testing.assert_allclose(moved["sum"], 2 * p["a"] @ t["a"], rtol=1e-14)
    np.testing.assert_allclose(moved["rest"][0], np.cos(p["b"]) * t["b"], rtol=1e-14)
    np.testing.assert_allclose(moved["rest"][1], 2 * t["a"], rtol=1e-14)


def test_tangents_of_another_form_are_refused():
    _, linear = tracer.linearize(product, X, W)
    with pytest.raises(ShapeError, match=r"by 2 arguments, got 1 tangents"):
        linear(V)
    with pytest.raises(ShapeError, match=r"tangent has the shape of its primal, \[2, 3\]"):
        linear(U, U)
    with pytest.raises(ShapeError, match="cotangent has the shape of its output"):
        linear.T(V)
    with pytest.raises(TracingError, match="linearize takes a function"):
        tracer.linearize(X)


def test_it_is_of_what_was_computed():
    x = X.copy()
    _, linear = tracer.linearize(lambda x: x * x, x)
    before = linear(V)
    x[...] = 0
    np.testing.assert_array_equal(linear(V), before)
    moved = linear(V)
    moved[...] = 0
    np.testing.assert_array_equal(linear(V), before)


def test_inside_a_function_it_depends_on_the_point():
    def squared(x):
        _, linear = tracer.linearize(lambda y: y**3, x)
        return np.sum(linear(V))

    np.testing.assert_allclose(tracer.grad(squared)(X), 6 * X * V, rtol=1e-14)


def test_inside_a_function_it_depends_on_the_tangents():
    _, linear = tracer.linearize(lambda y: np.linalg.eigvalsh(y @ y.T) + np.sum(y**3), X)
    slope = tracer.grad(lambda v: np.sum(linear(v) ** 2))(V)
    expected = 2 * linear.T(linear(V))[0]
    np.testing.assert_allclose(slope, expected, rtol=1e-10)


def test_it_survives_a_sweep_of_the_tape_that_it_was_made_in():
    w = tracer.parameter(W)
    with tracer.Tape() as tape:
        value, linear = tracer.linearize(lambda x: np.tanh(x @ w), X)
        loss = np.sum(value)
    tape.backward(loss)
    expected = tracer.jvp(lambda x: np.tanh(x @ W), (X,), (V,))[1]
    for _ in range(2):
        moved = linear(V)
        np.testing.assert_allclose(np.asarray(getattr(moved, "data", moved)), expected, rtol=1e-14)


def test_it_solves_equations():
    """Newton's method, the derivative being a matrix that is never made."""
    from scipy.sparse.linalg import LinearOperator, gmres

    def equations(x):
        return x**3 + np.roll(x, 1) - 1.0

    x = np.full(4, 0.7)
    for _ in range(6):
        value, linear = tracer.linearize(equations, x)
        step, failed = gmres(LinearOperator((4, 4), matvec=linear, dtype=float), -value, rtol=1e-12)
        assert not failed
        x = x + step
    np.testing.assert_allclose(equations(x), 0, atol=1e-12)
