"""Copies and pickles of tensors: new leaves, or an error where a history would be cut off."""

import copy
import pickle

import numpy as np
import pytest

import tracer
from tracer.errors import TracingError

WAYS = [
    copy.deepcopy,
    lambda x: pickle.loads(pickle.dumps(x)),
    lambda x: pickle.loads(pickle.dumps(x, 0)),
]


@pytest.mark.parametrize("way", [*WAYS, copy.copy])
def test_a_copy_of_a_parameter_is_a_leaf_of_its_own(way):
    p = tracer.parameter(np.array([1.0, 2.0]), name="p")
    q = way(p)
    assert q is not p
    assert q.node is not p.node
    assert (q.name, q.dtype, q.is_parameter) == ("p", np.float64, True)
    np.testing.assert_array_equal(q.data, p.data)
    with tracer.Tape() as tape:
        loss = np.sum(q * q)
    assert tape.backward(loss)["grad"]["p"].tolist() == [2.0, 4.0]
    if way is not copy.copy:
        p.data[0] = 9.0
        assert q.data[0] == 1.0


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_batches_constants_and_frozen_parameters(way):
    b = way(tracer.batch(np.ones((3, 2)), 1, name="b"))
    assert (b.name, b.node.params["axis"], b.node.wants) == ("b", 1, False)
    assert way(tracer.parameter([1.0]).detach()).node is None
    frozen = tracer.parameter([1.0])
    frozen.requires_grad_(False)
    assert way(frozen).is_parameter
    assert not way(frozen).requires_grad


def test_a_leaf_that_is_held_twice_is_one_in_the_copy():
    p = tracer.parameter([1.0])
    for first, second in (copy.deepcopy([p, p]), pickle.loads(pickle.dumps([p, p]))):
        assert first is second


@pytest.mark.parametrize("way", WAYS)
def test_a_recorded_tensor_is_not_cut_off_in_silence(way):
    p = tracer.parameter([1.0, 2.0], name="p")
    with tracer.Tape() as tape:
        square = p * p
        with pytest.raises(TracingError, match=r"multiply.*part of a trace.*tensor.copy\(\)"):
            way(square)
        loss = np.sum(copy.copy(square) + square.copy())
    assert tape.backward(loss)["grad"]["p"].tolist() == [4.0, 8.0]
    with pytest.raises(TracingError, match="part of a trace"):
        way({"loss": [loss]})
    assert way(loss.detach()).item() == loss.item()


@pytest.mark.parametrize("way", WAYS)
def test_neither_is_what_a_transform_differentiates_by(way):
    def f(parameters):
        return np.sum(way(parameters)["w"] ** 2)

    w = np.array([1.0, 2.0])
    for transform in (tracer.grad, tracer.jacobian, tracer.hessian):
        with pytest.raises(TracingError, match="part of a trace"):
            transform(f)({"w": w})
    with pytest.raises(TracingError, match="part of a trace"):
        tracer.jvp(f, ({"w": w},), ({"w": w},))
    shallow = tracer.grad(lambda p: np.sum(copy.copy(p)["w"] * copy.copy(p["w"])))({"w": w})
    np.testing.assert_array_equal(shallow["w"], 2 * w)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_parameter_is_a_copy_of_the_array(order):
    w = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    p = tracer.parameter(w)
    assert p.data.flags[f"{order}_CONTIGUOUS"]
    w[...] = 7
    assert p.data.sum() == 15
    p.data[0, 0] = 3
    assert w[0, 0] == 7
    q = tracer.parameter(p)
    q.data[...] = 0
    assert p.data[0, 0] == 3
    broadcast = tracer.parameter(np.broadcast_to(1.0, (2, 2)))
    broadcast.data[0, 0] = 5
    assert broadcast.tolist() == [[5, 1], [1, 1]]
