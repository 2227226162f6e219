"""`tracer.testing.check_gradients`: what is right passes, what is wrong is named."""

import numpy as np
import pytest

import tracer
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((3, 4)), RNG.standard_normal(4)


def network(p, x, *, scale=2.0):
    h = np.tanh(x @ p["w"] + p["b"])
    return {"loss": np.sum(h**2) * scale, "outputs": (h, np.sum(x))}


P = {"w": RNG.standard_normal((4, 2)), "b": RNG.standard_normal(2)}

RIGHT = {
    "a number": (np.sin, 0.7),
    "an array": (lambda x: np.exp(x) / np.sum(x * x), X),
    "two arguments": (np.matmul, X, W),
    "nested ones": (network, P, X),
    "an empty array": (lambda x: x * 2.0, np.zeros((0, 3))),
    "a list of numbers": (lambda p: p[0] * p[1] ** 2, [2.0, 3.0]),
    "large and small elements": (np.log, np.array([1e-6, 1.0, 1e6])),
    "a constant value": (lambda x: np.ones(2), X),
    "an integer beside it": (lambda x, n: x**n, X, 3),
    "a flat function": (np.floor, X),
    "complex numbers": (lambda z: np.exp(z) * np.conj(z) + abs(z), X[0] + 1j * X[1]),
    "a complex value of real numbers": (lambda x: np.fft.fft(x) ** 2, X),
    "a complex number": (lambda z: z * z, 0.3 + 0.2j),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_is_right(name, order):
    function, *arguments = RIGHT[name]
    report = check_gradients(function, order=order)(*arguments)
    assert sorted(report) == ["forward", "reverse"]
    assert report.is_defined


def test_keywords_and_names():
    check_gradients(network, ("x", "scale"))(P, X, scale=1.5)
    check_gradients(network, "scale")(P, x=X)


def test_single_precision():
    check_gradients(lambda x, w: np.tanh(x @ w))(X.astype(np.float32), W.astype(np.float32))
    with pytest.raises(AssertionError, match="argument 0"):
        check_gradients(lambda x: Wrong(x))(X.astype(np.float32))


@tracer.operation("test_wrong_square")
class Wrong(tracer.Elementwise):
    def forward(x):
        return x * x

    def vjp(node, g):
        return (2.01 * g * node.inputs[0],)


@tracer.operation("test_second_order_lost")
class Lost(tracer.Elementwise):
    def forward(x):
        return x * x * x

    def vjp(node, g):
        x = node.inputs[0]
        return (3 * g * (x.data if isinstance(x, tracer.Tensor) else x) ** 2,)


@tracer.operation("test_wrong_jvp")
class WrongForward(tracer.Elementwise):
    def forward(x):
        return x * x

    def vjp(node, g):
        return (2 * g * node.inputs[0],)

    def jvp(node, tangents):
        return tangents[0] * node.inputs[0]


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (lambda x: Wrong(x), (X,), r"the first derivative by argument 0 \(forward-mode\) is"),
        (lambda a, p: a @ Wrong(p["w"]), (X, {"w": W}), r"first .* by argument 1\['w'\] \(forward"),
        (lambda x: Lost(x), (X,), r"the second derivative by argument 0 \(forward-mode over"),
        (lambda x: WrongForward(x), (X,), r"the first derivative .*\(forward-mode\)"),
        (np.abs, (np.zeros(2),), "slopes over short steps range from .* near a kink"),
        (lambda x: x * np.random.default_rng().random(), (X,), "other values when it is called"),
        (lambda x: np.sum(x) > 0, (X,), "no floats in its value"),
    ],
)
def test_what_is_wrong_is_named(function, arguments, words):
    with pytest.raises(AssertionError, match=words):
        check_gradients(function)(*arguments)


def test_one_mode_alone():
    check_gradients(lambda x: WrongForward(x), modes=["reverse"], order=1)(X)
    with pytest.raises(AssertionError, match=r"\(reverse-mode\)"):
        check_gradients(lambda x: Wrong(x), modes=["reverse"])(X)
    with pytest.raises(AssertionError, match=r"\(reverse-mode over reverse-mode\)"):
        check_gradients(lambda x: Lost(x), modes=["reverse"])(X)


def test_the_tolerance_is_of_the_largest_element():
    check_gradients(lambda x: Wrong(x), rtol=2e-2)(X)
    with pytest.raises(AssertionError, match="at most"):
        check_gradients(lambda x: Wrong(x), rtol=1e-3)(X)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": "forward"}, "modes are of"),
        ({"modes": ()}, "modes are of"),
        ({"modes": ["fwd"]}, "modes are of"),
        ({"order": 0}, "order is an integer"),
    ],
)
def test_options_that_are_none(options, words):
    with pytest.raises(tracer.TracingError, match=words):
        check_gradients(np.sin, **options)


def test_arguments_without_floats():
    with pytest.raises(tracer.TracingError, match="an argument of floats"):
        check_gradients(np.sum)(np.arange(3))
