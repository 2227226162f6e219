"""The gradient's norm at each step of a loop: what vanishes, what explodes, and by how much."""

import numpy as np
import pytest

import tracer
from tracer.errors import GraphError
from tracer.graph.flow import gradient_flow

RNG = np.random.default_rng(0)


def orthogonal(size):
    return np.linalg.qr(RNG.standard_normal((size, size)))[0]


def recur(weight, steps, squash=lambda z: z, state=None):
    """The tape of h <- squash(h W) with a loss on the last state, |h|^2 / 2; and the states."""
    w = tracer.parameter(weight, "w")
    h = tracer.batch(RNG.standard_normal((3, len(weight)))) if state is None else state
    states = []
    with tracer.Tape(watch=True) as tape:
        for _ in tracer.steps(steps):
            h = squash(h @ w)
            states.append(h)
        loss = 0.5 * np.sum(h * h)
    tape.backward(loss)
    return tape, [s.data for s in states]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_linear_loop_scales_the_gradient_by_its_weights_each_step(factor):
    tape, states = recur(factor * orthogonal(4), 30)
    (norms,) = gradient_flow(tape).values()
    last = np.linalg.norm(states[-1])
    np.testing.assert_allclose(norms, last * factor ** (29.0 - np.arange(30)), rtol=1e-12)


@pytest.mark.parametrize(("scale", "grows"), [(0.3, False), (6.0, True)])
def test_a_tanh_loop_near_zero_vanishes_or_explodes(scale, grows):
    small = tracer.batch(1e-12 * RNG.standard_normal((3, 4)))
    weight = scale * orthogonal(4)
    tape, states = recur(weight, 12, np.tanh, small)
    flow = gradient_flow(tape)
    assert list(flow) == ["tanh"]
    expected, g = [np.linalg.norm(states[-1])], states[-1]
    for state in states[:0:-1]:
        g = (g * (1 - state**2)) @ weight.T
        expected.append(np.linalg.norm(g))
    np.testing.assert_allclose(flow["tanh"], expected[::-1], rtol=1e-10)
    ratios = flow["tanh"][:-1] / flow["tanh"][1:]
    assert (ratios > 3).all() if grows else (ratios < 0.31).all()


def test_every_state_has_a_line_and_what_is_not_handed_on_has_none():
    w = tracer.parameter(orthogonal(2), "w")
    h = c = tracer.batch(np.ones((3, 2)))
    with tracer.Tape(watch=True) as tape:
        with tracer.scope("cell"):
            for _ in tracer.steps(4):
                z = np.sin(h @ w)
                c = np.exp(-c) * z
                h = np.tanh(c)
        loss = np.sum(h)
    tape.backward(loss)
    flow = gradient_flow(tape)
    assert list(flow) == ["cell.multiply", "cell.tanh"]
    assert all(norms.shape == (4,) and (norms > 0).all() for norms in flow.values())
    assert flow["cell.tanh"][-1] == pytest.approx(np.sqrt(6))


def test_both_ways_are_told_apart_and_keep_their_positions():
    w = tracer.parameter(0.5 * orthogonal(2), "w")
    x = tracer.batch(np.ones((3, 5, 2)))
    with tracer.Tape(watch=True) as tape:
        ends = []
        for reverse in (False, True):
            h = np.zeros((3, 2))
            for t in tracer.steps(5, reverse=reverse):
                h = x[:, t] + h @ w
            ends.append(h)
        loss = np.sum(ends[0] + ends[1])
    tape.backward(loss)
    flow = gradient_flow(tape)
    assert list(flow) == ["add", "add (reverse)"]
    np.testing.assert_allclose(flow["add"], np.sqrt(6) * 0.5 ** np.arange(4, -1, -1.0))
    np.testing.assert_allclose(flow["add (reverse)"], np.sqrt(6) * 0.5 ** np.arange(5.0))


def test_steps_that_no_gradient_reaches_are_not_numbers():
    w = tracer.parameter(np.array([0.5]), "w")
    h = np.ones(1)
    with tracer.Tape(watch=True) as tape:
        for t in tracer.steps(4):
            h = h * w
            if t == 1:
                kept = h
        loss = np.sum(kept)
    tape.backward(loss)
    (norms,) = gradient_flow(tape).values()
    np.testing.assert_array_equal(norms, [0.5, 1.0, np.nan, np.nan])


def test_a_loop_in_a_loop_has_an_axis_for_each():
    w = tracer.parameter(np.array([2.0]), "w")
    h = np.ones(1)
    with tracer.Tape(watch=True) as tape:
        for _ in tracer.steps(2):
            for _ in tracer.steps(3):
                h = h * w
        loss = np.sum(h)
    tape.backward(loss)
    (norms,) = gradient_flow(tape).values()
    np.testing.assert_allclose(norms, [[32, 16, 8], [4, 2, 1]])


def test_without_recurrence_there_is_no_flow():
    w = tracer.parameter(np.ones(2), "w")
    with tracer.Tape(watch=True) as tape:
        loss = np.sum(np.tanh(w))
    tape.backward(loss)
    assert gradient_flow(tape) == {}


@pytest.mark.parametrize(("watch", "complaint"), [(False, "not watched"), (True, "not swept")])
def test_a_tape_without_norms_says_what_to_do(watch, complaint):
    w = tracer.parameter(np.ones(2), "w")
    with tracer.Tape(watch=watch) as tape:
        np.sum(w)
    with pytest.raises(GraphError, match=rf"{complaint}.*Tape\(watch=True\)"):
        gradient_flow(tape)
