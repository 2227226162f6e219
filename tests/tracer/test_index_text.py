"""What an operation that selects is told to select, in its node's `index`."""

import numpy as np
import pytest

import tracer

ROWS, COLS = np.array([0, 2]), np.array([1, 1])


def index_of(select, time="unrolled"):
    """The `index` of what is recorded by `select(x)`, x [3, 4, 2]."""
    with tracer.Tape() as tape:
        x = tracer.parameter(np.arange(24.0).reshape(3, 4, 2), name="x")
        np.sum(select(x))
    (found,) = [data["index"] for _, data in tape.graph(time=time).nodes(data=True)
                if "index" in data]  # fmt: skip
    return found


def named(x):
    rows, cols = ROWS, COLS
    return x[rows, cols]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (lambda x: x[:, 0], [":", "0"]),
        (lambda x: x[1], ["1"]),
        (lambda x: x[-1, ::2], ["-1", "::2"]),
        (lambda x: x[1:, ..., None], ["1:", "...", "None"]),
        (lambda x: x[:2, 1:3:2], [":2", "1:3:2"]),
        (lambda x: x[x.data > 3], ["mask"]),
        (lambda x: x[ROWS], ["ROWS"]),
        (lambda x: x[[0, 2]], ["ints[2]"]),
        (lambda x: x[:, [[0], [2]]], [":", "ints[2,1]"]),
        (named, ["rows", "cols"]),
        (lambda x: x[np.int64(1), np.array(2)], ["1", "2"]),
        (lambda x: np.diagonal(x), ["diagonal"]),
        (lambda x: x[tracer.batch(ROWS, name="tokens")], ["tokens"]),
        (lambda x: x[:, tracer.batch(ROWS, name="tokens")], [":", "tokens"]),
    ],
)
def test_an_index_is_told_as_it_is_written(select, expected):
    assert index_of(select) == expected


def test_a_mask_of_samples_is_one_entry():
    def select(x):
        y = tracer.batch(x.data[0]) * np.sum(x)
        return y[y > 3]

    assert index_of(select) == ["mask"]


def test_copies_in_time_are_told_from_the_first_to_the_last():
    def select(x):
        return sum(x[:, t] for t in tracer.steps(4))

    assert index_of(select, "folded") == [":", "0 … 3"]
