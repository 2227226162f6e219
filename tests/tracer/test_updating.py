"""`tracer.at`, `tracer.r_`, `tracer.c_`: NumPy's values, and the slopes of central differences."""

import operator

import numpy as np
import pytest

import tracer
from tracer.errors import ShapeError
from tracer.testing import agree, numerical_jacobian

RNG = np.random.default_rng(0)
A, ROW, COLUMN = RNG.uniform(0.5, 1.5, (3, 4)), RNG.uniform(0.5, 1.5, 4), RNG.random((3, 1)) + 0.5
MASK = np.array([[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]], bool)
REPEATED = (np.array([0, 2, 0, 0, 2]), np.array([1, 1, 1, 1, 1]))
FIVE = RNG.uniform(0.5, 1.5, 5)

#: method -> what NumPy's writing into an array does
WRITTEN = {
    "set": operator.setitem,
    "add": np.add.at,
    "multiply": np.multiply.at,
    "min": np.minimum.at,
    "max": np.maximum.at,
}
#: what is indexed -> the index and values that fit
INDICES = {
    "an element": ((1, 2), np.array(0.7)),
    "a row": (1, ROW),
    "a number for a row": (-1, np.array(0.9)),
    "slices": ((slice(None, None, 2), slice(1, 3)), COLUMN[:2]),
    "a mask": (MASK, FIVE[:4]),
    "lists": (([0, 2], [1, 3]), FIVE[:2]),
    "repeated": (REPEATED, FIVE),
    "repeated rows": ([1, 1, 0], A[::-1] * 1.1),
    "all": (..., A[::-1] * 1.1),
    "nothing": ([], np.zeros((0, 4))),
}


def updated(how, index):
    return lambda a, values: getattr(tracer.at(a)[index], how)(values)


def check(function, arrays):
    """First and second derivatives of both modes by each argument, and all together."""
    value, pull = tracer.vjp(function, *arrays)
    g = np.random.default_rng(1).standard_normal(value.shape)
    for k, x in enumerate(arrays):

        def of_one(y, k=k):
            return function(*arrays[:k], y, *arrays[k + 1 :])

        slope, _ = numerical_jacobian(of_one, x)
        agree(f"the gradient by {k}", pull(g)[k], np.tensordot(g, slope, g.ndim), 1e-6, 1e-7)
        direction = np.random.default_rng(2).standard_normal(x.shape)
        _, moved = tracer.jvp(of_one, (x,), (direction,))
        agree(f"the jvp by {k}", moved, np.tensordot(slope, direction, x.ndim), 1e-6, 1e-7)

    def scalar(*values):
        return np.sum(np.sin(function(*values)) * g)

    every = tuple(range(len(arrays)))
    for k, x in enumerate(arrays):

        def gradient(y, k=k):
            return tracer.grad(scalar, k)(*arrays[:k], y, *arrays[k + 1 :])

        slope, _ = numerical_jacobian(gradient, x)
        found = tracer.hessian(scalar, every)(*arrays)[k][k]
        agree(f"the Hessian by {k}", found, slope, 1e-5, 1e-6)


@pytest.mark.parametrize("indexed", INDICES)
@pytest.mark.parametrize("how", WRITTEN)
def test_an_update(how, indexed):
    index, values = INDICES[indexed]
    expected = A.copy()
    WRITTEN[how](expected, index, values)
    found = updated(how, index)(A, values)
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    with tracer.Tape():
        traced = updated(how, index)(tracer.parameter(A), tracer.parameter(values))
    np.testing.assert_allclose(traced.data, expected, rtol=1e-15)
    check(updated(how, index), [A, values])


@pytest.mark.parametrize("how", WRITTEN)
def test_an_update_keeps_the_dtype(how):
    single = A.astype(np.float32)
    for values in (2.0, ROW.astype(np.float32)):
        function = updated(how, 1)
        gradient = tracer.grad(lambda a, v=values, f=function: np.sum(f(a, v)))(single)
        assert gradient.dtype == function(single, values).dtype == np.float32
    for values in (np.zeros(4, np.int8) + 100, np.ones(4, bool), ROW.astype(np.float16)):
        gradient = tracer.grad(lambda a, v: np.sum(updated(how, 1)(a, v) ** 2))
        wide, right = gradient(A, values), gradient(A, values.astype(float))
        np.testing.assert_allclose(wide, right, rtol=1e-12)


@pytest.mark.parametrize("how", WRITTEN)
def test_the_samples_of_an_update_are_known_or_each_has_a_row_of_its_own(how):
    x = RNG.uniform(0.5, 1.5, (5, 4))
    w = tracer.parameter(RNG.uniform(0.5, 1.5, 4), name="w")
    with tracer.Tape() as tape:
        batch = tracer.batch(x)
        loss = np.sum(updated(how, (slice(None), [0, 2]))(w * batch, w[:2] * 1.1) ** 2)
    try:
        found = tape.backward(loss, quantities=("grad_batch",))["grad_batch"]["w"]
    except tracer.BatchError:
        return
    for row, sample in zip(found, x, strict=True):

        def of_sample(v, sample=sample):
            return np.sum(updated(how, [0, 2])(v * sample, v[:2] * 1.1) ** 2)

        np.testing.assert_allclose(row, tracer.grad(of_sample)(w.data), rtol=1e-12)


def test_ties_share_and_nothing_is_lost():
    ties = updated("min", [0, 0])
    gradients = tracer.grad(lambda a, v: np.sum(ties(a, v)), (0, 1))(np.ones(2), np.ones(2))
    np.testing.assert_allclose(gradients[0], [1 / 3, 1])
    np.testing.assert_allclose(gradients[1], [1 / 3, 1 / 3])
    zeros = updated("multiply", [0, 0, 0])
    gradients = tracer.grad(lambda a, v: np.sum(zeros(a, v)), (0, 1))(
        np.full(1, 2.0), np.array([3.0, 0.0, 5.0])
    )
    np.testing.assert_allclose(gradients[0], [0.0])
    np.testing.assert_allclose(gradients[1], [0.0, 30.0, 0.0])


def test_an_array_that_is_built_in_a_loop():
    def powers(t):
        a = np.zeros(4)
        for i in range(4):
            a = tracer.at(a)[i].set(t**i)
        return a

    np.testing.assert_allclose(powers(2.0), [1, 2, 4, 8])
    np.testing.assert_allclose(tracer.jacobian(powers)(2.0), [0, 1, 4, 12])
    np.testing.assert_allclose(tracer.jacobian(tracer.jacobian(powers))(2.0), [0, 0, 2, 12])


@pytest.mark.parametrize("how", WRITTEN)
def test_values_that_would_be_cut_off_are_refused(how):
    if how == "add":
        assert tracer.at(np.zeros(3, int))[0].add(0.5).dtype == float
        return
    values = np.array(0.5) if how == "set" else 0.5
    with pytest.raises(ShapeError, match="cut off"):
        getattr(tracer.at(np.zeros(3, int))[0], how)(values)


def test_what_is_assigned_to_says_what_to_write():
    t = tracer.parameter(A)
    for act in (
        lambda: operator.setitem(t, 0, 1.0),
        lambda: operator.setitem(np.zeros(2), 0, t[0, 0]),
        lambda: np.multiply.at(np.ones(2), [0], t[0, 0]),
        lambda: np.put(np.zeros(2), [0], t[0, 0]),
        lambda: t.at,
        lambda: t.itemset,
    ):
        with tracer.Tape(), pytest.raises(Exception) as caught:  # noqa: PT011
            act()
        error = caught.value
        while "tracer.at(" not in str(error):
            error = error.__cause__ or error.__context__


# -- r_ and c_ ----------------------------------------------------------------------------------

PAIR, SQUARE = ROW[:2], A[:2, :2]

#: what is between the brackets
KEYS = {
    "vectors": lambda t, m: (t, t * 2),
    "a vector": lambda t, m: t,
    "numbers": lambda t, m: (t[0], 1, t[1], 2.5),
    "a vector and numbers": lambda t, m: (t, 3.0, 4),
    "nested lists": lambda t, m: ([t[0], 1.0], [2, t[1]]),
    "matrices": lambda t, m: (m, m * 2),
    "a matrix and a vector": lambda t, m: (m, t),
    "a range": lambda t, m: (slice(0, 2), t),
    "a range with steps": lambda t, m: (slice(None, 4, 2), t),
    "points": lambda t, m: (slice(0, 1, 2j), t),
    "an axis": lambda t, m: ("1", m, m),
    "axes": lambda t, m: ("0,2", t, t),
    "axes in front": lambda t, m: ("0,2,0", t, t),
    "axes between": lambda t, m: ("0,3,1", t, m),
    "a range in axes": lambda t, m: ("0,2,0", slice(0, 2), t),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["r_", "c_"])
def test_brackets(name, key):
    of_key, joined = KEYS[key], getattr(tracer, name)
    try:
        expected = getattr(np, name)[of_key_plain(of_key)]
    except ValueError:
        with pytest.raises(ShapeError):
            tracer.vjp(lambda t, m: joined[of_key(t, m)], PAIR, SQUARE)
        return
    np.testing.assert_array_equal(joined[of_key_plain(of_key)], expected)
    value, _ = tracer.vjp(lambda t, m: joined[of_key(t, m)] + 0 * t[0], PAIR, SQUARE)
    np.testing.assert_array_equal(value, expected)
    check(lambda t, m: joined[of_key(t, m)] * 1.0, [PAIR, SQUARE])


def of_key_plain(of_key):
    return of_key(PAIR, SQUARE)


def test_brackets_keep_single_precision():
    t = tracer.parameter(PAIR.astype(np.float32))
    assert tracer.r_[t, 1.0, 2].dtype == np.r_[t.data, 1.0, 2].dtype == np.float32
    assert tracer.r_[t, ROW].dtype == np.float64


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (lambda t: (t, "r"), "comes first"),
        (lambda t: ("r", t), "one to three integers"),
        (lambda t: (slice(t[0], 3),), "plain numbers"),
        (lambda t: (t, ROW[None]), "got"),
        (lambda t: ("0,2,5", t), "from place -2 to 1 on, got 5"),
        (lambda t: ("1,3,-4", t), "from place -3 to 2 on, got -4"),
    ],
)
def test_brackets_that_are_not_taken(key, words):
    with tracer.Tape(), pytest.raises(ShapeError, match=words):
        tracer.r_[key(tracer.parameter(PAIR))]


def test_points_between_tensors():
    slope = tracer.jacobian(lambda t: tracer.r_[t[0] : t[1] : 3j])(PAIR)
    np.testing.assert_allclose(slope, [[1, 0], [0.5, 0.5], [0, 1]])
