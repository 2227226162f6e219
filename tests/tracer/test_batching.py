"""Where the samples are: axes that are followed, and constants that have one without a mark."""

import tracemalloc

import numpy as np
import pytest

import tracer
from tracer import Tape
from tracer.record.axes import LabelledAxis, MergedAxis, OfOne, position_of, samples_of
from tracer.record.following import follow

SAMPLES, FEATURES, HIDDEN, STEPS = 3, 2, 4, 5
EVERY = ("grad", "grad_batch", "batch_l2", "diag_ggn_exact", "diag_h", "kflr")


def parameters(rng, hidden):
    shapes = {"w": (FEATURES, hidden), "u": (hidden, hidden), "b": (hidden,)}
    return {name: tracer.parameter(rng.standard_normal(s), name) for name, s in shapes.items()}


def recurrence(first, hidden, seed=0):
    """A loop from the state `first`, and its parameters."""
    rng = np.random.default_rng(seed)
    p = parameters(rng, hidden)
    x = rng.standard_normal((STEPS, SAMPLES, FEATURES))
    with Tape() as tape:
        x, h = tracer.batch(x, axis=1), first(rng.standard_normal((SAMPLES, hidden)))
        for t in tracer.steps(STEPS):
            h = np.tanh(x[t] @ p["w"] + h @ p["u"] + p["b"])
        loss = tracer.registry.operations["squared_error"](h, np.zeros(h.shape)).sum()
    return tape, loss


@pytest.mark.parametrize("hidden", [HIDDEN, SAMPLES], ids=["distinct sizes", "hidden as samples"])
def test_a_loop_may_start_from_a_constant_that_nobody_marked(hidden):
    values = [
        tape.backward(loss, EVERY)
        for tape, loss in (recurrence(lambda h: h, hidden), recurrence(tracer.batch, hidden))
    ]
    for name in EVERY:
        for parameter, value in values[0][name].items():
            pairs = [(value, values[1][name][parameter])]
            if name == "kflr":
                pairs = list(zip(*(v.factors for v in pairs[0]), strict=True))
            for got, expected in pairs:
                np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=f"{name} {parameter}")


def test_constants_are_found_behind_several_operations():
    w = tracer.parameter(np.ones((4, 4)))
    with Tape() as tape:
        x = tracer.batch(np.ones((3, 4)))
        behind = np.tanh((np.ones((2, 3)).T[:, :1] * np.ones(4)) @ w) * 2
        y = x + behind
    batch = follow(tape.recorded())
    assert batch.axes[behind.node] == 0
    assert batch.axes[y.node] == 0
    assert len(batch.given) == 1


def test_a_constant_of_as_many_rows_is_left_alone_where_it_is_contracted():
    """A factor of a weight has no samples, though its size be theirs."""
    w = tracer.parameter(np.ones((3, 4)))
    with Tape() as tape:
        x = tracer.batch(np.ones((3, 3)))
        y = x @ (np.ones((3, 3)) @ w)
    batch = follow(tape.recorded())
    assert batch.given == {}
    assert batch.axes[y.node] == 0


@pytest.mark.parametrize(
    ("index", "axis"),
    [
        (np.s_[2], 0),
        (np.s_[:, :, 1], 1),
        (np.s_[None, ..., 0], 2),
        (np.s_[1:3, :, ::2], 1),
        (np.s_[..., None, :], 1),
        (np.s_[-1, :3], 0),
    ],
)
def test_the_axis_is_followed_through_basic_indices(index, axis):
    w = tracer.parameter(np.ones(4))
    with Tape() as tape:
        x = tracer.batch(np.ones((5, 3, 4)), axis=1) * w
        y = x[index]
    assert follow(tape.recorded()).axes[y.node] == axis


@pytest.mark.parametrize(
    ("index", "samples"),
    [
        (np.s_[:, :2], [0, 1]),
        (np.s_[:, ::-1], [2, 1, 0]),
        (np.s_[:, [1, 1, 0]], [1, 1, 0]),
        (np.s_[:, np.array([True, False, True])], [0, 2]),
    ],
)
def test_an_index_into_the_samples_says_which_they_are(index, samples):
    w = tracer.parameter(np.ones(4))
    with Tape() as tape:
        x = tracer.batch(np.ones((5, 3, 4)), axis=1) * w
        y = np.tanh(x[index])
    axis = follow(tape.recorded()).axes[y.node]
    assert position_of(axis) == 1
    assert samples_of(axis, len(samples)).tolist() == samples


def test_one_row_is_of_its_sample():
    w = tracer.parameter(np.ones(4))
    with Tape() as tape:
        x = tracer.batch(np.ones((5, 3, 4)), axis=1) * w
        y = np.tanh(x[:, 1])
    assert follow(tape.recorded()).axes[y.node] == OfOne(1)


def test_reading_a_sequence_step_by_step_adds_in_place():
    """The sweep holds the sequence's cotangent once, however many steps read it."""
    steps, width = 300, 64
    p = tracer.parameter(np.ones(width), name="p")
    with Tape() as tape:
        x = np.ones((steps, 8, width)) * p
        h = x[0]
        for t in range(1, steps):
            h = h * 0.5 + x[t]
        loss = h.sum()
    tracemalloc.start()
    value = tape.backward(loss)["grad"]["p"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(value, 8 * (2 - 0.5 ** (steps - 1)), rtol=1e-12)
    assert peak < 2.5 * 8 * steps * 8 * width  # 8 bytes; the product with p takes one more


def test_a_grouped_axis_is_an_index_of_shapes_and_no_number():
    labels = np.array([1, 0, 1])
    for axis in (MergedAxis(1, 2, 3), LabelledAxis(1, labels, 2)):
        assert (4, 5)[axis] == 5
        assert axis == axis.moved(1)
        assert axis != axis.moved(0)
        assert axis.moved(0).position == 0
        assert axis != 1
        with pytest.raises(TypeError):
            axis + 1
    assert LabelledAxis(0, labels, 2) != LabelledAxis(0, labels[::-1] * 0, 2)


@pytest.mark.parametrize("order", [None, [2, 0, 1, 1]], ids=["merged", "labelled"])
def test_rules_are_given_positions_whosever_the_entries_are(order):
    """Neither of an operation nor of what reaches its parameter need they be told more."""
    seen = []

    @tracer.operation("scaled rows")
    class Scaled(tracer.Operation):
        saves = ("inputs",)

        def forward(x, w):
            return x * w

        def vjp(node, g):
            x, w = node.inputs
            return g * w, g * x

        def batch_axis(node, axes):
            seen.extend(axes)
            return axes[0] + 0

        def parameter_cotangent(node, slot, g):
            seen.extend([node.batch_axis, *node.batch_axes])
            right = tracer.samples_first(g * node.inputs[0], node.batch_axis, lead=1)
            return tracer.Summed(right[:, :, None])

    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    w = tracer.parameter(np.ones(2), name="w")
    with Tape() as tape:
        one_each = tracer.batch(x) * 1.0
        entries = one_each.reshape(12, 2) if order is None else one_each[order, 0]
        y = Scaled(entries, w)
        loss = np.sum(y * y)
    value = tape.backward(loss, "grad_batch")["grad_batch"]["w"]
    assert {type(axis) for axis in seen} == {int, type(None)}
    squares = 2 * (x**2 if order is None else x[:, :1] ** 2)
    uses = np.ones(4) if order is None else np.bincount(order, minlength=4)
    np.testing.assert_allclose(value, squares.sum(1) * uses[:, None], rtol=1e-12)


def test_matrices_chosen_for_each_sample_by_plain_indices_are_of_that_sample():
    """Their first axis is that of the samples, though nothing marks it: no axis of groups."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((3, 2, 5)), rng.standard_normal((4, 6, 5))
    chosen = rng.integers(0, 4, (3, 2))

    def gradients(x, chosen):
        w = tracer.parameter(weight, "w")
        with tracer.Tape() as tape:
            batch = tracer.batch(x)
            loss = np.sum(np.square(np.matmul(w[chosen], batch[..., None])))
        return tape.backward(loss, ("grad_batch",))["grad_batch"]["w"]

    together = gradients(x, chosen)
    for i in range(3):
        np.testing.assert_allclose(together[i], gradients(x[i : i + 1], chosen[i : i + 1])[0])
