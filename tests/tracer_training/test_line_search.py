"""The line search gives points that fulfil the strong Wolfe conditions, as SciPy states them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer_training.optimizers.line_search import (
    CURVATURE,
    MOST,
    SUFFICIENT,
    Point,
    cubic_minimum,
    strong_wolfe,
)

# what `scipy.optimize.line_search(c1=, c2=)` asks for: f(t) <= f(0) + c1 t f'(0) and
# |f'(t)| <= c2 |f'(0)|
TOLERANCE = 1e-9


def bumpy(weights, steepness, noise, phase):
    """A smooth function of the line that is bounded from below, and its slope; it falls at 0."""

    def at(t):
        loss = steepness * (t - weights) ** 2 + noise * math.sin(phase + 3 * t)
        return loss, 2 * steepness * (t - weights) + 3 * noise * math.cos(phase + 3 * t)

    return at


FUNCTIONS = st.builds(
    bumpy,
    st.floats(0.1, 30),
    st.floats(0.01, 20),
    st.floats(-3, 3),
    st.floats(0, 6.3),
)


@settings(max_examples=300)
@given(FUNCTIONS, st.floats(1e-3, 10))
def test_points_fulfil_both_conditions_unless_all_evaluations_are_used(function, first):
    calls = []

    def at(t):
        calls.append(t)
        loss, slope = function(t)
        return Point(t, loss, np.array([slope]), slope)

    start = at(0.0)
    if start.slope > -1e-3:
        return
    calls.clear()
    found, count = strong_wolfe(at, start, first, 1.0, TOLERANCE)
    assert count == len(calls)
    loss, slope = function(found.t)
    assert (found.loss, found.slope) == (loss, slope)
    assert found.loss <= start.loss
    if count <= MOST:
        assert found.loss <= start.loss + SUFFICIENT * found.t * start.slope
        assert abs(found.slope) <= CURVATURE * abs(start.slope)


@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(-3, -0.1), st.floats(3.1, 8))
def test_the_minimum_of_a_parabola_is_found_at_once(centre, steepness, left, right):
    def at(t):
        return Point(t, steepness * (t - centre) ** 2, np.zeros(1), 2 * steepness * (t - centre))

    found = cubic_minimum(at(left), at(right), left, right)
    assert found == pytest.approx(min(max(centre, left), right), rel=1e-6, abs=1e-6)


def test_steps_of_lbfgs_fulfil_the_conditions_on_a_network():
    """SciPy's line search accepts the point that a step went to."""
    optimize = pytest.importorskip("scipy.optimize")
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x = np.random.default_rng(0).standard_normal((20, 5))
    optimizer = training.LBFGS(model.parameters(), max_iter=1, line_search_fn="strong_wolfe")
    parameters = list(model.parameters())

    def closure():
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), np.arange(20) % 3)
        return tape.backward(loss, optimizer.quantities)

    def at(vector):
        start = 0
        for p in parameters:
            p.data = vector[start : start + p.size].reshape(p.shape)
            start += p.size
        results = closure()
        return float(results["loss"]), np.concatenate(
            [results["grad"][p].reshape(-1) for p in parameters]
        )

    def vector():
        return np.concatenate([p.data.reshape(-1) for p in parameters])

    for _ in range(5):
        before = vector()
        optimizer.step(closure(), closure)
        after = vector()
        (loss, gradient), (new_loss, new_gradient) = at(before), at(after)
        step = after - before
        slope, new_slope = gradient @ step, new_gradient @ step
        assert new_loss <= loss + SUFFICIENT * slope
        assert abs(new_slope) <= CURVATURE * abs(slope)
        accepted = optimize.line_search(
            lambda v: at(v)[0], lambda v: at(v)[1], before, step, c1=SUFFICIENT, c2=CURVATURE
        )
        assert accepted[0] == pytest.approx(1.0)  # the step itself is taken
        at(after)
