"""What `backward` gives is the caller's own: written into, it changes nothing else."""

import numpy as np
import pytest

import tracer
from tracer.arrays.ownership import unaliased

RNG = np.random.default_rng(0)


def _copied(make):
    """Whether `own` gives a copy of the array made."""
    held = [make()]
    before = id(held[0])
    return id(unaliased(held)) != before


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros((3, 4)),
        lambda: np.zeros((3, 4)).reshape(4, 3),
        lambda: np.zeros((1, 3))[0],
        lambda: np.zeros((3, 4)).T,
    ],
)
def test_fresh_memory_is_kept(make):
    assert not _copied(make)


def test_all_is_copied_where_references_are_not_counted_so(monkeypatch):
    """As an interpreter might that borrows some of them."""
    monkeypatch.setattr("tracer.arrays.ownership._COUNTED", False)
    assert _copied(lambda: np.zeros((3, 4)))


OWNER = np.zeros((4, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: OWNER,
        lambda: OWNER[1:],
        lambda: OWNER.reshape(16),
        lambda: np.zeros(6)[:3],  # half of it would be kept in vain
        lambda: np.broadcast_to(np.zeros(3), (2, 3)),
        lambda: np.frombuffer(bytearray(16)),
    ],
)
def test_memory_of_others_is_copied(make):
    assert _copied(make)


def test_of_two_views_one_is_copied():
    first, second = [
        [view] for view in (lambda owner: (owner[:], owner.reshape(2, 2)))(np.zeros(4))
    ]
    first[0] = unaliased(first)
    assert not np.may_share_memory(first[0], second[0])
    before = id(second[0])
    assert id(unaliased(second)) == before


def test_a_copy_has_the_same_values():
    owner = RNG.random((3, 4))
    found = unaliased([owner.T])
    np.testing.assert_array_equal(found, owner.T)
    assert not np.may_share_memory(found, owner)


@pytest.mark.parametrize("value", [None, 2.0, (1, 2)])
def test_other_values_stay(value):
    assert unaliased([value]) is value


@tracer.operation("doubled_by_a_constant")
class Constant(tracer.Operation):
    """`sum(x * c)`, whose rule gives the constant itself."""

    linear_in = (0,)

    def forward(x, c):
        return np.sum(x * c)

    def vjp(node, g):
        return node.inputs[1][None], None


def _parameters(*shapes):
    arrays = [RNG.random(shape) for shape in shapes]
    return arrays, [tracer.parameter(a, f"p{i}") for i, a in enumerate(arrays)]


def test_two_terms_of_a_sum_get_gradients_apart():
    _, (a, b, c) = _parameters((3,), (3,), (3, 1))
    with tracer.Tape() as tape:
        loss = np.sum(np.exp(a + b + c.reshape(3)))
    grad = tape.backward(loss)["grad"]
    expected = grad["p1"].copy()
    grad["p0"] *= 0
    np.testing.assert_array_equal(grad["p1"], expected)
    np.testing.assert_array_equal(grad["p2"], expected[:, None])


def test_a_constant_of_the_program_is_not_given_away():
    _, (x,) = _parameters((3,))
    c = RNG.random(3)
    before = c.copy()
    with tracer.Tape() as tape:
        loss = Constant(x, c)
    tape.backward(loss)["grad"]["p0"][...] = 0
    np.testing.assert_array_equal(c, before)


def test_gradients_lie_in_c_order():
    """So that an update of the parameter reads both in the same order."""
    _, (w,) = _parameters((2, 3))
    with tracer.Tape() as tape:
        loss = np.sum(np.square(w.T @ RNG.random((2, 3))))
    assert tape.backward(loss)["grad"]["p0"].flags.c_contiguous


def test_gradients_of_samples_are_apart_where_biases_share_a_cotangent():
    _, (w, a, b) = _parameters((2, 3), (3,), (3,))
    with tracer.Tape() as tape:
        x = tracer.batch(RNG.random((4, 2)))
        loss = np.sum(np.square(x @ w + a + b))
    found = tape.backward(loss, ["grad", "grad_batch"])
    expected = found["grad_batch"]["p2"].copy()
    found["grad_batch"]["p1"] += 1
    found["grad"]["p2"] += 1
    np.testing.assert_array_equal(found["grad_batch"]["p2"], expected)


@pytest.mark.parametrize("quantity", ["grad", "grad_batch"])
def test_what_reduce_writes_into_reaches_nothing_else(quantity):
    """It is called while the sweep still goes on, with cotangents that pass by."""
    _, (w, a, b) = _parameters((2, 3), (3,), (3,))
    x = RNG.random((4, 2))

    def found(reduce):
        with tracer.Tape() as tape:
            loss = np.sum(np.square(np.tanh(tracer.batch(x) @ w + a) + b))
        return tape.backward(loss, [quantity], reduce=reduce)[quantity]

    def emptied(name, value):
        kept = value.copy()
        value[...] = 0
        return kept

    expected, values = found({}), found({quantity: emptied})
    for name in ("p0", "p1", "p2"):
        np.testing.assert_array_equal(values[name], expected[name])


@pytest.mark.parametrize(
    "use", [lambda w: np.sum(w**3), lambda w: np.sum((tracer.batch(np.ones((2, 2))) * w) ** 3)]
)
def test_what_a_quantity_reads_is_not_written_into(use):
    class Clipped(tracer.Quantity):
        name = "clipped"
        needs_samples = False

        def extract(self, cotangent, context):
            made = cotangent.total()
            return np.clip(made, -3, 3, out=made)

    class Doubled(Clipped):
        name = "doubled"

        def extract(self, cotangent, context):
            return cotangent.total()

        def finish(self, state, context):
            state *= 2
            return state[0]

    w = tracer.parameter(np.array([1.0, 2.0]), name="w")
    with tracer.Tape() as tape:
        loss = use(w)
    expected = tape.backward(loss)["grad"]["w"]
    results = tape.backward(loss, ("grad", Doubled()))
    np.testing.assert_array_equal(results["grad"]["w"], expected)
    np.testing.assert_array_equal(results["doubled"]["w"], 2 * expected)
    with pytest.raises(tracer.TracingError, match=r"extract of 'clipped' writes into .* for w"):
        tape.backward(loss, ("grad", Clipped()))
