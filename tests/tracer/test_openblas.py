"""Products added in place by NumPy's OpenBLAS: in any layout, and where there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.arrays import openblas
from tracer.arrays.openblas import add_product, function

LAYOUTS = {
    "rows": lambda m: m,
    "columns": lambda m: np.asfortranarray(m),
    "part of rows": lambda m: np.concatenate([m, m], 1)[:, : m.shape[1]],
    "every other column": lambda m: np.repeat(m, 2, 1)[:, ::2],
    "backward": lambda m: m[::-1].copy()[::-1],
    "one row for all": lambda m: np.broadcast_to(m[:1], m.shape),
}
HAS_OPENBLAS = function("openblas_get_num_threads") is not None


@given(
    sizes=st.tuples(*(st.integers(0, 5),) * 3),
    layouts=st.tuples(*(st.sampled_from(sorted(LAYOUTS)),) * 2),
    dtype=st.sampled_from([np.float32, np.float64, np.complex128, np.int64]),
)
def test_a_product_is_added_in_every_layout(sizes, layouts, dtype):
    """Whole numbers have the same products in any order."""
    rows, inner, columns = sizes
    rng = np.random.default_rng(0)
    a, b = (
        LAYOUTS[layout](rng.integers(-9, 9, shape).astype(dtype))
        for layout, shape in zip(layouts, ((rows, inner), (inner, columns)), strict=True)
    )
    out = rng.integers(-9, 9, (rows, columns)).astype(dtype)
    expected = out + a @ b
    add_product(out, a, b)
    np.testing.assert_array_equal(out, expected)


def test_what_is_added_to_may_be_part_of_an_array():
    whole = np.ones((3, 4, 6))
    a, b = np.arange(8.0).reshape(4, 2), np.arange(12.0).reshape(2, 6)
    for part in (whole[1], whole[0, :, ::-1]):
        add_product(part, a, b)
        np.testing.assert_array_equal(part, 1 + a @ b)
    np.testing.assert_array_equal(whole[2], 1)


@pytest.mark.skipif(not HAS_OPENBLAS, reason="NumPy has another library here")
def test_openblas_adds_it_where_it_can(monkeypatch):
    added = []
    monkeypatch.setattr(openblas, "_gemm", lambda dtype: lambda *arguments: added.append(dtype))
    for dtype in (np.float32, np.float64):
        add_product(np.ones((4, 6), dtype), np.ones((4, 3), dtype), np.ones((6, 3), dtype).T)
    assert added == [np.float32, np.float64]


def test_shapes_that_do_not_fit_are_refused():
    for shapes in (((2, 2), (2, 3), (2, 2)), ((2, 2), (3, 2), (2, 2)), ((2, 2), (2, 2), (3, 2))):
        with pytest.raises(ValueError, match=r"broadcast|mismatch"):
            add_product(*map(np.ones, shapes))


def test_numbers_of_the_other_byte_order():
    out = np.ones((2, 2), np.dtype(float).newbyteorder())
    add_product(out, out.copy(), out.copy())
    np.testing.assert_array_equal(out, 3)


def test_another_library_needs_no_openblas(monkeypatch):
    monkeypatch.setattr(openblas, "_gemm", lambda dtype: None)
    out = np.ones((2, 2))
    add_product(out, np.eye(2), np.arange(4.0).reshape(2, 2))
    np.testing.assert_array_equal(out, [[1, 2], [3, 4]])


def test_functions_that_are_not_there_are_none():
    assert function("no_function_of_this_name") is None
