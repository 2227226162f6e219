"""Derivatives of solutions: against closed forms, differences, and solvers that are unrolled."""

import warnings

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import implicit
from tracer.errors import ShapeError, TracingError
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((4, 4)) * 0.2, RNG.standard_normal(4)


def direct(matvec, b):
    """A linear solver of one's own."""
    return np.linalg.solve(np.stack([matvec(e) for e in np.eye(len(b))], axis=1), b)


def test_the_square_root():
    root = implicit.root(lambda x, a: x * x - a)
    assert root(1.0, 4.0) == pytest.approx(2.0)
    slope = tracer.grad(lambda a: root(1.0, a))
    assert slope(4.0) == pytest.approx(0.25)
    assert tracer.grad(slope)(4.0) == pytest.approx(-1 / 32)
    assert tracer.grad(tracer.grad(slope))(4.0) == pytest.approx(3 / 256)
    assert tracer.jvp(lambda a: root(1.0, a), (4.0,), (2.0,))[1] == pytest.approx(0.5)
    assert tracer.grad(lambda x0: root(x0, 4.0))(1.0) == 0


@pytest.mark.parametrize("linear", ["dense", "gmres", "bicgstab", direct])
def test_fixed_points_by_arguments_and_by_what_is_around(linear):
    def given(w, b):
        solve = implicit.fixed_point(lambda x, w, p: np.tanh(w @ x + p["b"]), linear=linear)
        return solve(np.zeros(4), w, {"b": b})

    def around(w, b):
        return implicit.fixed_point(lambda x: np.tanh(w @ x + b), linear=linear)(np.zeros(4))

    for solution in (given, around):
        check_gradients(solution)(A, B)


def test_points_and_arguments_may_be_nested():
    def solution(a):
        def equations(p, a, names):
            assert names == ["u", "v"]
            return {"v": p["v"] - a[1:], "u": p["u"] ** 3 - np.sum(p["v"]) * a[0]}

        start = {"u": np.array(1.0), "v": np.ones(2)}
        found = implicit.root(equations)(start, a, ["u", "v"])
        return found["u"] * found["v"]

    a = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(solution(a), 5 ** (1 / 3) * a[1:])
    check_gradients(solution)(a)


@pytest.mark.parametrize("linear", ["dense", "cg"])
def test_a_minimum(linear):
    at = implicit.minimum(lambda x, a: np.sum((x - a) ** 4 + (x - 1) ** 2), linear=linear)
    check_gradients(lambda a: at(np.zeros(3), a))(np.array([0.3, 2.0, 1.5]))


def test_ridge_regression_by_its_penalty():
    x, y = RNG.standard_normal((8, 3)), RNG.standard_normal(8)
    fit = implicit.minimum(lambda w, c: np.sum((x @ w - y) ** 2) + c * np.sum(w * w))
    exact = lambda c: np.linalg.solve(x.T @ x + c * np.eye(3), x.T @ y)  # noqa: E731
    np.testing.assert_allclose(fit(np.zeros(3), 0.5), exact(0.5), rtol=1e-8)
    for derivative in (tracer.jacobian, lambda f: tracer.jacobian(tracer.jacobian(f))):
        found = derivative(lambda c: fit(np.zeros(3), c))(0.5)
        np.testing.assert_allclose(found, derivative(exact)(0.5), rtol=1e-7)


def test_the_solver_may_be_any():
    calls = []

    def newton(f, x):
        for _ in range(30):
            calls.append(x)
            x = x - f(x) / tracer.grad(f)(x)
        return x

    root = implicit.root(lambda x, a: np.exp(x) - a, newton)
    assert tracer.grad(lambda a: root(0.0, a))(3.0) == pytest.approx(1 / 3)
    assert len(calls) == 30
    assert all(not isinstance(x, tracer.Tensor) for x in calls)


class Equilibrium(nn.Module):
    """`z = tanh(0.3 W z + U x)` (Bai et al. 2019)."""

    def __init__(self, solve):
        super().__init__()
        self.inject, self.turn, self.solve = nn.Linear(3, 4), nn.Linear(4, 4), solve

    def forward(self, x):
        start = np.zeros((len(x), 4))
        step = lambda z, u: np.tanh(0.3 * self.turn(z) + u)  # noqa: E731
        return tracer.batch(self.solve(step, start, self.inject(x)))


def unrolled(step, z, u):
    for _ in range(60):
        z = step(z, u)
    return z


SOLVERS = {
    "dense": lambda step, z, u: implicit.fixed_point(step)(z, u),
    "gmres": lambda step, z, u: implicit.fixed_point(step, linear="gmres")(z, u),
}


@pytest.mark.parametrize("linear", SOLVERS)
def test_quantities_go_through_an_equilibrium_as_through_its_steps(linear):
    """Also where parameters are others by the time of the sweep."""
    x, y = RNG.standard_normal((3, 3)), RNG.standard_normal((3, 4))
    names = ("grad", "grad_batch", "diag_ggn_exact", "diag_h")

    def results(solve):
        tracer.seed(0)
        model = Equilibrium(solve).double()
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(x), y)
        for p in model.parameters():
            p.data = p.data * 3
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one row per sample
            return {name: tape.backward(loss, (name,))[name] for name in names}

    want, found = results(unrolled), results(SOLVERS[linear])
    for name in names:
        for key in want[name]:
            np.testing.assert_allclose(found[name][key], want[name][key], atol=1e-9, rtol=1e-7)


def test_single_precision_stays():
    root = implicit.fixed_point(lambda x, a: np.cos(x) * a)
    gradient = tracer.grad(lambda a: root(np.zeros((), np.float32), a))(np.float32(0.5))
    assert gradient.dtype == np.float32
    want = tracer.grad(lambda a: root(0.0, a))(0.5)
    assert gradient == pytest.approx(want, rel=1e-5)


# -- errors ------------------------------------------------------------------------------------


def test_where_there_is_no_solution_it_says_so():
    with pytest.raises(TracingError, match="finds no root from this start"):
        implicit.root(lambda x: x * x + 1)(1.0)
    with pytest.raises(TracingError, match="comes to no fixed point"):
        implicit.fixed_point(lambda x: 2 * x + 1)(1.0)


def test_where_there_is_no_derivative_it_says_so():
    root = implicit.root(lambda x, a: x * x - a, lambda f, x: 0.0)
    with pytest.raises(TracingError, match="singular at the solution"):
        tracer.grad(lambda a: root(1.0, a))(0.0)


def test_a_solution_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="where the start is of shape"):
        implicit.root(lambda x: x, lambda f, x: np.zeros(3))(np.ones(2))


def test_what_is_no_function_or_no_method_is_refused():
    with pytest.raises(TracingError, match="takes a function"):
        implicit.root(3)
    with pytest.raises(TracingError, match="solver is a function"):
        implicit.fixed_point(np.cos, 3)
    with pytest.raises(TracingError, match='linear is one of "dense", "gmres"'):
        implicit.minimum(np.sum, linear="lu")
    with pytest.raises(TracingError, match="starts at arrays of floats"):
        implicit.root(np.sin)("one")
