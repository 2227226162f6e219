"""What functions of functions hand out is the caller's own, and of what was computed."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
from tracer import ggn_vp, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from tracer.arrays.trees import flatten

sys.path.append(str(Path(__file__).parents[1]))
import device

X, Y = np.array([0.3, -0.2, 0.5]), np.array([1.0, 2.0, -1.0])
CONSTANT = np.array([2.0, 3.0, 4.0])
COTANGENT, TANGENT = np.array([1.0, -1.0, 0.5]), np.array([0.1, 0.2, 0.3])

#: functions whose rules pass on what they get, or give what they saved
FUNCTIONS = {
    "a sum of arguments": lambda x, y: x + y,
    "the arguments": lambda x, y: (x, y, x),
    "views": lambda x, y: [x.reshape(3, 1), x[:], np.broadcast_to(y, (2, 3))],
    "a constant": lambda x, y: (CONSTANT, x * CONSTANT),
    "a constant's view": lambda x, y: [CONSTANT[:], y],
    "outputs that are saved": lambda x, y: (np.tanh(x), np.exp(y)),
    "one output twice": lambda x, y: (lambda z: {"a": z, "b": [z, z]})(np.sin(x) * y),
    "a difference": lambda x, y: x - y + CONSTANT,
    "numbers": lambda x, y: (np.sum(x), 2.0, np.float64(3.0)),
}
NAMES = pytest.mark.parametrize("name", FUNCTIONS)


def ones(tree):
    leaves, structure = flatten(tree)
    return structure.build([np.ones(np.shape(leaf)) for leaf in leaves])


def total(function):
    return lambda *args: sum(np.sum(leaf) for leaf in flatten(function(*args))[0])


def results(function, args, u, v):
    """Everything that the transforms hand out for one function of two arguments."""
    output, pull, aux = vjp(lambda *a: (function(*a), function(*a)), *args, has_aux=True)
    cotangent = ones(output) if u is None else u
    return [
        *(grad(total(function), (0, 1))(*args), value_and_grad(total(function), 1)(*args)),
        *(output, aux, pull(cotangent), pull(cotangent)),
        jvp(lambda *a: (function(*a), function(*a)), args, v, has_aux=True),
        *(jacobian(function, (0, 1))(*args), hessian(total(function), (0, 1))(*args)),
        hvp(lambda p: total(function)(*p))(args, v),
        ggn_vp(lambda p: function(*p), total(lambda t: t))(args, v),
    ]


def arrays(tree):
    return [leaf for leaf in flatten(tree)[0] if isinstance(leaf, np.ndarray)]


@NAMES
def test_results_share_memory_with_nothing_and_are_written_into(name):
    args, v = (X.copy(), Y.copy()), (TANGENT.copy(), TANGENT.copy())
    before = CONSTANT.copy()
    found = arrays(results(FUNCTIONS[name], args, None, v))
    expected = [value.copy() for value in found]
    others = [*args, *v, CONSTANT]
    for i, value in enumerate(found):
        assert value.flags.writeable
        for other in [*found[:i], *others]:
            assert not np.shares_memory(value, other)
        value[...] = np.nan
    np.testing.assert_array_equal(CONSTANT, before)
    again = arrays(results(FUNCTIONS[name], args, None, v))
    for value, right in zip(again, expected, strict=True):
        np.testing.assert_array_equal(value, right)


@NAMES
def test_a_pullback_is_of_what_was_computed(name):
    """Whatever the caller writes into what went in and what came out."""
    x, y = X.copy(), Y.copy()
    output, pull = vjp(FUNCTIONS[name], x, y)
    u = ones(output)
    expected = [value.copy() for value in pull(u)]
    x *= 2
    y[...] = np.nan
    for value in arrays(output):
        value[...] = np.nan
    for _ in range(3):
        pulled = pull(u)
        for value, right in zip(pulled, expected, strict=True):
            np.testing.assert_array_equal(value, right)
            value[...] = 0


def test_the_cotangent_is_not_given_back():
    u = COTANGENT.copy()
    _, pull = vjp(lambda x: x, X)
    (pulled,) = pull(u)
    assert not np.shares_memory(pulled, u)
    pulled *= 0
    np.testing.assert_array_equal(u, COTANGENT)


def test_a_parameter_s_array_is_not_given_back():
    p = tracer.parameter(X.copy(), name="p")
    for found in (
        vjp(lambda x: x, p)[0],
        jvp(lambda x: x, (p,), (X,))[0],
        grad(lambda x: (np.sum(x), [x, p, p.data]), has_aux=True)(p)[1],
        value_and_grad(lambda x: p[0])(p)[0],
        vjp(lambda x: p, p)[0],
    ):
        for value in arrays(found):
            assert not np.shares_memory(value, p.data)
            value[...] = 0
    np.testing.assert_array_equal(p.data, X)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: grad(lambda z: np.sum(f(z)))(x),
        lambda f, x: vjp(f, x)[1](np.ones(3))[0],
        lambda f, x: jvp(f, (x,), (np.ones(3),))[1],
        lambda f, x: jacobian(f)(x).sum(0),
    ],
    ids=["grad", "vjp", "jvp", "jacobian"],
)
def test_a_function_that_writes_into_the_array_it_was_given(transform):
    x = X.copy()

    def writes(z):
        y = z * z
        x[...] = 7.0
        return y * z

    np.testing.assert_allclose(transform(writes, x), 3 * X**2)


@pytest.mark.parametrize(
    "two",
    [
        lambda x: vjp(lambda q: (q, q), x)[0],
        lambda x: vjp(lambda q: [q * 1, CONSTANT], x)[0][::-1],
        lambda x: (vjp(lambda q: (q * 2, {"a": x}), x, has_aux=True)[2]["a"], x),
        lambda x: jvp(lambda q: (lambda y: (y, y))(np.sin(q)), (x,), (x,))[0],
        lambda x: value_and_grad(lambda q: (np.sum(q), [x, x]), has_aux=True)(x)[0][1],
    ],
)
def test_an_operator_in_place_changes_one_result_inside_of_a_tape_as_outside(two):
    def f(x):
        first, *rest = two(x)
        first *= 3
        return np.sum(first * sum(rest) + x * CONSTANT)

    outside = f(X.copy())
    assert value_and_grad(f)(X)[0] == outside
    np.testing.assert_array_equal(CONSTANT, [2.0, 3.0, 4.0])


def test_gradients_of_two_arguments_are_two_arrays():
    a, b = grad(lambda a, b: np.sum(a + b), (0, 1))(np.ones(3), np.ones(3))
    a *= 0.0
    np.testing.assert_array_equal(b, np.ones(3))


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_fresh_is_not_copied(order, monkeypatch):
    from tracer.api import linearisation

    copied = []

    def watched(held):
        before = id(held[0])
        found = unaliased(held)
        if id(found) != before and found.size > 1:
            copied.append(found)
        return found

    unaliased = linearisation.unaliased
    monkeypatch.setattr(linearisation, "unaliased", watched)
    x = np.asarray(np.random.default_rng(0).standard_normal((3, 4)), order=order)
    value_and_grad(lambda x: np.sum(np.exp(np.tanh(x))))(x)
    jacobian(lambda x: x @ x.T)(x)
    vjp(lambda x: np.sin(x) * 2, x)[1](x)
    jvp(lambda x: np.sin(x) * 2, (x,), (x,))
    hessian(lambda x: np.sum(np.tanh(x)))(x)
    assert copied == []


@pytest.fixture
def double():
    tracer.registry.backends.add(device.DeviceBackend(), "tests")
    yield
    tracer.registry.backends.remove("device")


@pytest.mark.parametrize(
    "name",
    ["a sum of arguments", "the arguments", "outputs that are saved", "one output twice", "views"],
)
def test_results_on_a_device_share_no_memory(name, double):
    args = device.asarray(X), device.asarray(Y)
    v = device.asarray(TANGENT), device.asarray(TANGENT)
    function = FUNCTIONS[name]
    output, pull = vjp(function, *args)
    u = flatten(output)[1].build([np.ones_like(leaf) for leaf in flatten(output)[0]])
    found = [
        *(output, pull(u), pull(u), jvp(function, args, v), jacobian(function, (0, 1))(*args)),
        *(grad(total(function), (0, 1))(*args), hessian(total(function), (0, 1))(*args)),
    ]
    leaves = [leaf._values for leaf in flatten([found, args, v])[0]]
    for i, value in enumerate(leaves):
        for other in leaves[:i]:
            assert not np.shares_memory(value, other)
