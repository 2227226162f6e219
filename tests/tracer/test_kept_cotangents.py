"""`tape.cotangents`: the derivative of the loss by every recorded tensor."""

import gc
import weakref

import numpy as np
import pytest

import tracer
import tracer_layers as nn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3))
W = tracer.parameter(RNG.standard_normal((3, 3)), name="w")
B = tracer.parameter(RNG.standard_normal(3), name="b")
V = tracer.parameter(RNG.standard_normal((3, 2)), name="v")
Y = np.array([0, 1, 1, 0])


def mlp(see):
    hidden = see("hidden", np.tanh(see("sum", tracer.batch(X) @ W + B)))
    return nn.cross_entropy(see("out", hidden @ V), Y)


def shared_weight(see):
    turned = see("turned", W.T)
    scaled = see("scaled", turned * 0.5)
    first = see("first", np.tanh(tracer.batch(X) @ scaled))
    return nn.cross_entropy(see("second", first @ scaled), Y)


def loop(see):
    h = np.zeros((4, 3))
    for t in tracer.steps(3):
        h = see(f"h{t}", np.tanh(tracer.batch(X) + h @ W))
    return nn.cross_entropy(h @ V, Y)


def indexed(see):
    h = see("h", tracer.batch(X) @ W)
    rows = h[:, [2, 0, 0]]
    rows += see("column", h[:, :1])
    rows *= 2.0
    rows = see("rows", rows)
    joined = see("joined", np.concatenate([rows, h[:, 1:2]], axis=1))
    return nn.cross_entropy(joined, Y)


def unbatched(see):
    norm = see("norm", np.sum(W * W))
    return see("scaled", nn.cross_entropy(tracer.batch(X) @ (W / norm), Y)) + 0.1 * norm


MODELS = [mlp, shared_weight, loop, indexed, unbatched]
BESIDE = [("grad", "grad_batch", "diag_ggn_exact"), ("batch_l2", "grad"), ("diag_h", "grad")]


def numerical(model, name, value):
    """Central differences of the loss by the tensor called `name`, shifted where it is computed."""
    gradient = np.zeros_like(value)

    def loss(shift):
        with tracer.Tape():
            return model(lambda n, t: t + shift if n == name else t).item()

    for index in np.ndindex(value.shape):
        shift = np.zeros_like(value)
        shift[index] = 1e-5
        gradient[index] = (loss(shift) - loss(-shift)) / 2e-5
    return gradient


def recorded(model):
    seen = {}
    with tracer.Tape(cotangents=True) as tape:
        loss = model(seen.setdefault)
    return tape, loss, seen


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_cotangents_are_derivatives_by_each_tensor(model):
    tape, loss, seen = recorded(model)
    values = {name: t.data.copy() for name, t in seen.items()}
    tape.backward(loss)
    for name, t in seen.items():
        found = tape.cotangents[t]
        assert type(found) is np.ndarray
        assert found.shape == t.shape
        np.testing.assert_allclose(
            found, numerical(model, name, values[name]), rtol=1e-6, atol=1e-9, err_msg=name
        )


@pytest.mark.filterwarnings("ignore:Gauss-Newton quantities leave out")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("quantities", BESIDE, ids="+".join)
def test_they_are_the_same_whatever_else_is_asked_for(model, quantities):
    tape, loss, seen = recorded(model)
    tape.backward(loss)
    alone = {name: tape.cotangents[t] for name, t in seen.items()}
    results = tape.backward(loss, quantities, memory_budget=2**20)
    for name, t in seen.items():
        np.testing.assert_allclose(
            tape.cotangents[t], alone[name], rtol=1e-12, atol=1e-15, err_msg=name
        )
    for parameter in (W, B, V):
        if parameter in results["grad"]:
            kept, given = tape.cotangents[parameter], results["grad"][parameter]
            np.testing.assert_allclose(kept, given, rtol=1e-12)
            assert not np.shares_memory(kept, given)


def test_a_tensor_that_was_changed_in_place_is_what_it_became():
    with tracer.Tape(cotangents=True) as tape:
        h = W * 3.0
        before = h
        h += 1.0
        loss = np.sum(h * h)
    tape.backward(loss)
    np.testing.assert_allclose(tape.cotangents[before], 2 * h.data)


def test_the_last_sweep_counts_and_earlier_ones_stay_as_they_were():
    with tracer.Tape(cotangents=True) as tape:
        h = np.sin(W)
        first, second = np.sum(h), np.sum(h * 3.0)
    tape.backward(first)
    kept = tape.cotangents
    tape.backward(second)
    np.testing.assert_array_equal(tape.cotangents[h], np.full((3, 3), 3.0))
    np.testing.assert_array_equal(kept[h], np.ones((3, 3)))
    tape.backward(first, "grad")
    np.testing.assert_array_equal(tape.cotangents[h], np.ones((3, 3)))


def test_what_the_loss_does_not_depend_on_has_zeros():
    with tracer.Tape(cotangents=True) as tape:
        beside = np.exp(B)
        loss = np.sum(W * W)
        after = loss * 2.0
    tape.backward(loss)
    np.testing.assert_array_equal(tape.cotangents[beside], np.zeros(3))
    np.testing.assert_array_equal(tape.cotangents[B], np.zeros(3))
    assert tape.cotangents[after] == 0
    assert tape.cotangents[loss] == 1
    assert beside in tape.cotangents


def test_cotangents_have_the_dtype_of_their_tensor():
    with tracer.Tape(cotangents=True) as tape:
        w = tracer.parameter(np.ones((2, 2), np.float16))
        h = w * 2
        loss = np.sum(h)
    tape.backward(loss)
    assert tape.cotangents[h].dtype == tape.cotangents[w].dtype == np.float16


def test_recurrent_layers_keep_those_of_what_they_return():
    layer = nn.LSTM(3, 2).double()
    with tracer.Tape(cotangents=True) as tape:
        output, _ = layer(RNG.standard_normal((5, 4, 3)))
        loss = np.sum(output * output)
    results = tape.backward(loss)
    np.testing.assert_allclose(tape.cotangents[output], 2 * output.data)
    for parameter in layer.parameters():
        np.testing.assert_allclose(tape.cotangents[parameter], results["grad"][parameter])


def test_inside_of_another_tape_they_are_differentiated_again():
    w = tracer.parameter(np.array([0.3, -0.2]), name="w")
    with tracer.Tape() as outer:
        with tracer.Tape(cotangents=True) as inner:
            h = w * w
            loss = np.sum(np.sin(h))
        inner.backward(loss)
        arrived = inner.cotangents[h]
        total = np.sum(arrived)  # cos(w^2)
    gradient = outer.backward(total)["grad"][w]
    np.testing.assert_allclose(arrived.data, np.cos(w.data**2))
    np.testing.assert_allclose(gradient, -np.sin(w.data**2) * 2 * w.data)


def test_an_outer_tape_has_those_of_what_an_inner_one_recorded():
    with tracer.Tape(cotangents=True) as outer:
        with tracer.Tape():
            h = W * 2.0
        loss = np.sum(h * h)
    outer.backward(loss)
    np.testing.assert_allclose(outer.cotangents[h], 2 * h.data)


def test_a_parameter_that_was_frozen_since_has_its_cotangent():
    w = tracer.parameter(np.ones(2))
    with tracer.Tape(cotangents=True) as tape:
        loss = np.sum(w * 3.0)
    tape.backward(loss)
    w.requires_grad_(False)
    np.testing.assert_array_equal(tape.cotangents[w], [3.0, 3.0])


# -- what is refused -------------------------------------------------------------------------------


def test_what_was_not_asked_for_says_how():
    with tracer.Tape() as tape:
        loss = np.sum(W)
    tape.backward(loss)
    with pytest.raises(tracer.TracingError, match=r"tracer.Tape\(cotangents=True\)"):
        _ = tape.cotangents


@pytest.mark.parametrize("quantities", [None, ("batch_l2",)])
def test_without_a_sweep_for_the_gradient_there_are_none(quantities):
    with tracer.Tape(cotangents=True) as tape:
        loss = np.sum(tracer.batch(X) @ W)
    if quantities is not None:
        tape.backward(loss, quantities)
    with pytest.raises(tracer.TracingError, match=r"backward\(loss\)"):
        _ = tape.cotangents


def test_keys_that_have_none_say_why():
    x = tracer.batch(X, name="x")
    with tracer.Tape(cotangents=True) as tape:
        h = x @ W
        left_out = np.sin(B)
        loss = np.sum(h) + np.sum(left_out)
        constant = h.detach()
    tape.backward(loss, parameters=W)
    for key, words in [
        (x, "wants no gradient"),
        ("w", "found by their tensor"),
        (X, rf"found by their tensor, .* and not by {X.dtype}\[[0-9, ]+\]: keep the tensor"),
        (constant, "wants no gradient|is a constant"),
        (V, "was not recorded on this tape"),
        (left_out, "left out of the sweep by parameters="),
    ]:
        assert key not in tape.cotangents
        with pytest.raises(tracer.TracingError, match=words):
            tape.cotangents[key]


def test_a_sweep_that_fails_leaves_those_before():
    with tracer.Tape(cotangents=True) as tape:
        h = np.sin(W)
        loss = np.sum(h)
    tape.backward(loss)
    with pytest.raises(ZeroDivisionError):
        tape.backward(loss, reduce={"grad": lambda name, value: 1 / 0})
    np.testing.assert_array_equal(tape.cotangents[h], np.ones((3, 3)))


def test_a_tape_that_keeps_them_is_freed_by_reference_counting():
    gc.disable()
    try:
        with tracer.Tape(cotangents=True) as tape:
            loss = np.sum(W * 2.0)
        tape.backward(loss)
        assert tape.cotangents[loss] == 1
        freed = weakref.ref(tape)
        del tape, loss
        assert freed() is None
    finally:
        gc.enable()
