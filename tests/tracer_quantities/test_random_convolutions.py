"""Every quantity on networks with a convolution of random geometry, in one to four dimensions."""

import numpy as np
from brute_force import (
    CURVATURE,
    FIRST_ORDER,
    SAMPLED,
    Problem,
    assert_curvature,
    assert_first_order,
    assert_sampled_agree,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hessian import assert_problem
from test_products import assert_products

import tracer


@st.composite
def convolutional_problems(draw):
    """A convolution with bias, a bend, sums over positions, and a linear map; N = 2 or 3."""
    rank, groups = draw(st.integers(1, 4)), draw(st.integers(1, 2))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = each(1, 2), each(1, 2), each(1, 2)
    padding = tuple((draw(st.integers(0, 1)), draw(st.integers(0, 1))) for _ in range(rank))
    size = tuple(
        max(1, d * (k - 1) + 1 - sum(p)) + extra
        for k, p, d, extra in zip(kernel, padding, dilation, each(0, 1), strict=True)
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    inputs, outputs = (groups * draw(st.integers(1, 2)) for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    parameters = {
        "kernel": rng.standard_normal((outputs, inputs // groups, *kernel)),
        "bias": rng.standard_normal(outputs),
        "v": rng.standard_normal((outputs, 2)),
    }
    convolution = tracer.registry.operations["convolution"]

    def model(p, x):
        h = np.tanh(convolution(x[0], p["kernel"], p["bias"], **options))
        return np.sum(h.reshape(*h.shape[:2], -1), axis=-1) @ p["v"]

    x = rng.standard_normal((draw(st.integers(2, 3)), inputs, *size))
    kind = draw(st.sampled_from(["squared", "cross_entropy"]))
    return Problem(
        model, parameters, [x], kind=kind, reduction=draw(st.sampled_from(["mean", "sum"]))
    )


@settings(max_examples=40, derandomize=True)
@given(problem=convolutional_problems())
def test_quantities_of_samples_and_of_the_gauss_newton_matrix(problem):
    results = problem.backward((*FIRST_ORDER, *CURVATURE, *SAMPLED))
    assert_first_order(results, problem)
    assert_curvature(results, problem)
    assert_sampled_agree(results, problem)


@settings(max_examples=25, derandomize=True)
@given(problem=convolutional_problems())
def test_the_hessian_and_products(problem):
    assert_problem(problem)
    assert_products(problem)
