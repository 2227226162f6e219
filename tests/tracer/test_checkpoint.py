"""Recomputation: the same derivatives and quantities, and less held on the way."""

import math
import tracemalloc

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracingError

SIZE = 100_000


def waves(x):
    for _ in range(8):
        x = np.sin(x) * 1.01
    return x


def chain(x, wrap, count=10):
    for _ in range(count):
        x = wrap(waves)(x)
    return np.sum(x)


def plain(function):
    return function


def in_pairs(function):
    """Twice, by blocks within a block."""
    inner = tracer.checkpoint(function)
    return tracer.checkpoint(lambda x: inner(inner(x)))


def peak(wrap, count):
    """Bytes held by the record, the most in the sweep, and the gradient, in arrays of the input."""
    tracemalloc.start()
    x = tracer.parameter(np.random.default_rng(0).random(SIZE), name="x")
    with tracer.Tape() as tape:
        loss = chain(x, wrap, count)
    held = tracemalloc.get_traced_memory()[0]
    gradient = tape.backward(loss)["grad"]["x"]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tape.backward(loss)["grad"]["x"] == gradient).all()
    return held / x.nbytes, most / x.nbytes, gradient


def test_a_chain_of_blocks_holds_their_inputs_and_the_values_of_one():
    held, most, gradient = peak(plain, 10)
    assert held > 160
    assert most > 160
    fewer, less, same = peak(tracer.checkpoint, 10)
    assert fewer < 12  # one for each of 10 blocks, and x
    assert less < 12 + 20  # and 16 of one block
    assert (gradient == same).all()
    fewer, less, same = peak(in_pairs, 5)
    assert fewer < 8
    assert less < 8 + 22
    assert (gradient == same).all()


def test_derivatives_of_every_order_and_mode_are_the_same_bits():
    x = np.random.default_rng(1).random(5)
    with_, without = (
        lambda x: chain(x, in_pairs, 2),
        lambda x: chain(x, plain, 4),
    )

    def steep(f):
        return lambda x: np.sum(tracer.grad(f)(x) ** 2)

    for of in (
        lambda f: tracer.grad(f)(x),
        lambda f: tracer.jvp(f, (x,), (2 * x,))[1],
        lambda f: tracer.hvp(f)(x, 1 - x),
        lambda f: tracer.hessian(f)(x),
        lambda f: tracer.grad(steep(f))(x),
        lambda f: tracer.hessian(steep(f))(x),
    ):
        assert (of(with_) == of(without)).all()


def test_a_block_may_be_all_that_is_in_another():
    whole = tracer.checkpoint(tracer.checkpoint(waves))
    x = np.arange(3.0)
    for f in (whole, tracer.checkpoint(lambda x: whole(whole(x)))):
        found = tracer.grad(lambda x, f=f: np.sum(f(x) ** 2))(x)
        same = waves if f is whole else lambda x: waves(waves(x))
        expected = tracer.grad(lambda x, same=same: np.sum(same(x) ** 2))(x)
        np.testing.assert_array_equal(found, expected)


def test_results_and_arguments_may_be_nested_and_numbers():
    @tracer.checkpoint
    def f(p, *, scale):
        return {"sum": np.sin(p["w"]) * scale, "rest": (p["b"], 3)}

    out = f({"w": np.ones(2), "b": 1.0}, scale=2)
    assert out["rest"] == (1.0, 3)
    gradient = tracer.grad(lambda p: np.sum(f(p, scale=2.0)["sum"] * p["b"]))
    found = gradient({"w": np.ones(2), "b": 3.0})
    np.testing.assert_allclose(found["w"], 6 * np.cos(np.ones(2)))
    np.testing.assert_allclose(found["b"], 4 * np.sin(1))


def test_values_that_leave_a_block_beside_its_result_have_their_derivatives():
    left = []

    def f(x):
        left.append(np.sin(x))
        return np.exp(left[-1])

    def g(x):
        tracer.checkpoint(f)(x)
        return np.sum(np.exp(left[-1]))

    x = np.arange(3.0)
    np.testing.assert_allclose(tracer.grad(g)(x), np.cos(x) * np.exp(np.sin(x)))


def test_tensors_from_around_are_given_to_a_block():
    def f(x):
        y = x + x  # whose value no rule reads
        return np.sum(tracer.checkpoint(lambda x: np.sin(y) * np.cos(x))(x))

    x = np.arange(3.0)
    want = 2 * np.cos(2 * x) * np.cos(x) - np.sin(2 * x) * np.sin(x)
    np.testing.assert_allclose(tracer.grad(f)(x), want)


class Net(nn.Module):
    def __init__(self, wrap, recurrent=False):
        super().__init__()
        width = 6
        self.first = nn.Linear(4, width)
        self.blocks = nn.ModuleList([
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.3)),
            nn.Sequential(nn.Linear(width, width), nn.Sigmoid()),
        ])  # fmt: skip
        self.last = nn.Linear(width, 3)
        self.wrap = wrap

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = self.wrap(block)(x)
        return self.last(x)


def quantities(wrap, names, loss=nn.cross_entropy):
    tracer.seed(0)
    model, rng = Net(wrap).double(), np.random.default_rng(2)
    x, y = rng.standard_normal((5, 4)), rng.integers(0, 3, 5)
    with tracer.Tape() as tape:
        value = loss(model(x), y)
    found = tape.backward(value, names, rng=np.random.default_rng(3), undefined="raise")
    return found, tape, value


QUANTITIES = sorted(tracer.registry.load_plugins() or tracer.registry.quantities)


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_is_the_same(name):
    want, *_ = quantities(plain, (name,))
    for loss in (nn.cross_entropy, tracer.checkpoint(nn.cross_entropy)):
        found, tape, value = quantities(tracer.checkpoint, (name,), loss)
        again = tape.backward(value, (name,), rng=np.random.default_rng(3))
        for results in (found, again):
            assert_same(results[name], want[name])


def nested(block):
    """A block in which each of its layers is one, and a value that nothing is made of."""
    layers = list(block) if isinstance(block, nn.Sequential) else [block]

    def run(*args):
        for layer in layers:
            args = (tracer.checkpoint(layer)(*args),)
        np.tanh(np.sin(args[0]))
        return args[0]

    return tracer.checkpoint(run)


def test_all_quantities_at_once_of_nested_blocks():
    """Values that one sweep had computed again are not dropped before all of them are done."""
    want, *_ = quantities(plain, QUANTITIES)
    for loss in (nn.cross_entropy, nested(nn.cross_entropy)):
        found, tape, value = quantities(nested, QUANTITIES, loss)
        again = tape.backward(value, QUANTITIES, rng=np.random.default_rng(3))
        for name in QUANTITIES:
            assert_same(found[name], want[name])
            assert_same(again[name], want[name])


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_quantity_of_nested_blocks_is_the_same(name):
    want, *_ = quantities(plain, (name,))
    found, tape, value = quantities(nested, (name,))
    again = tape.backward(value, (name,), rng=np.random.default_rng(3))
    for results in (found, again):
        assert_same(results[name], want[name])


def assert_same(found, want):
    if hasattr(want, "keys"):
        assert list(found) == list(want)
        for key in want:
            assert_same(found[key], want[key])
    elif hasattr(want, "__matmul__") and not isinstance(want, np.ndarray):
        assert_same(dense(found), dense(want))
    elif isinstance(want, list | tuple):
        for one, other in zip(found, want, strict=True):
            assert_same(one, other)
    elif hasattr(want, "dtype") or isinstance(want, float | int):
        np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-12)
    else:
        assert repr(found) == repr(want)


def dense(operator):
    """What an operator is on all unit vectors of its shape."""
    if hasattr(operator, "dense"):
        return operator.dense()
    if hasattr(operator, "matvec"):
        return operator @ np.eye(operator.shape[1])
    size = math.prod(operator.shape)
    return operator @ np.eye(size).reshape(size, *operator.shape)


def test_draws_and_statistics_are_those_of_one_call():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.calls = nn.BatchNorm1d(4), 0

        def forward(self, x):
            self.calls += 1
            return np.tanh(self.norm(x))

    x = np.random.default_rng(0).standard_normal((6, 4))
    found = []
    for wrap in (plain, tracer.checkpoint):
        model = Counting().double()
        with tracer.Tape() as tape:
            loss = np.sum(wrap(model)(x) ** 3)
        grads = tape.backward(loss)["grad"]
        assert model.calls == 1
        found.append((model.state_dict(), grads))
    (state, grads), (other_state, other_grads) = found
    for key in state:
        np.testing.assert_array_equal(state[key], other_state[key])
    for key in grads:
        np.testing.assert_array_equal(grads[key], other_grads[key])


def test_a_composite_inside_of_a_block():
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    found = []
    for wrap in (plain, tracer.checkpoint):
        tracer.seed(0)
        model = nn.LSTM(4, 3, batch_first=True).double()
        with tracer.Tape() as tape:
            h, _ = wrap(lambda x, model=model: model(np.sin(x)))(x)
            loss = nn.mse_loss(h, np.zeros(h.shape))
        found.append(tape.backward(loss, ("grad", "grad_batch", "diag_h")))
        found[-1]["again"] = tape.backward(loss)["grad"]
    assert_same(found[1], found[0])


def test_arrays_may_change_behind_a_block():
    w, x = tracer.parameter(np.ones(3), name="w"), np.arange(3.0)
    with tracer.Tape() as tape:
        loss = np.sum(tracer.checkpoint(lambda x: np.sin(np.exp(x * w)))(x))
    x[:] = 7
    w.data = w.data * 5
    e = np.exp(np.arange(3.0))
    found = tape.backward(loss)["grad"]["w"]
    np.testing.assert_allclose(found, np.cos(e) * e * np.arange(3.0))


def test_large_arrays_that_change_are_refused():
    w, x = tracer.parameter(np.ones(100_000), name="w"), np.ones(100_000)
    with tracer.Tape() as tape:
        loss = np.sum(tracer.checkpoint(lambda x: np.tanh(x + w))(x))
    x[:] = 2
    with pytest.raises(tracer.errors.ChangedArrayError):
        tape.backward(loss)


def test_what_is_no_function_is_refused():
    with pytest.raises(TracingError, match="checkpoint takes a function or a module"):
        tracer.checkpoint(np.ones(3))


def test_a_block_that_raises_leaves_the_tape_as_it_was():
    def broken(x):
        np.sin(x)
        raise KeyError("broken")

    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        with pytest.raises(KeyError):
            tracer.checkpoint(broken)(w)
        loss = np.sum(w * w)
    np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], 2 * np.ones(3))
