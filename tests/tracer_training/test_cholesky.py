"""Systems of equations that are solved block by block, against those of float64."""

import numpy as np
import pytest

from tracer.errors import TracerError
from tracer_training.curvature.blocks import Block
from tracer_training.curvature.cholesky import BLOCK, cholesky, inverted, is_singular, solved
from tracer_training.curvature.damped import damped

SIZES = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 5]


def factor(size, dtype=np.float64):
    rows = np.random.default_rng(size).normal(size=(size + 9, size))
    return (rows.T @ rows / size + 0.1 * np.eye(size)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, BLOCK - 1, BLOCK, BLOCK + 30])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_solved_is_solved(size, columns, dtype):
    matrix = np.random.default_rng(0).normal(size=(size, columns)).astype(dtype)
    before, whole = matrix.copy(), factor(size, dtype)
    upper = cholesky(whole.copy())
    assert not np.tril(upper, -1).any()
    expected = np.linalg.solve(whole.astype(np.float64), matrix)
    for given in (matrix, np.asfortranarray(matrix)):
        found = solved(upper, given)
        assert found.dtype == dtype
        tolerance = 1e3 * np.finfo(dtype).eps
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
        np.testing.assert_array_equal(given, before)
    inverse = inverted(upper) @ matrix
    np.testing.assert_allclose(inverse, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES)
def test_what_is_not_positive_definite_is_singular(size):
    whole = factor(size)
    assert not is_singular(cholesky(whole.copy()))
    whole[size // 2, size // 2] = -1.0
    assert is_singular(cholesky(whole))


def test_finite_numbers_whose_sum_overflows_are_finite():
    large = np.full((3, 3), 3e38, np.float32)
    assert damped(Block((3, 3), [large]), 1.0, "w").solve(large).dtype == np.float32
    for wrong in (np.inf, -np.inf, np.nan):
        broken = large.copy()
        broken[1, 1] = wrong
        with pytest.raises(TracerError, match="the curvature of 'w' is not finite"):
            damped(Block((3, 3), [broken]), 1.0, "w")
