"""Columns of numbers and words as the page has them."""

import base64
import math

import numpy as np
import pytest

from tracer_render.packing import Words, floats, indices


def unpacked(column):
    if column["type"] == "same":
        return column["data"] - 1
    kind = {"bfloat16": "<u2"}.get(column["type"], column["type"])
    found = np.frombuffer(base64.b64decode(column["data"]), kind)
    if column["type"] == "bfloat16":
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found if "float" in column["type"] else found.astype(int) - 1


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [([-1, 0, 254], "uint8"), ([0, 255], "uint16"), ([-1, 65534], "uint16"), ([0, 65535], "int32")],
)
def test_whole_numbers_have_the_narrowest_type(numbers, kind):
    column = indices(numbers)
    assert column["type"] == kind
    assert unpacked(column).tolist() == numbers


def test_a_column_of_one_number_is_that_number():
    assert indices([7] * 1000) == {"type": "same", "data": 8}
    assert unpacked(indices([-1, -1])) == -1


def test_missing_numbers_and_nan_are_told_apart():
    column = floats([1.5, None, math.nan, math.inf, -math.inf])
    found = unpacked(column)
    assert found[0] == 1.5
    assert np.isnan(found[1:3]).all()
    assert column["nan"] == [2]
    assert found[3:].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("short", [False, True])
def test_what_single_precision_cannot_hold_is_kept_as_it_is(short):
    numbers = [1e300, -1e300, 1e-300, 5e-324, *([1.0, 0.0] * 20)]
    column = floats(numbers, short)
    assert column["exact"] == dict(enumerate(numbers[:4]))
    assert unpacked(column)[4:6].tolist() == [1, 0]


def test_a_column_of_many_such_numbers_is_in_double_precision():
    numbers = [1e300, 1e-300, 1.0, None, math.nan]
    column = floats(numbers)
    assert column["exact"] == {}
    assert unpacked(column)[:3].tolist() == numbers[:3]
    assert column["nan"] == [4]


def test_short_columns_are_right_to_two_digits():
    numbers = [0.0, 1.0, -3.14159, 2.5e-7, 6e20, None, math.nan, math.inf]
    column = floats(numbers, short=True)
    found = unpacked(column)
    np.testing.assert_allclose(found[:5], numbers[:5], rtol=4e-3)
    assert np.isnan(found[5:7]).all()
    assert column["nan"] == [6]
    assert found[7] == math.inf


def test_words_are_kept_once():
    words = Words()
    column = words.column(["a", [2, 3], None, "a", [2, 3], 1, True, "1", [2.0, 3]])
    assert words.finish() == ["a", [2, 3], 1, True, "1", [2.0, 3]]
    assert unpacked(column).tolist() == [0, 1, -1, 0, 1, 2, 3, 4, 5]


def test_words_of_columns_with_few_come_first():
    words = Words()
    many, few = (
        words.column([f"word {i}" for i in range(300)]),
        words.column(["a", None, "b"] * 100),
    )
    table = words.finish()
    assert table[:2] == ["a", "b"]
    assert few["type"] == "uint8"
    assert [table[place] for place in unpacked(many)] == [f"word {i}" for i in range(300)]
