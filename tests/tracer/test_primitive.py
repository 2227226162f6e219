"""`@tracer.primitive`: a rule for each argument, and errors that say how rules are written."""

import warnings

import numpy as np
import pytest

import tracer
from tracer.errors import ShapeError, TracingError
from tracer.testing import check_gradients

X = np.array([0.5, 1.2, 0.7])


@tracer.primitive
def log1mexp(x):
    """`log(1 - exp(-x))`."""
    return np.log(-np.expm1(-x))


log1mexp.defvjp(lambda g, y, x: g / np.expm1(x))


@tracer.primitive
def powers(x, p, order=2):
    """Nested in and out: `x w^order`, and the sum of w."""
    return {"scaled": x * p["w"] ** order, "sum": np.sum(p["w"])}


def by_x(g, y, x, p, order=2):
    return g["scaled"] * p["w"] ** order


def by_p(g, y, x, p, order=2):
    slope = order * x * p["w"] ** (order - 1)
    return {"w": g["scaled"] * slope + g["sum"] * np.ones_like(p["w"])}


powers.defvjp(by_x, by_p)


@tracer.primitive
def product(a, b):
    return a * b


product.defvjp(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
product.defjvp(lambda t, y, a, b: t * b, lambda t, y, a, b: a * t)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_rule_gives_derivatives_of_every_order_and_mode(order):
    check_gradients(log1mexp, order=order)(X)
    check_gradients(log1mexp, order=order)(X.reshape(3, 1))
    check_gradients(log1mexp, order=order)(1.5)


def test_of_single_precision_it_is_in_single_precision():
    gradient = tracer.grad(lambda x: np.sum(log1mexp(x)))(X.astype(np.float32))
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, 1 / np.expm1(X), rtol=1e-6)


@pytest.mark.parametrize("order", [1, 3])
def test_arguments_and_values_are_nested_and_options_are_passed(order):
    check_gradients(lambda x, p: powers(x, p, order=order))(X, {"w": X[::-1] * 2})


def test_tangents_go_by_rules_of_their_own():
    check_gradients(product)(X, X[::-1])
    check_gradients(product)(X, np.array(2.0))  # broadcast
    with_wrong = tracer.primitive(lambda a: a * a)
    with_wrong.defvjp(lambda g, y, a: 2 * a * g)
    with_wrong.defjvp(lambda t, y, a: 7 * t)
    assert (tracer.jvp(with_wrong, (X,), (X,))[1] == 7 * X).all()


def test_what_was_broadcast_is_summed():
    a, b = X.reshape(3, 1), np.array([[2.0, 3.0]])
    check_gradients(product)(a, b)
    found = tracer.grad(lambda b: np.sum(product(a, b)))(b)
    np.testing.assert_allclose(found, np.full((1, 2), X.sum()))


def test_the_function_may_do_anything_inside():
    @tracer.primitive
    def smallest(matrix):
        values = matrix.copy()  # in place, with NumPy's plain arrays
        values[0, 0] += 0
        return float(np.linalg.eigvalsh(values)[0])

    def rule(g, y, matrix):
        vector = np.linalg.eigh(matrix)[1][:, 0]
        return g * np.outer(vector, vector)

    smallest.defvjp(rule)
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    slope = tracer.grad(smallest)(matrix)
    direction = np.array([[1.0, 0.2], [0.2, -0.3]])
    step = 1e-6
    moved = [np.linalg.eigvalsh(matrix + s * direction)[0] for s in (step, -step)]
    np.testing.assert_allclose(np.sum(slope * direction), (moved[0] - moved[1]) / 2 / step)


def test_arrays_and_numbers_go_through_as_they_do_through_the_function():
    assert log1mexp(2.0) == np.log(-np.expm1(-2.0))
    assert type(log1mexp(X)) is np.ndarray
    assert log1mexp.__name__ == "log1mexp"
    assert log1mexp.__doc__ == "`log(1 - exp(-x))`."


def test_a_second_sweep_and_changed_arrays():
    w = tracer.parameter(X.copy(), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(np.sin(log1mexp(w * 1.0)))
    w.data = w.data * 3
    want = np.cos(log1mexp(X)) / np.expm1(X)
    for _ in range(2):
        np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], want)


def test_quantities_of_samples_where_the_samples_are_marked_again():
    rng = np.random.default_rng(0)
    x, start = rng.random((5, 3)), rng.random((3, 2)) + 0.5

    def results(function):
        w = tracer.parameter(start, name="w")
        with tracer.Tape() as tape:
            outputs = tracer.batch(function(tracer.batch(x) @ w))
            loss = np.sum(outputs**2)
        names = ("grad", "grad_batch", "diag_ggn_exact", "diag_h")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one row per sample
            return tape.backward(loss, names, outputs=outputs)

    plain = results(lambda z: np.log(-np.expm1(-z)))
    for name, values in results(log1mexp).items():
        np.testing.assert_allclose(values["w"], plain[name]["w"], rtol=1e-9, atol=1e-12)


def test_none_says_that_there_is_no_gradient():
    halves = tracer.primitive(lambda x, n: x / n)
    halves.defvjp(lambda g, y, x, n: g / n, None)
    assert tracer.grad(lambda n: np.sum(halves(X, n)))(2.0) == 0


# -- errors ------------------------------------------------------------------------------------


def total(function, *args):
    return lambda x: np.sum(function(x, *args))


def test_a_missing_rule_is_named():
    bare = tracer.primitive(lambda x, y: x * y)
    with pytest.raises(TracingError, match="has no rule for its argument 0: write"):
        tracer.grad(total(bare, 2.0))(X)
    bare.defvjp(lambda g, z, x, y: g * y)
    np.testing.assert_allclose(tracer.grad(total(bare, 2.0))(X), 2)  # a constant needs none
    with pytest.raises(TracingError, match="no rule for its argument 1"):
        tracer.grad(lambda y: np.sum(bare(X, y)))(2.0)


def test_a_rule_in_the_form_of_autograd_is_told_how_it_is_written_here():
    square = tracer.primitive(lambda x: x * x)
    square.defvjp(lambda ans, x: lambda g: 2 * g * x)
    with pytest.raises(TracingError, match=r"takes \(g, y, x\).*got one that takes \(ans, x\)"):
        tracer.grad(total(square))(X)


def test_a_cotangent_of_another_shape_is_refused():
    doubled = tracer.primitive(lambda x: 2 * x)
    doubled.defvjp(lambda g, y, x: np.sum(g))
    with pytest.raises(ShapeError, match=r"argument 0 returned .* where the argument is of shape"):
        tracer.grad(total(doubled))(X)


def test_tensors_from_around_are_refused():
    w = tracer.parameter(X, name="w")
    scaled = tracer.primitive(lambda x: x * w)
    with pytest.raises(TracingError, match="not among its arguments"), tracer.Tape():
        scaled(X)
    with pytest.raises(TracingError, match="give it by position"), tracer.Tape():
        powers(X, {"w": X}, order=w)


def test_values_are_floats():
    counted = tracer.primitive(lambda x: "three")
    with pytest.raises(TracingError, match="gives arrays of floats"), tracer.Tape():
        counted(tracer.parameter(X))


def test_rules_are_functions():
    with pytest.raises(TracingError, match="takes a function for each argument"):
        tracer.primitive(lambda x: x).defvjp(X)
    with pytest.raises(TracingError, match="stands above a function"):
        tracer.primitive("log1mexp")
