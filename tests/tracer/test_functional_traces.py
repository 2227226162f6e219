"""Functions of functions inside each other and inside tapes: what is constant where."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import ggn_vp, grad, hessian, hvp, jacobian, jvp, vjp

RNG = np.random.default_rng(0)
X, V = RNG.standard_normal(3), RNG.standard_normal(3)
A = RNG.standard_normal((3, 3))


def close(value, expected, tolerance=1e-9):
    np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


def function(x):
    return np.tanh(A @ x) * x


# -- pullbacks made elsewhere ------------------------------------------------------------------


def made_outside():
    return vjp(function, X)[1]


def made_in_a_trace():
    """Inside another function's trace, which has closed since; what it gave is of the trace."""
    kept = []

    def outer(x):
        kept.append(vjp(lambda y: function(y) + x * 0, x)[1])
        return np.sum(kept[0](x)[0])

    grad(outer)(X)
    return kept[0]


def made_in_a_swept_tape():
    w = tracer.parameter(X, name="w")
    with tracer.Tape() as tape:
        output, pull = vjp(function, w)
        loss = np.sum(output**2)
    tape.backward(loss)
    return pull


def made_in_a_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(made_outside).result()


PULLBACKS = pytest.mark.parametrize(
    "made", [made_outside, made_in_a_trace, made_in_a_swept_tape, made_in_a_thread]
)
J = jacobian(function)(X)


@PULLBACKS
def test_a_pullback_made_elsewhere_is_linear_in_its_cotangent(made):
    pull = made()
    close(pull(V)[0], V @ J)
    close(jacobian(lambda g: pull(g)[0])(V), J.T)
    close(grad(lambda g: np.sum(pull(g)[0] ** 2))(V), 2 * J @ (V @ J))
    close(jvp(lambda g: pull(g)[0], (V,), (X,))[1], X @ J)
    close(vjp(lambda g: pull(g)[0], V)[1](X)[0], J @ X)
    close(pull(V)[0], V @ J)


@PULLBACKS
def test_derivatives_of_several_orders_through_a_pullback(made):
    pull = made()

    def cubes(g):
        return np.sum(pull(g)[0] ** 3)

    moved = V @ J
    close(hessian(cubes)(V), (6 * J * moved) @ J.T)
    close(hvp(cubes)(V, X), (6 * J * moved) @ J.T @ X)
    close(grad(lambda g: np.sum(grad(cubes)(g)))(V), (6 * J * moved) @ J.T @ np.ones(3))
    third = jacobian(hessian(cubes))(V)
    close(third, 6 * np.einsum("ai,bi,ci->abc", J, J, J))


@PULLBACKS
def test_a_pullback_is_differentiated_by_a_tape(made):
    pull = made()
    w = tracer.parameter(V, name="w")
    with tracer.Tape() as tape:
        loss = np.sum(pull(w * w)[0] ** 2) + np.sum(pull(V)[0] * w)
    result = tape.backward(loss)["grad"]
    assert list(result) == ["w"]
    close(result["w"], 4 * V * (J @ (V**2 @ J)) + V @ J)


@PULLBACKS
def test_a_pullback_of_a_pullback(made):
    pull = made()
    _, back = vjp(lambda g: pull(g)[0] ** 2, V)
    close(grad(lambda u: np.sum(back(u)[0] * X))(V), 2 * (V @ J) * (X @ J))


@PULLBACKS
def test_pullbacks_in_many_threads(made):
    pull = made()
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(lambda i=i: pull(i * V)[0]) for i in range(40)]
        jobs += [pool.submit(grad(lambda g: np.sum(pull(g)[0])), V) for i in range(40)]
    for i in range(40):
        close(jobs[i].result(), i * V @ J)
        close(jobs[40 + i].result(), J.sum(1))


def test_a_pullback_in_another_thread_is_recorded_where_it_was_made():
    def outer(x):
        _, pull = vjp(lambda y: y**2 * x, x)
        found = []
        thread = threading.Thread(target=lambda: found.append(pull(V)[0]))
        thread.start()
        thread.join()
        return np.sum(found[0])  # of 2 x^2 v

    close(grad(outer)(X), 4 * X * V)


def test_a_pullback_depends_on_what_the_trace_around_it_differentiates_by():
    def outer(x):
        _, pull = vjp(lambda y: x * y**2, x)
        return np.sum(grad(lambda g: np.sum(pull(g)[0] * g))(x))  # of 4 x^3

    close(grad(outer)(X), 12 * X**2)


def test_a_pullback_while_paused_is_constant():
    _, pull = vjp(function, X)

    def outer(g):
        with tracer.pause():
            constant = pull(g)[0]
        assert type(constant) is np.ndarray
        return np.sum(constant * g)

    close(grad(outer)(V), V @ J)


def test_what_a_pullback_gives_outside_is_no_tensor():
    _, pull = vjp(function, X)
    with tracer.Tape():
        g = tracer.parameter(V) * 1
    (pulled,) = pull(g)
    assert type(pulled) is np.ndarray
    close(pulled, V @ J)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_pullbacks_through_loops_that_are_recorded_as_one(layer):
    model, x = layer(2, 3), RNG.standard_normal((4, 2, 2)).astype(np.float32)

    def run(x):
        return model(x)[0]

    output, pull = vjp(run, x)
    c = RNG.standard_normal(output.shape).astype(np.float32)
    j = jacobian(run)(x).reshape(c.size, x.size)
    for _ in range(2):
        close(pull(c)[0].ravel(), c.ravel() @ j, 1e-5)
        gradient = grad(lambda c: np.sum(pull(c)[0] ** 2))(c)
        close(gradient.ravel(), 2 * j @ (c.ravel() @ j), 1e-5)
    v = RNG.standard_normal(x.shape).astype(np.float32)
    product = ggn_vp(run, lambda f: np.sum(f**2))(x, v)
    close(product.ravel(), 2 * j.T @ (j @ v.ravel()), 1e-5)


def test_a_model_is_called_once_for_its_gauss_newton_product():
    """So that a model that draws masks has one Jacobian in it."""
    draws = np.random.default_rng(0)
    masks = []

    def model(p):
        masks.append(draws.random(3) < 0.5)
        return p * masks[-1]

    product = ggn_vp(model, lambda f: np.sum(f**2))(X, V)
    assert len(masks) == 1
    close(product, 2 * V * masks[0])


# -- variables that are something else around --------------------------------------------------


def frozen(value):
    tensor = tracer.parameter(value, name="frozen")
    tensor.node.wants = False
    return tensor


@pytest.mark.parametrize(
    "variable", [tracer.batch, frozen, tracer.Tensor, lambda x: tracer.parameter(x).detach()]
)
def test_what_is_constant_around_is_a_variable_inside(variable):
    """The tape's gradient is of the inner derivative by the other factor."""
    w = tracer.parameter(V, name="w")
    for inner in (
        lambda x: grad(lambda y: np.sum(w * y**2))(x),
        lambda x: vjp(lambda y: w * y**2, x)[1](np.ones(3))[0],
        lambda x: jvp(lambda y: w * y**2, (x,), (np.ones(3),))[1],
        lambda x: np.sum(jacobian(lambda y: w * y**2)(x), axis=0),
        lambda x: hvp(lambda y: np.sum(w * y**2))(x, x),
        lambda x: hessian(lambda y: np.sum(w * y**2))(x) @ x,
    ):
        x = variable(X)
        with tracer.Tape() as tape:
            loss = np.sum(inner(x) ** 2)
        result = tape.backward(loss)["grad"]
        assert list(result) == ["w"]
        close(loss.item(), np.sum((2 * X * V) ** 2))
        close(result["w"], 8 * X**2 * V)
        assert x.node is None or not x.node.wants


def test_the_gradient_by_a_batch_has_gradients_of_samples():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = RNG.standard_normal((5, 3))

    def penalty(x):
        with tracer.Tape() as tape:
            marked = tracer.batch(x)
            slope = grad(lambda y: np.sum(model(y)))(marked)
            loss = np.sum(slope**2)
        return tape.backward(loss, ("grad", "grad_batch"))

    found = penalty(x)
    for name, each in found["grad_batch"].items():
        for n in range(5):
            close(each[n], penalty(x[n : n + 1])["grad"][name])


# -- variables are no parameters ---------------------------------------------------------------


INNER = {
    "grad": lambda w: grad(lambda y: np.sum(np.tanh(y * w)))(X),
    "jvp": lambda w: jvp(lambda y: np.tanh(y * w), (X,), (V,))[1],
    "jvp without a rule of its own": lambda w: jvp(
        lambda y: np.linalg.inv(np.diag(y) + np.eye(3)) @ w, (X**2,), (V,)
    )[1],
    "vjp": lambda w: vjp(lambda y: np.tanh(y * w), X)[1](V)[0],
    "hvp": lambda w: hvp(lambda y: np.sum(np.tanh(y * w)))(X, V),
    "jacobian": lambda w: np.sum(jacobian(lambda y: np.tanh(y * w))(X), axis=0),
    "of a dict": lambda w: grad(lambda p: np.sum(np.tanh(p["y"] * w)))({"y": X})["y"],
}


@pytest.mark.parametrize("name", INNER)
def test_a_taped_loss_has_the_user_s_parameters_alone(name):
    inner = INNER[name]

    def loss_at(w):
        return np.sum(inner(w) ** 2)

    with tracer.Tape() as tape:
        w = tracer.parameter(V, name="w")
        loss = loss_at(w)
    matrix = tape.backward(loss, ("hessian",))["hessian"]
    close(matrix @ np.eye(3), hessian(loss_at)(V))
    gradient = tape.backward(loss)["grad"]
    assert list(gradient) == ["w"]
    close(gradient["w"], grad(loss_at)(V))
    kinds = {d["label"]: d["kind"] for _, d in tape.graph().nodes(data=True)}
    assert [label for label, kind in kinds.items() if kind == "parameter"] == ["w"]


def test_curvature_beside_a_constant_derivative():
    """A term that depends on no parameter does not count, however it was made."""
    model = nn.Linear(3, 2).double()
    x, y = RNG.standard_normal((4, 3)), np.array([0, 1, 1, 0])

    def curvature(constant):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y) + constant()
        result = tape.backward(loss, ("grad", "ggn", "diag_ggn_exact"))
        return result["ggn"], result["diag_ggn_exact"]["weight"]

    plain, marked = curvature(lambda: 1.0), curvature(lambda: grad(lambda z: z**3)(2.0))
    assert plain[0].shape == marked[0].shape == (8, 8)
    close(plain[0] @ np.eye(8), marked[0] @ np.eye(8))
    close(plain[1], marked[1])


def test_a_tape_inside_a_gradient_has_no_variable_among_its_parameters():
    def outer(x):
        with tracer.Tape() as tape:
            w = tracer.parameter(V, name="w")
            loss = np.sum(np.sin(w * x))
        result = tape.backward(loss)["grad"]
        assert list(result) == ["w"]
        return np.sum(result["w"])

    close(grad(outer)(X), np.cos(V * X) - V * X * np.sin(V * X))


# -- life --------------------------------------------------------------------------------------

TRANSFORMS = {
    "grad": lambda f: grad(f)(X),
    "jacobian": lambda f: jacobian(f)(X),
    "hessian": lambda f: hessian(f)(X),
    "vjp": lambda f: vjp(f, X),
    "jvp": lambda f: jvp(f, (X,), (V,)),
    "hvp": lambda f: hvp(f)(X, V),
    "ggn_vp": lambda f: ggn_vp(f, np.sum)(X, V),
    "ggn_vp's loss": lambda f: ggn_vp(np.sin, f)(X, V),
}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_a_function_raises_leaves_no_tape_open(name, error):
    def raises(x):
        np.sum(x * x)
        raise error

    with pytest.raises(error):
        TRANSFORMS[name](raises)
    assert tracer.current_tape() is None
    with tracer.Tape() as tape:
        with pytest.raises(error):
            TRANSFORMS[name](raises)
        assert tracer.current_tape() is tape
        w = tracer.parameter(V, name="w")
        loss = np.sum(w * w)
    matrix = tape.backward(loss, ("hessian",))["hessian"]
    close(matrix @ np.eye(3), 2 * np.eye(3))
    gradient = tape.backward(loss)["grad"]
    assert list(gradient) == ["w"]
    close(gradient["w"], 2 * V)


@tracer.operation("raises_backward")
class RaisesBackward(tracer.Elementwise):
    saves = ()

    def forward(x):
        return x + 0

    def vjp(node, g):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_a_rule_raises_leaves_no_tape_open(name):
    with pytest.raises(KeyboardInterrupt):
        TRANSFORMS[name](lambda x: np.sum(RaisesBackward(x)) if name != "vjp" else pulled(x))
    assert tracer.current_tape() is None


def pulled(x):
    return vjp(RaisesBackward, x)[1](X)[0]


def test_a_sweep_of_a_sweep_sums_over_what_was_broadcast_alone():
    """Stacks of one row meet arrays without that axis, which is dropped again, not summed."""

    def hyperbolic(x):
        growth = np.exp(-2 * x)
        return (1 - growth) / (1 + growth)

    with tracer.Tape() as tape:
        function = hyperbolic
        for _ in range(3):
            function = grad(lambda x, inner=function: np.sum(inner(x)))
        function(tracer.parameter(X))
    sums = [node for node in tape.nodes if node.op.name == "sum"]
    assert [node.input_shape(0) for node in sums] == [X.shape] * 3
    assert len(tape.nodes) <= 124


def test_a_function_may_move_its_argument_on():
    """And change the containers that it is given: they are its own."""

    def moves(p):
        p["x"] = p["x"] * 2
        p["list"].append(p["x"])
        x = p.pop("y")
        x += p["list"][-1]
        return np.sum(x * x)

    given = {"x": X.copy(), "y": V.copy(), "list": []}
    gradient = grad(moves)(given)
    assert list(given) == list(gradient) == ["x", "y", "list"]
    assert given["list"] == []
    close(given["x"], X)
    close(gradient["x"], 4 * (V + 2 * X))
    close(gradient["y"], 2 * (V + 2 * X))
