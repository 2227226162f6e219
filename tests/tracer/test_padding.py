"""Padding with constants: `np.pad`'s values, in the order in memory of what is padded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
from tracer.registry import operations


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_values_are_those_of_numpy(data):
    shape = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    width = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in shape]
    order = data.draw(st.permutations(range(len(shape))))
    dtype = data.draw(st.sampled_from(["f4", "f8", "f2", "i8", "?"]))
    x = np.random.default_rng(0).integers(0, 9, [shape[i] for i in order]).astype(dtype)
    x = np.transpose(x, np.argsort(order))
    out = operations["pad"](x, width=tuple(width), mode="constant")
    expected = np.pad(x, width)
    np.testing.assert_array_equal(out, expected)
    assert out.dtype == expected.dtype


@pytest.mark.parametrize("samples", [2, 40])
def test_channels_beside_each_other_stay_so(samples):
    x = np.random.default_rng(0).random((samples, 30, 30, 16)).transpose(0, 3, 1, 2)
    out = np.pad(tracer.parameter(x), ((0, 0), (0, 0), (1, 0), (0, 2))).data
    assert out.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(out, np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2))))
