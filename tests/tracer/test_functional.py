"""Functions of functions: against closed forms, central differences and each other."""

import numpy as np
import pytest

import tracer
from tracer import ggn_vp, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

rng = np.random.default_rng(0)
A, X, V = rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal(3)


def smooth(x):
    return np.sum(np.tanh(A @ x) ** 2) + np.prod(np.cos(x))


def differences(function, x, step=1e-6):
    """The Jacobian by central differences, `[*output, *x.shape]`."""
    columns = []
    for i in range(x.size):
        e = np.zeros(x.size)
        e[i] = step
        e = e.reshape(x.shape)
        columns.append((function(x + e) - function(x - e)) / (2 * step))
    return np.stack(columns, -1).reshape(*np.shape(columns[0]), *x.shape)


def close(value, expected, rtol=1e-6):
    assert isinstance(value, np.ndarray)
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol)


# -- values ----------------------------------------------------------------------------------------


def test_grad_is_that_of_central_differences():
    close(grad(smooth)(X), differences(smooth, X))


def test_value_and_grad():
    value, gradient = value_and_grad(smooth)(X)
    close(value, smooth(X))
    close(gradient, grad(smooth)(X))


def test_jacobian_is_that_of_central_differences():
    def function(x):
        return np.stack([np.sin(A @ x), np.exp(A @ x)])

    value = jacobian(function)(X)
    assert value.shape == (2, 4, 3)
    close(value, differences(function, X))


def test_jacobian_of_a_matrix():
    def function(w):
        return np.linalg.inv(w + 3 * np.eye(3)) @ w.T

    w = rng.standard_normal((3, 3))
    close(jacobian(function)(w), differences(function, w))


def test_hessian_is_that_of_central_differences_and_symmetric():
    value = hessian(smooth)(X)
    close(value, differences(grad(smooth), X))
    close(value, value.T)


def test_hvp_is_the_hessian_times_a_vector():
    close(hvp(smooth)(X, V), hessian(smooth)(X) @ V)


def test_vjp_and_jvp_are_transposes():
    def function(x, y):
        return np.sin(A @ x) * y, np.sum(x) * y

    y = rng.standard_normal(4)
    outputs, pullback = vjp(function, X, y)
    again, tangents = jvp(function, (X, y), (V, np.ones(4)))
    cotangents = tuple(rng.standard_normal(4) for _ in range(2))
    pulled = pullback(cotangents)
    left = sum(np.vdot(c, t) for c, t in zip(cotangents, tangents, strict=True))
    right = np.vdot(pulled[0], V) + np.vdot(pulled[1], np.ones(4))
    np.testing.assert_allclose(left, right)
    for mine, other in zip(outputs, again, strict=True):
        close(mine, other)


def test_ggn_vp_is_j_transposed_h_j():
    parameters = {"w": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    v = {"w": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    x = rng.standard_normal((5, 3))

    def model(p):
        return np.tanh(x @ p["w"] + p["b"])

    def loss(f):
        return np.sum(np.exp(f))

    j = jacobian(model)(parameters)
    moved = np.tensordot(j["w"], v["w"], 2) + j["b"] @ v["b"]
    curved = np.exp(model(parameters)) * moved
    product = ggn_vp(model, loss)(parameters, v)
    close(product["w"], np.tensordot(curved, j["w"], 2))
    close(product["b"], np.tensordot(curved, j["b"], 2))


# -- order -----------------------------------------------------------------------------------------


def tanh_derivatives(x):
    """Of order one to four, in closed form."""
    t = np.tanh(x)
    s = 1 - t**2
    return s, -2 * t * s, s * (6 * t**2 - 2), 8 * t * s * (2 - 3 * t**2)


def test_tanh_to_the_fourth_order():
    x, function = np.array(0.3), np.tanh
    for expected in tanh_derivatives(0.3):
        function = grad(function)
        close(function(x), expected, 1e-10)


def test_orders_mix_forwards_and_backwards():
    third = tanh_derivatives(X)[2]

    def forward(f):
        return lambda x: jvp(f, (x,), (np.ones(3),))[1]

    def reverse(f):
        return grad(lambda x: np.sum(f(x)))

    for first, second, last in (
        (forward, forward, forward),
        (forward, reverse, forward),
        (reverse, forward, reverse),
        (reverse, reverse, forward),
        (forward, forward, reverse),
    ):
        close(last(second(first(np.tanh)))(X), third, 1e-10)


def test_third_order_of_a_small_network():
    w, x = rng.standard_normal((3, 2)), rng.standard_normal((4, 3))

    def loss(w):
        return np.sum(np.square(np.tanh(x @ w)))

    close(jacobian(hessian(loss))(w), differences(hessian(loss), w))


def test_jacobian_of_a_jacobian_is_the_hessian():
    close(jacobian(jacobian(smooth))(X), hessian(smooth)(X))


def test_higher_order_through_singular_looking_functions():
    close(grad(grad(lambda x: x**3))(np.array(0.0)), 0.0)
    close(grad(grad(lambda x: np.where(x > 0, x**2, 0.0)))(np.array(2.0)), 2.0)


# -- perturbation confusion ------------------------------------------------------------------------


def test_an_inner_derivative_of_a_sum_with_an_outer_variable():
    """d/dx (x * d/dy (x + y)) = 1, which confused systems take for 2."""

    def outer(x):
        return x * grad(lambda y: x + y)(np.array(2.0))

    close(grad(outer)(np.array(3.0)), 1.0)


def test_an_inner_derivative_of_a_product_with_an_outer_variable():
    def outer(x):
        return x * grad(lambda y: x * y)(np.array(2.0))

    close(grad(outer)(np.array(3.0)), 6.0)


def test_the_same_variable_inside_and_outside():
    def outer(x):
        return grad(lambda y: y * y * x)(x)

    close(grad(outer)(np.array(3.0)), 4 * 3.0)


def test_forward_inside_forward():
    def outer(x):
        return x * jvp(lambda y: x * y * y, (np.array(2.0),), (np.array(1.0),))[1]

    close(jvp(outer, (np.array(3.0),), (np.array(1.0),))[1], 2 * 3.0 * 4)


def test_an_inner_function_of_the_outer_variable_alone():
    def outer(x):
        return grad(lambda y: x * x)(np.array(1.0)) + x

    close(grad(outer)(np.array(3.0)), 1.0)


def test_a_gradient_inside_a_tape_is_differentiated_by_the_tape():
    with tracer.Tape() as tape:
        x = tracer.parameter(X, name="x")
        penalty = np.sum(grad(smooth)(x) ** 2)
    gradient = tape.backward(penalty)["grad"]["x"]
    close(gradient, 2 * hessian(smooth)(X) @ grad(smooth)(X))


def test_a_tape_inside_a_gradient():
    def function(x):
        with tracer.Tape() as tape:
            w = tracer.parameter(V, name="w")
            loss = np.sum(np.sin(w * x))
        return np.sum(tape.backward(loss)["grad"]["w"] * x)

    close(grad(function)(X), differences(lambda x: np.sum(np.cos(V * x) * x * x), X))


def test_pause_hides_from_the_outer_derivative():
    def function(x):
        with tracer.pause():
            constant = np.sin(x)
        return x * constant

    close(grad(function)(np.array(2.0)), np.sin(2.0))


# -- structures ------------------------------------------------------------------------------------


def test_gradients_of_nested_containers_have_their_structure():
    tree = {"a": [X, (V, {"b": np.array(2.0)})], "c": ()}

    def function(t):
        return np.sum(t["a"][0] * t["a"][1][0]) * t["a"][1][1]["b"]

    gradient = grad(function)(tree)
    assert list(gradient) == ["a", "c"]
    assert isinstance(gradient["a"][1], tuple)
    assert gradient["c"] == ()
    close(gradient["a"][0], 2 * V)
    close(gradient["a"][1][0], 2 * X)
    close(gradient["a"][1][1]["b"], np.sum(X * V))


def test_a_named_tuple_stays_one():
    from typing import NamedTuple

    class Layer(NamedTuple):
        w: np.ndarray
        b: np.ndarray

    gradient = grad(lambda p: np.sum(p.w * 2 + p.b * p.b))(Layer(X, V))
    assert isinstance(gradient, Layer)
    close(gradient.b, 2 * V)


@pytest.mark.parametrize("argnums", [(0, 1), (1, 0), (1,), (0, 2), (2, 0), (-1, 0)])
def test_several_arguments_come_in_the_order_asked(argnums):
    args = np.array(2.0), np.array(3.0), np.array(5.0)
    gradients = grad(lambda a, b, c: a * b * c, argnums)(*args)
    assert isinstance(gradients, tuple)
    for gradient, i in zip(gradients, argnums, strict=True):
        close(gradient, 30.0 / args[i])


def test_one_argument_of_several():
    close(grad(lambda a, b: np.sum(a * b), 1)(X, V), X)
    close(grad(lambda a, b: np.sum(a * b), -1)(X, V), X)


def test_arguments_that_are_not_differentiated_may_be_anything():
    def function(x, power, names, flag):
        return np.sum(x**power) if flag and "a" in names else x

    close(grad(function)(X, 3, {"a"}, True), 3 * X**2)


def test_outputs_of_vjp_and_jvp_have_their_structure():
    outputs, pullback = vjp(lambda x: {"s": np.sin(x), "t": [np.cos(x), 2.0]}, X)
    close(outputs["s"], np.sin(X))
    (pulled,) = pullback({"s": V, "t": [np.zeros(3), 0.0]})
    close(pulled, V * np.cos(X))
    outputs, tangents = jvp(lambda x: {"s": np.sin(x), "t": (x, x)}, (X,), (V,))
    close(tangents["s"], V * np.cos(X))
    close(tangents["t"][1], V)


def test_a_pullback_is_called_again():
    _, pullback = vjp(np.sin, X)
    close(pullback(V)[0], pullback(V)[0])


def test_a_pullback_outlives_a_sweep_of_the_tape_around_it():
    with tracer.Tape() as tape:
        x = tracer.parameter(X, name="x")
        y, pullback = vjp(lambda x: np.sin(x) * x, x)
        tape.backward(np.sum(y * y))
        (inside,) = pullback(V)
    expected = V * (np.cos(X) * X + np.sin(X))
    close(inside.data, expected)
    close(pullback(V)[0], expected)


def test_jacobian_of_containers():
    value = jacobian(lambda p: p["w"] @ X + p["b"])({"w": A, "b": np.zeros(4)})
    assert value["w"].shape == (4, 4, 3)
    close(value["b"], np.eye(4))


# -- functions that ignore or return their arguments ---------------------------------------------


@pytest.mark.parametrize("constant", [3.0, np.float64(3.0), np.array(3.0)])
def test_a_function_that_ignores_its_argument_has_zero_derivatives(constant):
    def function(x):
        return constant

    close(grad(function)(X), np.zeros(3))
    close(jacobian(function)(X), np.zeros(3))
    close(hessian(function)(X), np.zeros((3, 3)))
    close(hvp(function)(X, V), np.zeros(3))
    close(jvp(function, (X,), (V,))[1], 0.0)
    close(vjp(function, X)[1](np.array(1.0))[0], np.zeros(3))


def test_a_linear_function_has_a_zero_hessian():
    close(hessian(np.sum)(X), np.zeros((3, 3)))
    close(jacobian(hessian(lambda x: np.sum(x * x)))(X), np.zeros((3, 3, 3)))


def test_the_identity():
    close(jacobian(lambda x: x)(X), np.eye(3))
    close(grad(lambda x: x)(np.array(2.0)), 1.0)
    close(jvp(lambda x: x, (X,), (V,))[1], V)
    (same,) = vjp(lambda x: x, X)[1](V)
    close(same, V)


def test_an_unused_argument_gets_zeros():
    gradients = grad(lambda a, b: np.sum(a * a), (0, 1))(X, V)
    close(gradients[1], np.zeros(3))


def test_an_output_that_is_returned_twice():
    _, pullback = vjp(lambda x: (x * x,) * 2, X)
    close(pullback((V, V))[0], 4 * X * V)


def test_outputs_one_of_which_feeds_the_other():
    def function(x):
        y = np.sin(x)
        return y, np.sum(y * y)

    _, pullback = vjp(function, X)
    close(pullback((V, np.array(1.0)))[0], np.cos(X) * (V + 2 * np.sin(X)))


# -- dtypes and errors -------------------------------------------------------------------------


def test_single_precision_stays():
    x = X.astype(np.float32)
    for value in (
        grad(lambda x: np.sum(np.tanh(x) * 2.0))(x),
        hessian(lambda x: np.sum(np.tanh(x)))(x),
        jvp(np.tanh, (x,), (x,))[1],
        hvp(lambda x: np.sum(np.tanh(x)))(x, x),
        jacobian(lambda x: x * 1.5)(x),
    ):
        assert value.dtype == np.float32


@pytest.mark.parametrize("argument", [np.arange(3), np.array([True])])
def test_arguments_that_are_not_floats_are_refused(argument):
    with pytest.raises(tracer.TracingError, match=r"argument 0.*float.*astype"):
        grad(np.sum)(argument)


def test_a_list_of_floats_is_a_container_of_numbers():
    gradient = grad(lambda p: p[0] * p[1])([2.0, 3.0])
    assert [float(g) for g in gradient] == [3.0, 2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grad(np.sin)(X), r"one number.*float64\[3\].*jacobian"),
        (lambda: grad(np.sin, 1)(X), "argnums.*1"),
        (lambda: grad(np.vdot, (0, -2))(X, V), "argnums.*twice"),
        (lambda: jvp(np.sin, (X,), (V[:2],)), r"\[3\].*\[2\]"),
        (lambda: jvp(np.sin, (X,), ()), "1 primals and 0 tangents"),
        (lambda: vjp(np.sin, X)[1](V[:2]), r"\[3\].*\[2\]"),
        (lambda: vjp(lambda x: (x, x), X)[1]((V,)), "2 cotangents.*1"),
    ],
    ids=[
        "vector output",
        "argnums",
        "argnums twice",
        "tangent",
        "count",
        "cotangent",
        "cotangents",
    ],
)
def test_wrong_shapes_and_counts(call, message):
    with pytest.raises(tracer.TracerError, match=message):
        call()


def test_an_exception_inside_leaves_no_tape_open():
    def function(x):
        raise RuntimeError("inside")

    for call in (grad(function), jacobian(function), hessian(function)):
        with pytest.raises(RuntimeError, match="inside"):
            call(X)
    assert tracer.current_tape() is None


def test_nan_flows():
    x = np.array([1.0, np.nan, 2.0])
    gradient = grad(lambda x: np.sum(x * x))(x)
    np.testing.assert_array_equal(np.isnan(gradient), [False, True, False])


# -- jvp of structural operations ------------------------------------------------------------------

M = rng.standard_normal((2, 3, 4))
STRUCTURAL = {
    "reshape": lambda x: x.reshape(4, -1),
    "transpose": lambda x: np.transpose(x, (2, 0, 1)),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1),
    "swapaxes": lambda x: x.swapaxes(0, 2),
    "expand and squeeze": lambda x: np.squeeze(np.expand_dims(x, 1), 1),
    "broadcast": lambda x: np.broadcast_to(x, (5, 2, 3, 4)),
    "concatenate": lambda x: np.concatenate([x, x * x], axis=1),
    "stack": lambda x: np.stack([x, np.sin(x)]),
    "split": lambda x: np.split(x, 2, axis=2)[1],
    "pad": lambda x: np.pad(x, ((0, 0), (1, 2), (0, 1))),
    "flip": lambda x: np.flip(x, 1),
    "roll": lambda x: np.roll(x, 2, axis=2),
    "tile": lambda x: np.tile(x, (2, 1, 1)),
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "slice": lambda x: x[:, ::-2, 1:3],
    "integers": lambda x: x[[0, 1, 1], :, [3, 3, 0]],
    "mask": lambda x: x[M > 0],
    "take": lambda x: np.take(x, [1, 1, 2], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(M, -1), -1),
    "sort": lambda x: np.sort(x, axis=1),
    "sum": lambda x: np.sum(x, axis=(0, 2)),
    "max": lambda x: np.max(x, axis=1),
    "cumsum": lambda x: np.cumsum(x, axis=2),
    "where": lambda x: np.where(M > 0, x, 2 * x),
    "matmul": lambda x: x @ np.swapaxes(x, 1, 2),
    "einsum": lambda x: np.einsum("nij,nkj->ik", x, x),
    "index_set": lambda x: tracer.index_set(x, (0, 1), x[1, 2]),
    "index_add": lambda x: tracer.index_add(x, ([0, 0], 1), x[1, :2]),
    "diagonal": lambda x: np.diagonal(x, axis1=1, axis2=2),
}


@pytest.mark.parametrize("name", STRUCTURAL)
def test_tangents_of_structural_operations(name):
    function, v = STRUCTURAL[name], rng.standard_normal(M.shape)
    step = 1e-6
    expected = (function(M + step * v) - function(M - step * v)) / (2 * step)
    close(jvp(function, (M,), (v,))[1], expected)
    close(np.tensordot(jacobian(function)(M), v, 3), expected)
