"""What else is asked of a sweep changes no bit of the gradient: both of its loops are one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.sweep.sweep import Sweep

#: a step makes a tensor `[N, 6]` of the last one, `h`, and the one before, `old`
STEPS = {
    "linear": lambda p, h, old: h @ p["w"],
    "scaled": lambda p, h, old: h * p["g"] + p["b"],
    "residual": lambda p, h, old: old + np.tanh(h),
    "the same twice": lambda p, h, old: (small := np.tanh(h)) * small,
    "slices": lambda p, h, old: np.concatenate([h[:, 3:], old[:, :3]], axis=1) + h[:, ::-1],
    "one by one": lambda p, h, old: np.stack([h[:, i] * old[:, 5 - i] for i in range(6)], axis=1),
    "windows": lambda p, h, old: np.repeat(pooled(nn.functional.relu(h)), 2, axis=1),
    "padded windows": lambda p, h, old: pooled(np.pad(h, [(0, 0), (3, 3)])),
    "a function of parameters": lambda p, h, old: h @ (p["w"].T * np.exp(p["g"])),
}
SHAPES = {"w": (6, 6), "g": (6,), "b": (6,)}


def pooled(h):
    return nn.functional.max_pool1d(h[:, None], 2)[:, 0]


@st.composite
def problems(draw):
    """Steps, values, and which parameters are frozen."""
    steps = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
    frozen = draw(st.sets(st.sampled_from(sorted(SHAPES)), max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values = {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    return steps, frozen, values, rng.standard_normal((4, 6)).astype(dtype)


def recorded(problem, **options):
    """A tape with the loss of a problem, and its parameters."""
    steps, frozen, values, data = problem
    p = {name: tracer.parameter(value, name=name) for name, value in values.items()}
    with tracer.Tape(**options) as tape:
        for name in frozen:
            p[name].requires_grad_(False)
        old = tracer.batch(data)
        h = old @ p["w"] * p["g"] + p["b"]
        for step in steps:
            h, old = STEPS[step](p, h, old), h
        loss = np.mean(np.square(h))
    return tape, loss, p


def same(gradient, others):
    assert gradient.keys() == others.keys()
    for name, value in gradient.items():
        np.testing.assert_array_equal(value, others[name], err_msg=name)


def close(gradient, others):
    """Whether gradients are the same but for the order of sums."""
    assert gradient.keys() == others.keys()
    for name, value in gradient.items():
        rounding = 100 * np.finfo(value.dtype).eps * max(1, np.max(abs(value)))
        np.testing.assert_allclose(
            tracer.extend.raw(others[name]), value, rtol=0, atol=rounding, err_msg=name
        )


@settings(max_examples=25)
@given(problems())
def test_a_sweep_that_is_looked_at_gives_the_same_bits(problem):
    tape, loss, _ = recorded(problem)
    gradient = tape.backward(loss)["grad"]
    for options in ({"watch": True}, {"cotangents": True}):
        tape, loss, _ = recorded(problem, **options)
        same(gradient, tape.backward(loss)["grad"])


@settings(max_examples=25)
@given(problems())
def test_a_sweep_that_is_recorded_gives_the_same_but_for_the_order_of_sums(problem):
    tape, loss, _ = recorded(problem)
    gradient = tape.backward(loss)["grad"]
    with tracer.Tape():  # where entries at an index wait to be put together, and are added last
        tape, loss, _ = recorded(problem)
        close(gradient, tape.backward(loss)["grad"])


@settings(max_examples=25)
@given(problems(), st.data())
def test_some_of_the_parameters_have_the_same_bits(problem, data):
    tape, loss, _ = recorded(problem)
    gradient = tape.backward(loss)["grad"]
    some = data.draw(st.lists(st.sampled_from(sorted(gradient)), min_size=1, unique=True))
    tape, loss, _ = recorded(problem)
    found = tape.backward(loss, parameters=some)["grad"]
    same({name: gradient[name] for name in gradient if name in some}, dict(found))


@settings(max_examples=25)
@given(problems())
def test_gradients_are_the_same_beside_quantities_of_samples(problem):
    tape, loss, _ = recorded(problem)
    gradient = tape.backward(loss)["grad"]
    tape, loss, _ = recorded(problem)
    found = tape.backward(loss, ("grad", "grad_batch"))
    single = problem[-1].dtype == np.float32
    bound = {"rtol": 2e-4, "atol": 1e-4} if single else {"rtol": 1e-9, "atol": 1e-11}
    for name, value in gradient.items():
        np.testing.assert_allclose(found["grad"][name], value, err_msg=name, **bound)
        np.testing.assert_allclose(found["grad_batch"][name].sum(0), value, err_msg=name, **bound)


@pytest.mark.parametrize("asked", ["nothing", "to be looked at"])
def test_which_loop_a_sweep_takes(asked, monkeypatch):
    """Else the tests above would compare one loop with itself."""
    taken = []
    for name in ("_go_back", "_go_back_observed"):
        loop = getattr(Sweep, name)
        monkeypatch.setattr(
            Sweep, name, lambda *given, name=name, loop=loop: taken.append(name) or loop(*given)
        )
    p = tracer.parameter(np.ones(3))
    with tracer.Tape(watch=asked != "nothing") as tape:
        loss = np.sum(p * p)
    tape.backward(loss)
    assert taken == ["_go_back" if asked == "nothing" else "_go_back_observed"]
