"""`tracer.scipy.optimize`: SciPy's solvers with exact derivatives of functions of tensors."""

import numpy as np
import pytest
from scipy import optimize

import tracer
from tracer.errors import TracingError
from tracer.scipy.optimize import brentq, least_squares, minimize, minimize_scalar, root

START = np.array([1.3, 0.7, 0.8, 1.9, 1.2])


def rosenbrock(x, scale=100.0):
    return np.sum(scale * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


GRADIENTS = [None, "CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP"]
PRODUCTS = ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"]
PLAIN = ["Nelder-Mead", "Powell", "COBYLA"]


@pytest.mark.parametrize("method", [*GRADIENTS, *PRODUCTS, "trust-exact", *PLAIN])
def test_methods_get_the_derivatives_that_they_take(method):
    """The same calls as with SciPy's own gradient and Hessian of this function."""
    hands = {}
    if method not in PLAIN:
        hands["jac"] = optimize.rosen_der
    if method in PRODUCTS:
        hands["hessp"] = optimize.rosen_hess_prod
    if method == "trust-exact":
        hands["hess"] = optimize.rosen_hess
    want = optimize.minimize(optimize.rosen, START, method=method, **hands)
    found = minimize(rosenbrock, START, method=method)
    assert type(found.x) is np.ndarray
    assert found.nfev == pytest.approx(want.nfev, abs=5, rel=0.2 if method == "TNC" else 0.01)
    np.testing.assert_allclose(found.x, want.x, atol=1e-3 if method == "TNC" else 1e-5)
    assert found.fun == pytest.approx(want.fun, abs=1e-6)


def test_dogleg_takes_the_hessian():
    found = minimize(lambda x: np.sum(np.cosh(x - 1)), START, method="dogleg")
    np.testing.assert_allclose(found.x, 1, atol=1e-6)
    assert found.nhev > 0


def test_arguments_bounds_and_derivatives_of_ones_own_are_passed():
    found = minimize(rosenbrock, START, (10.0,), bounds=[(0, 0.5)] * 5)
    want = optimize.minimize(rosenbrock, START, (10.0,), bounds=[(0, 0.5)] * 5)
    np.testing.assert_allclose(found.x, want.x, atol=1e-5)
    pairs = []

    def both(x):
        pairs.append(x)
        return tracer.value_and_grad(rosenbrock)(x)

    assert minimize(both, START, jac=True).fun < 1e-10
    assert pairs
    assert minimize(rosenbrock, START, jac=tracer.grad(rosenbrock)).fun < 1e-10
    assert optimize.minimize(tracer.value_and_grad(rosenbrock), START, jac=True).fun < 1e-10


def test_the_start_may_be_nested_and_a_list_is_a_vector():
    def loss(p):
        return rosenbrock(p["a"]) + np.sum((p["b"][0] - 2) ** 2)

    found = minimize(loss, {"a": START, "b": [np.ones((2, 2), np.float32)]})
    np.testing.assert_allclose(found.x["a"], 1, atol=1e-4)
    np.testing.assert_allclose(found.x["b"][0], np.full((2, 2), 2), atol=1e-4)
    assert found.x["b"][0].dtype == np.float32
    assert found.jac["b"][0].shape == (2, 2)
    assert minimize(lambda x: np.sum((x - 3) ** 2), [0.0, 1.0]).x.shape == (2,)


@pytest.mark.parametrize(
    "constraint",
    [
        {"type": "eq", "fun": lambda x, c: np.sum(x) - c, "args": (1.0,)},
        optimize.NonlinearConstraint(lambda x: np.sum(x), 1.0, 1.0),
        optimize.LinearConstraint(np.ones((1, 2)), 1.0, 1.0),
    ],
)
@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constraints_get_their_jacobians(constraint, method):
    found = minimize(lambda x: np.sum((x - 1) ** 4), [3.0, 0.0], method=method,
                     constraints=constraint)  # fmt: skip
    np.testing.assert_allclose(found.x, 0.5, atol=1e-2)
    assert np.sum(found.x) == pytest.approx(1.0)


def test_roots():
    def equations(p, c):
        return {"y": p["x"] ** 2 + p["y"] - 3, "x": np.exp(p["x"]) * c - p["y"]}

    for method in ("hybr", "lm", "krylov"):
        found = root(equations, {"x": np.array(1.0), "y": np.array(1.0)}, (1.0,), method)
        assert found.success
        assert found.x["y"] == pytest.approx(np.exp(found.x["x"]), rel=1e-5)
        assert found.x["x"] ** 2 + found.x["y"] == pytest.approx(3, rel=1e-5)


def test_roots_with_a_jacobian_of_ones_own():
    def circle(x, c):
        return tracer.array([x[0] ** 2 + x[1] ** 2 - c, x[0] - x[1]])

    def slopes(x, c):
        return np.array([[2 * x[0], 2 * x[1]], [1, -1]])

    want = np.full(2, np.sqrt(0.5))
    np.testing.assert_allclose(root(circle, [1.0, 0.5], 1.0, jac=slopes).x, want)
    both = root(lambda x, c: (circle(x, c), slopes(x, c)), [1.0, 0.5], 1.0, jac=True)
    np.testing.assert_allclose(both.x, want)
    squares = least_squares(circle, [1.0, 0.5], slopes, args=(1.0,))
    np.testing.assert_allclose(squares.x, want)


def test_least_squares():
    t = np.linspace(0, 1, 9)

    def residuals(p, t, top=1.0):
        return p["a"] * np.exp(-p["k"] * t) - top * np.exp(-2 * t)

    found = least_squares(residuals, {"a": 1.0, "k": 1.0}, args=(t,), kwargs={"top": 3.0})
    assert found.x["a"] == pytest.approx(3)
    assert found.x["k"] == pytest.approx(2)
    assert found.jac.shape == (9, 2)
    bounded = least_squares(lambda x: x - 3, [1.0], "3-point", bounds=(0, 2))
    assert bounded.x == pytest.approx(2)


def test_functions_of_one_number_may_give_tensors():
    w = tracer.parameter(np.array(2.0), name="w")
    assert brentq(lambda x: x * x - w, 0, 2) == pytest.approx(np.sqrt(2))
    assert brentq(lambda x, c: x * x - c, 0, 2, (3.0,), full_output=True)[1].converged
    assert minimize_scalar(lambda x: (x - w) ** 2).x == pytest.approx(2)
    bounded = minimize_scalar(lambda x: (x - w) ** 2, bounds=(0, 1), method="bounded")
    assert bounded.x == pytest.approx(1, abs=1e-4)


def test_where_a_tape_would_lose_the_derivative_it_is_refused():
    w = tracer.parameter(np.array(2.0), name="w")
    calls = {
        "brentq": lambda: brentq(lambda x: x * x - w, 0, 2),
        "minimize_scalar": lambda: minimize_scalar(lambda x: (x - w) ** 2),
        "minimize": lambda: minimize(lambda x: np.sum((x - w) ** 2), START),
        "root": lambda: root(lambda x, w: x - w, START, (w,)),
        "least_squares": lambda: least_squares(lambda x: x - w, START),
    }
    for name, call in calls.items():
        with tracer.Tape():
            with pytest.raises(TracingError, match=f"^{name} gives plain numbers.*implicit"):
                call()
            with tracer.pause():
                call()
    with tracer.Tape():
        assert minimize(rosenbrock, START).success  # which depends on no tensor
