"""`tracer.scipy.integrate`: SciPy's numbers, and derivatives by all that they depend on."""

import tracemalloc

import numpy as np
import pytest
from scipy import integrate

import tracer
import tracer_layers as nn
from tracer.arrays.trees import flatten
from tracer.errors import TracingError
from tracer.scipy.integrate import (
    cumulative_trapezoid,
    odeint,
    quad,
    simpson,
    solve_ivp,
    trapezoid,
)
from tracer.testing import check_gradients

EXACT = {"rtol": 1e-10, "atol": 1e-10}
P = {"k": np.array([1.0, 2.0]), "c": np.array(0.3)}
Y0, TIMES = np.array([1.0, 0.2]), np.array([0.0, 0.5, 0.7, 2.0])


def pendulum(t, y, p):
    """A damped pendulum that is pushed."""
    turn = y[1] * p["k"][0]
    return tracer.array([turn, -p["k"][1] * np.sin(y[0]) - p["c"] * y[1] + np.cos(t)])


def assert_close(found, want, tolerance):
    for one, other in zip(flatten(found)[0], flatten(want)[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# -- the adjoint equation --------------------------------------------------------------------------


def test_values_are_those_of_scipy():
    plain = integrate.odeint(pendulum, Y0, TIMES, (P,), tfirst=True)
    assert (odeint(pendulum, Y0, TIMES, (P,), tfirst=True) == plain).all()
    y0 = tracer.parameter(Y0, name="y0")
    with tracer.Tape():
        recorded = odeint(lambda y, t, p: pendulum(t, y, p), y0, TIMES, (P,))
        values, info = odeint(pendulum, y0, TIMES, (P,), tfirst=True, full_output=True)
    assert (recorded.data == plain).all()
    assert (values.data == plain).all()
    assert info["message"] == "Integration successful."
    for method in ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"):
        for times in (None, TIMES, [0.5]):
            want = integrate.solve_ivp(pendulum, (0, 2), Y0, method, times, args=(P,))
            with tracer.Tape():
                found = solve_ivp(pendulum, (0, 2), y0, method, times, args=(P,))
            np.testing.assert_array_equal(tracer.asnumpy(found.t), want.t)
            np.testing.assert_array_equal(found.y.data, want.y)
            assert found.nfev == want.nfev
            assert found.success


def test_odeint_has_derivatives_by_start_times_and_parameters():
    def solution(y0, t, p):
        return odeint(pendulum, y0, t, (p,), tfirst=True, **EXACT)

    check_gradients(solution, order=1, rtol=1e-5)(Y0, TIMES, P)
    check_gradients(solution, order=2, modes=["reverse"], rtol=1e-4)(Y0, TIMES, P)


@pytest.mark.slow
def test_odeint_has_second_derivatives_by_all_modes():
    def solution(y0, t, p):
        return odeint(pendulum, y0, t, (p,), tfirst=True, **EXACT)

    check_gradients(solution, order=2, rtol=1e-4)(Y0, TIMES, P)


def test_a_closed_form_of_second_order():
    """y' = -k y: y = y0 exp(-k (t - t0))."""

    def end(y0, k, t):
        return odeint(lambda y, t: -k * y, y0, t, **EXACT)[-1, 0]

    exact = lambda y0, k, t: y0 * np.exp(-k * (t[1] - t[0]))  # noqa: E731
    at = (np.array(1.5), np.array(0.7), np.array([0.2, 1.7]))
    for derivative in (tracer.grad, tracer.hessian):
        found, want = (derivative(f, (0, 1, 2))(*at) for f in (end, exact))
        assert_close(found, want, 1e-7)


def steps(method, gradient, **options):
    def at_times(y0, t, p):
        return solve_ivp(pendulum, (0, 2), y0, method, t, args=(p,), gradient=gradient, **options).y

    def at_end(y0, span, p):
        found = solve_ivp(pendulum, span, y0, method, args=(p,), gradient=gradient, **options)
        return found.y[:, -1]

    return {"times": (at_times, TIMES[:3]), "span": (at_end, np.array([0.1, 1.3]))}


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853"])
@pytest.mark.parametrize("which", ["times", "span"])
def test_adjoint_and_direct_derivatives_agree(method, which):
    exact = {"rtol": 1e-8, "atol": 1e-8} if method == "RK23" else EXACT
    function, at = steps(method, "adjoint", **exact)[which]
    other, _ = steps(method, "direct", **exact)[which]
    found = tracer.jacobian(function, (0, 1, 2))(Y0, at, P)
    assert_close(found, tracer.jacobian(other, (0, 1, 2))(Y0, at, P), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Radau", "BDF", "LSODA"])
def test_implicit_methods_have_the_derivatives_of_explicit_ones(method):
    exact = {"rtol": 1e-8, "atol": 1e-8}
    function, at = steps(method, "adjoint", **exact)["times"]
    other, _ = steps("DOP853", "adjoint", **EXACT)["times"]
    found = tracer.jacobian(function, (0, 1, 2))(Y0, at, P)
    assert_close(found, tracer.jacobian(other, (0, 1, 2))(Y0, at, P), 2e-6)


def test_backward_in_time_and_vectorized_right_sides():
    def end(y0, gradient):
        found = solve_ivp(
            lambda t, y: -y * np.array([[1.0], [2.0]]) * t, (1.0, 0.0), y0, t_eval=[0.5, 0.0],
            vectorized=True, gradient=gradient, **EXACT,
        )  # fmt: skip
        return found.y

    want = np.exp(np.array([[0.375, 0.5], [0.75, 1.0]]))
    for gradient in ("adjoint", "direct"):
        np.testing.assert_allclose(end(Y0, gradient), want * Y0[:, None], rtol=1e-8)
        found = tracer.jacobian(lambda y0, how=gradient: end(y0, how))(Y0)
        np.testing.assert_allclose(found[0, :, 0], want[0], rtol=1e-7)
        np.testing.assert_allclose(found[1, :, 1], want[1], rtol=1e-7)


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853"])
def test_recorded_steps_are_those_of_scipy(method):
    y0 = tracer.parameter(Y0, name="y0")
    for times in (None, TIMES):
        want = integrate.solve_ivp(pendulum, (0, 2), Y0, method, times, args=(P,))
        with tracer.Tape():
            found = solve_ivp(pendulum, (0, 2), y0, method, times, args=(P,), gradient="direct")
        np.testing.assert_allclose(found.y.data, want.y, rtol=1e-12)
    coarse = {"first_step": 0.5, "max_step": 0.5, "rtol": 1e3, "atol": 1e3}  # equal steps
    function, at = steps(method, "direct", **coarse)["times"]
    check_gradients(lambda y0, p: function(y0, at, p), order=2)(Y0, P)


def neural(gradient, method="RK45", rebind=True):
    """A neural equation (Chen et al. 2018); its parameters are around the right side."""
    tracer.seed(0)
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    y0 = tracer.parameter(Y0, name="y0")
    with tracer.Tape() as tape:
        found = solve_ivp(
            lambda t, y: net(y[None])[0] * np.cos(t), (0, 1.0), y0, method, [0.5, 1.0],
            rtol=1e-9, atol=1e-9, gradient=gradient,
        )  # fmt: skip
        loss = np.sum(found.y**2)
    for p in net.parameters():
        p.data = p.data * 3
    first, second = (tape.backward(loss)["grad"] for _ in range(2))
    assert_close(dict(first), dict(second), 1e-12)
    return dict(first)


@pytest.mark.parametrize("method", ["RK45", "LSODA"])
def test_parameters_of_a_model_around_the_equation_have_gradients(method):
    """Those of what was computed, though the parameters are others by then."""
    found = neural("adjoint", method)
    assert len(found) == 5
    assert_close(found, neural("direct"), 1e-7)


def test_the_adjoint_takes_no_memory_for_steps():
    def peak(end, gradient):
        k = tracer.parameter(np.linspace(1, 2, 50), name="k")
        tracemalloc.start()
        with tracer.Tape() as tape:
            found = solve_ivp(lambda t, y: -k * y * np.cos(9 * t), (0, end), np.ones(50),
                              t_eval=[end], gradient=gradient)  # fmt: skip
            loss = np.sum(found.y)
        tape.backward(loss)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(0.1, "adjoint"), peak(0.1, "direct")  # what is loaded once
    assert peak(16.0, "adjoint") < 2 * peak(4.0, "adjoint")
    assert peak(16.0, "direct") > 2.5 * peak(4.0, "direct")


def test_what_has_no_derivatives_is_refused_by_name():
    def solve(y0=Y0, **options):
        return solve_ivp(lambda t, y: -y, (0, 1), y0, **options)

    y0 = tracer.parameter(Y0, name="y0")
    assert solve(events=lambda t, y: y[0] - 0.5).t_events[0] == pytest.approx(np.log(2), rel=1e-2)
    assert solve(dense_output=True).sol(0.5).shape == (2,)
    with tracer.Tape():
        with pytest.raises(TracingError, match=r"gives events no derivatives.*implicit.root"):
            solve(y0, events=lambda t, y: y[0] - 0.5)
        with pytest.raises(TracingError, match=r"no dense output.*t_eval="):
            solve(y0, dense_output=True)
        with pytest.raises(TracingError, match="records the steps of RK23, RK45, DOP853"):
            solve(y0, method="BDF", gradient="direct")
        with pytest.raises(TracingError, match='"adjoint" or "direct"'):
            solve(y0, gradient="forward")
        with pytest.raises(TracingError, match="complex numbers"):
            solve(np.ones(2, complex))


def test_the_time_of_an_event_is_a_root():
    """Where y = 1 exp(-k t) comes to 0.5: t = log(2) / k."""

    def time(k):
        def height(t):
            return odeint(lambda y, s: -k * y, [1.0], tracer.array([0.0, t]), **EXACT)[-1, 0] - 0.5

        return tracer.implicit.root(height)(0.5)

    assert time(2.0) == pytest.approx(np.log(2) / 2)
    assert tracer.grad(time)(2.0) == pytest.approx(-np.log(2) / 4)
    assert tracer.grad(tracer.grad(time))(2.0) == pytest.approx(np.log(2) / 4, rel=1e-5)


def test_parameters_used_at_some_times_alone_count_or_are_asked_for_as_arguments():
    def end(k, m=1.0):
        def slope(y, t):
            return -k * y if 0.4 < t < 0.6 else -y * m

        return odeint(slope, [1.0], [0.0, 1.0], hmax=0.05)[-1, 0]

    slopes = tracer.grad(end)(2.0)
    assert slopes == pytest.approx(-0.2 * end(2.0), rel=1e-4)
    with pytest.raises(TracingError, match="did not take where it was recorded: give it as an arg"):
        tracer.grad(end, (0, 1))(2.0, 1.0)


# -- integrals of functions ------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_quad_has_derivatives_by_limits_and_parameters(order):
    def integral(a, b, p):
        return quad(
            lambda x, p: np.exp(-p["a"] * x**2) * np.cos(p["b"][0] * x) + p["b"][1] * x, a, b, (p,)
        )[0]

    p = {"a": np.array(0.7), "b": np.array([1.0, 2.0])}
    check_gradients(integral, order=order)(np.array(0.1), np.array(2.0), p)


def test_quad_over_all_numbers_with_a_parameter_around():
    def gauss(a):
        return quad(lambda x: np.exp(-a * x * x), -np.inf, np.inf)[0]

    exact = lambda a: np.sqrt(np.pi / a)  # noqa: E731
    for derivative in (tracer.grad, tracer.hessian, lambda f: tracer.grad(tracer.hessian(f))):
        assert derivative(gauss)(2.0) == pytest.approx(derivative(exact)(2.0), rel=1e-7)


def test_quad_of_plain_numbers_is_that_of_scipy():
    assert quad(np.exp, 0, 1) == integrate.quad(np.exp, 0, 1)
    assert quad(lambda x, a: a * x, 0, 1, args=3.0, full_output=True)[0] == 1.5
    a = tracer.parameter(np.array(2.0), name="a")
    with tracer.Tape() as tape:
        value, error = quad(lambda x: np.exp(-a * x), 0, 1)
    assert (float(value), error) == integrate.quad(lambda x: np.exp(-2 * x), 0, 1)
    a.data = np.array(5.0)
    want = (3 * np.exp(-2) - 1) / 4
    assert tape.backward(value)["grad"]["a"] == pytest.approx(want)
    assert tape.backward(value)["grad"]["a"] == pytest.approx(want)
    with tracer.Tape(), pytest.raises(TracingError, match="no derivatives with weight="):
        quad(lambda x: a * x, 0, 1, weight="cos", wvar=2)


def test_functions_are_called_where_they_are_defined():
    """The right side is not where the start has gone by, the integrand not at its pole."""

    def end(k):
        def slope(y, t):
            assert t <= y[0] + 0.1
            return k + 0 * y

        return odeint(slope, [0.01], [0.0, 1.0])[-1, 0]

    assert tracer.grad(end)(2.0) == pytest.approx(1.0)

    def pole(a):
        return quad(lambda x: a / np.sqrt(np.abs(x)), -1, 1, points=[0.0])[0]

    assert tracer.grad(pole)(3.0) == pytest.approx(4.0)


# -- integrals of samples --------------------------------------------------------------------------

SAMPLED = {f.__name__: f for f in (trapezoid, simpson, cumulative_trapezoid)}


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("n", range(2, 8))
def test_samples_are_integrated_as_by_scipy(name, n):
    rng = np.random.default_rng(n)
    y = rng.random((3, n, 2))
    x, each = np.cumsum(0.3 + rng.random(n)), np.cumsum(0.3 + rng.random((3, n, 2)), axis=1)
    ours, theirs = SAMPLED[name], getattr(integrate, name)
    ties = np.repeat(x[::2], 2)[:n]
    for options in ({}, {"dx": 0.3}, {"x": x}, {"x": each}, {"x": ties}):
        np.testing.assert_allclose(ours(y, axis=1, **options), theirs(y, axis=1, **options))
    np.testing.assert_allclose(ours(y[:, :, 0].tolist()), theirs(y[:, :, 0].tolist()))
    check_gradients(lambda y, x: ours(y, x=x, axis=1))(y, each)
    check_gradients(lambda y, x: ours(y, x=x, axis=-2))(y, x)
    if name == "cumulative_trapezoid":
        want = theirs(y, x, axis=1, initial=0)
        np.testing.assert_allclose(ours(y, x, axis=1, initial=0), want)
