"""Every quantity on random programs: parameters reused, transformed, transposed, in any order."""

import numpy as np
import pytest
from brute_force import (
    CURVATURE,
    FIRST_ORDER,
    Problem,
    assert_close,
    assert_curvature,
    assert_first_order,
    draw_target,
    hessian_root,
    plain_loss,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tracer

D = 3

#: ways to make a matrix of the parameters `w`, `a`, `s`
MATRICES = {
    "w": lambda p: p["w"],
    "transposed": lambda p: p["w"].T,
    "scaled": lambda p: p["w"] * p["s"],
    "normalised": lambda p: p["w"] / np.linalg.norm(p["w"], axis=0),
    "factored": lambda p: p["a"] @ p["a"].T,
    "sum": lambda p: p["w"] + p["a"] @ p["a"].T,
    "reversed": lambda p: p["w"][::-1, ::-1],
    "columns": lambda p: np.concatenate([p["a"], p["w"][:, :1]], axis=1),
    "rolled": lambda p: np.roll(p["w"], 1, axis=1),
}

#: ways to go on from a hidden tensor `[N, ..., D]`, given a matrix
STEPS = {
    "linear": lambda h, m, p: h @ m,
    "tanh": lambda h, m, p: np.tanh(h @ m + p["b"]),
    "residual": lambda h, m, p: h + np.sin(h @ m),
    "gate": lambda h, m, p: h * tracer.expit(h @ m),
    "scale": lambda h, m, p: h * p["b"] - np.sum(p["s"]),
    "einsum": lambda h, m, p: np.einsum("...i,oi->...o", h, m),
    "norm": lambda h, m, p: h / np.sqrt(1 + np.sum(h * h, axis=-1, keepdims=True)),
    "flip": lambda h, m, p: h[..., ::-1] @ m,
    "twice": lambda h, m, p: np.tanh(h @ m) @ m,
    "maximum": lambda h, m, p: np.maximum(h @ m, 0.1 * h),
}


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    program=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(sorted(MATRICES))),
        min_size=1,
        max_size=4,
    ),
    positions=st.sampled_from([0, 2]),
    axis=st.sampled_from([0, 1]),
    kind=st.sampled_from(["squared", "cross_entropy"]),
    budget=st.sampled_from([None, 300]),
)
@example(  # probabilities within 1e-13 of 1
    seed=964,
    program=[("residual", "sum"), ("linear", "sum"), ("flip", "factored")],
    positions=0,
    axis=0,
    kind="cross_entropy",
    budget=None,
)
@example(
    seed=964,
    program=[("scale", "rolled"), ("flip", "columns"), ("flip", "sum"), ("flip", "reversed")],
    positions=0,
    axis=0,
    kind="cross_entropy",
    budget=None,
)
def test_random_programs(seed, program, positions, axis, kind, budget):
    rng = np.random.default_rng(seed)
    parameters = {
        "w": rng.standard_normal((D, D)),
        "a": rng.standard_normal((D, 2)),
        "s": rng.uniform(0.5, 1.5, (1, D)),
        "b": rng.standard_normal(D),
    }
    shape = [4, positions, D] if positions else [4, D]

    def model(p, given):
        h = np.moveaxis(given[0], axis, 0)
        for step, matrix in program:
            h = STEPS[step](h, MATRICES[matrix](p), p)
        h = h.mean(axis=1) if positions else h
        return h * p["s"] + p["b"] @ p["w"] + np.sum(p["a"], axis=1)

    x = np.moveaxis(rng.standard_normal(shape), 0, axis)
    problem = Problem(model, parameters, [x], [axis], kind)
    results = problem.backward((*FIRST_ORDER, *CURVATURE), memory_budget=budget)
    assert_first_order(results, problem, rtol=1e-7)
    assert_curvature(results, problem, rtol=1e-7)


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 2)])
def test_roots_of_the_reference_are_those_of_the_hessian(kind, shape):
    rng = np.random.default_rng(0)
    output, target = rng.standard_normal(shape), draw_target(kind, shape, rng)
    root = hessian_root(kind, output).reshape(-1, output.size)
    hessian = tracer.hessian(lambda f: plain_loss(kind, f, target))(output)
    assert_close(root.T @ root, hessian.reshape(output.size, -1), kind, rtol=1e-12)
