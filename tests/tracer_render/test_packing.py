"""Columns of numbers and words as the page has them."""

import base64
import json
import math

import numpy as np
import pytest

from tracer_render.packing import Words, floats, indices


def unpacked(column):
    if column["type"] == "same":
        return column["data"] - 1
    kind = {"bfloat16": "<u2"}.get(column["type"], column["type"])
    found = np.frombuffer(base64.b64decode(column["data"]), kind)
    if "stride" in column:
        return summed(found, column["stride"], column["exact"]) - 1
    if column["type"] == "bfloat16":
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found if "float" in column["type"] else found.astype(int) - 1


def summed(differences, stride, exact):
    column = []
    for place, step in enumerate(differences.tolist()):
        before = column[place - stride] if place >= stride else 0
        column.append(exact.get(place, before + step))
    return np.array(column)


def words_of(table):
    """The words of a table, those of series made of their numbers."""
    words = dict(enumerate(table.words))
    for one in table.series:
        columns = [
            np.broadcast_to(unpacked(column), one["count"]).tolist() for column in one["numbers"]
        ]
        later = {place + one["count"]: word for place, word in words.items() if place >= one["at"]}
        words = {place: word for place, word in words.items() if place < one["at"]} | later
        for place, numbers in enumerate(zip(*columns, strict=True), start=one["at"]):
            texts = [
                f"{number:,}{after}" if comma else f"{number}{after}"
                for number, comma, after in zip(
                    numbers, one["commas"], one["text"][1:], strict=True
                )
            ]
            words[place] = json.loads(one["text"][0] + "".join(texts))
    return [words[place] for place in range(len(words))]


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
    assert words.finish().words == ["a", [2, 3], 1, True, "1", [2.0, 3]]
    assert unpacked(column).tolist() == [0, 1, -1, 0, 1, 2, 3, 4, 5]


def test_words_of_columns_with_few_come_first():
    words = Words()
    many, few = (
        words.column([f"word {i}" for i in range(300)]),
        words.column(["a", None, "b"] * 100),
    )
    table = words_of(words.finish())
    assert table[:2] == ["a", "b"]
    assert few["type"] == "uint8"
    assert [table[place] for place in unpacked(many)] == [f"word {i}" for i in range(300)]


@pytest.mark.parametrize("pattern", [1, 3, 8])
def test_numbers_that_count_up_are_told_by_their_differences(pattern):
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 100_000, pattern)
    numbers = np.concatenate([starts + step for step in range(1000)])
    numbers = np.insert(numbers, 400, [-1, 7, 2**31 - 3])  # after these the pattern begins anew
    column = indices(numbers)
    assert column["type"] == "int8"
    assert column["stride"] == pattern
    assert len(column["exact"]) <= 2 * pattern + 6
    np.testing.assert_array_equal(unpacked(column), numbers)


@pytest.mark.parametrize("most", [3, 300, 70_000, 2**31 - 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 500])
def test_any_whole_numbers_are_read_back(most, count):
    rng = np.random.default_rng(most)
    for numbers in (rng.integers(-1, most, count), np.sort(rng.integers(-1, most, count))):
        column = indices(numbers)
        found = np.broadcast_to(unpacked(column), count)
        np.testing.assert_array_equal(found, numbers)
        assert column["type"] != "int32" or "stride" not in column


SERIES = [
    [f"t = {t:,}" for t in range(3000)],
    [f"getitem[:, {t}]" for t in range(3000)],
    list(range(3000)),
    [[t, 7] for t in range(3000)],
    [["float32, 7", f"call {t + 1} of 3000", "norm 1.05 of all calls"] for t in range(3000)],
    [f'"{t}" <b>\u2207 {t:,}, {t}.</b>' for t in range(3000)],
]


@pytest.mark.parametrize("told", SERIES, ids=[str(each[0]) for each in SERIES])
def test_words_that_differ_in_numbers_are_told_by_these(told):
    words = Words()
    column = words.column([*told, "other", *told[::-1]])
    table = words.finish()
    assert len(table.series) == 1
    assert table.words == ["other"]
    found = words_of(table)
    assert [found[place] for place in unpacked(column)] == [*told, "other", *told[::-1]]


@pytest.mark.parametrize(
    "told",
    [
        [f"{t:04d}" for t in range(2000)],
        [f"{t / 7:.3f}" for t in range(2000)],
        [f"step_{t} x{t}y -{t}.5 {t}e5 v{t}" for t in range(2000)],
        [str(t * 10**7) for t in range(2000)],
        [f"{t:,}" if t % 2 else str(t) for t in range(2000)],
        [f"1,{t},{t:,},5 {t},{t:03d}" for t in range(2000)],
        [f"\\{t} \x07{t} \n{t}" for t in range(2000)],
        [t - 1000 for t in range(2000)],
        [[t, t / 2, None, "a"] for t in range(2000)],
    ],
    ids=str,
)
def test_words_whose_numbers_are_written_otherwise_are_read_back(told):
    words = Words()
    column = words.column(told)
    found = words_of(words.finish())
    assert [found[place] for place in unpacked(column)] == told
