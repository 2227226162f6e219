"""Every quantity of every way to use a parameter, against its definition."""

import numpy as np
import pytest
from brute_force import (
    CURVATURE,
    FIRST_ORDER,
    SAMPLED,
    Problem,
    assert_curvature,
    assert_first_order,
    assert_sampled_agree,
)
from zoo import MODELS, draw


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("name", MODELS)
def test_quantities_equal_their_definitions(name, kind):
    function, parameters, inputs, axes = draw(name, np.random.default_rng(0))
    reduction = "mean" if kind == "squared" else "sum"
    problem = Problem(function, parameters, inputs, axes, kind, reduction)
    results = problem.backward((*CURVATURE, *FIRST_ORDER, *SAMPLED), rng=np.random.default_rng(1))
    assert_first_order(results, problem)
    assert_curvature(results, problem)
    assert_sampled_agree(results, problem)
