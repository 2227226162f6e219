"""Gradients among results are clipped, to a norm or element by element."""

import math

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracerError


def results(dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = {"w": (3, 4), "b": (3,), "s": ()}
    return {"grad": {k: np.asarray(rng.standard_normal(s), dtype) for k, s in shapes.items()}}


def flat(results):
    return np.concatenate([np.reshape(g, -1) for g in results["grad"].values()])


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("most", [0.1, 1e6])
def test_the_norm_is_bounded_and_the_direction_kept(order, most):
    before, clipped = flat(results()), results()
    norm = nn.utils.clip_grad_norm_(clipped, most, order)
    expected = (
        abs(before).max() if order == math.inf else (abs(before) ** order).sum() ** (1 / order)
    )
    assert float(norm) == pytest.approx(expected)
    factor = min(1, most / (expected + 1e-6))
    np.testing.assert_allclose(flat(clipped), factor * before, rtol=1e-12)


def test_elements_are_bounded():
    clipped = results(np.float32)
    nn.utils.clip_grad_value_(clipped, 0.3)
    np.testing.assert_array_equal(flat(clipped), np.clip(flat(results(np.float32)), -0.3, 0.3))
    assert {g.dtype for g in clipped["grad"].values()} == {np.dtype(np.float32)}


def test_the_results_of_a_sweep_are_changed_by_name_and_tensor():
    model = nn.Linear(2, 2)
    with tracer.Tape() as tape:
        loss = (100 * model(np.ones((1, 2), np.float32))).sum()
    found = tape.backward(loss)
    nn.utils.clip_grad_norm_(found, 1.0)
    assert np.linalg.norm(flat(found)) == pytest.approx(1, rel=1e-5)
    assert found["grad"][model.weight] is found["grad"]["weight"]


def test_a_mapping_of_parameters_to_gradients_is_changed_in_place():
    clipped = results()["grad"]
    before = dict(clipped)
    nn.utils.clip_grad_norm_(clipped, 0.1)
    assert all(clipped[name] is array for name, array in before.items() if array.ndim)
    assert np.linalg.norm(flat({"grad": clipped})) == pytest.approx(0.1, rel=1e-4)


def test_half_precision_has_norms_and_factors_that_it_does_not_hold():
    """Its squares end at 256, and its factors at 6e-8."""
    clipped = {"grad": {"w": np.full(10_000, 1000, np.float16)}}
    norm = nn.utils.clip_grad_norm_(clipped, 0.01)
    assert float(norm) == pytest.approx(1e5)
    assert clipped["grad"]["w"].dtype == np.float16
    np.testing.assert_allclose(clipped["grad"]["w"], 1e-4, rtol=1e-3)


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_gradients_of_nothing_have_no_norm(order):
    assert nn.utils.clip_grad_norm_({"grad": {}}, 1.0, order) == 0
    assert nn.utils.clip_grad_norm_({"grad": {"w": np.zeros((0, 3))}}, 1.0, order) == 0
    assert nn.utils.clip_grad_norm_({}, 1.0, order) == 0


def test_mistakes():
    model = nn.Linear(2, 2)
    with pytest.raises(TracerError, match="since parameters keep none, got a "):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with pytest.raises(TracerError, match="these are of 'kfac'"):
        nn.utils.clip_grad_value_({"kfac": {}}, 1.0)
    for order in (0, -1, math.nan):
        with pytest.raises(TracerError, match="norm_type is a positive number or"):
            nn.utils.clip_grad_norm_(results(), 1.0, order)
    bad = results()
    bad["grad"]["b"][0] = np.nan
    with pytest.raises(TracerError, match="the norm of the gradient is nan"):
        nn.utils.clip_grad_norm_(bad, 1.0, error_if_nonfinite=True)


def test_the_norm_is_taken_and_used_apart():
    before, clipped = flat(results()), results()
    norm = nn.utils.get_total_norm(clipped, 3.0)
    assert float(norm) == pytest.approx((abs(before) ** 3).sum() ** (1 / 3))
    assert float(nn.utils.get_total_norm(clipped["grad"].values(), 3.0)) == float(norm)
    nn.utils.clip_grads_with_norm_(clipped, 0.5, norm)
    np.testing.assert_allclose(flat(clipped), before * 0.5 / (norm + 1e-6), rtol=1e-12)
    with pytest.raises(TracerError, match="the norm of the gradient is nan"):
        nn.utils.get_total_norm([np.array([math.nan])], error_if_nonfinite=True)
