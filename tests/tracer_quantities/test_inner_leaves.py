"""What transforms and tapes inside of a tape make for themselves is none of its parameters."""

import numpy as np
import pytest

import tracer

P = np.array([1.0, 2.0])
ONES = np.ones(2)


def cube(x, p):
    return x**3 * np.sum(p)


def total(x, p):
    return np.sum(cube(x, p))


def swept_inside(p):
    with tracer.Tape() as inner:
        own = tracer.parameter(ONES, name="own")
        value = total(own * p, p)
    return inner.backward(value)["grad"][p]


#: inner derivative by x at ones, or by p itself, as a function of the parameter p
INNER = {
    "grad": lambda p: tracer.grad(total)(ONES, p),
    "value_and_grad": lambda p: tracer.value_and_grad(total)(ONES, p)[1],
    "jvp": lambda p: tracer.jvp(lambda x: cube(x, p), (ONES,), (P,))[1],
    "vjp": lambda p: tracer.vjp(lambda x: cube(x, p), ONES)[1](P)[0],
    "hvp": lambda p: tracer.hvp(lambda x: total(x, p))(ONES, P),
    "ggn_vp": lambda p: tracer.ggn_vp(lambda x: cube(x, p), lambda z: np.sum(z**2))(ONES, P),
    "jacobian": lambda p: tracer.jacobian(lambda x: cube(x, p))(ONES),
    "hessian": lambda p: tracer.hessian(lambda x: total(x, p))(ONES),
    "grad by the parameter": lambda p: tracer.grad(lambda x: total(x, x))(p),
    "jvp by the parameter": lambda p: tracer.jvp(lambda x: cube(x, x), (p,), (ONES,))[1],
    "nested": lambda p: tracer.grad(lambda x: np.sum(tracer.grad(total)(x, p) ** 2))(ONES),
    "unused variable": lambda p: p + tracer.grad(lambda x: np.sum(p))(ONES),
}


def objective(inner, p):
    return np.sum(np.sin(inner(p))) + np.sum(p**4)


@pytest.mark.parametrize("name", INNER)
def test_the_users_parameters_are_those_of_the_results(name):
    inner = INNER[name]
    with tracer.Tape() as tape:
        p = tracer.parameter(P, name="p")
        loss = objective(inner, p)
    gradient = tape.backward(loss)["grad"]
    assert list(gradient) == ["p"]
    np.testing.assert_allclose(gradient["p"], tracer.grad(lambda q: objective(inner, q))(P))
    hessian = tape.backward(loss, ("hessian",))["hessian"]
    expected = tracer.hessian(lambda q: objective(inner, q))(P)
    np.testing.assert_allclose(hessian @ np.eye(2), expected, rtol=1e-10)
    drawn = [d["label"] for _, d in tape.graph().nodes(data=True) if d["kind"] == "parameter"]
    assert drawn == ["p"]


@pytest.mark.parametrize("name", INNER)
def test_matrices_over_all_parameters_have_no_rows_of_inner_leaves(name):
    inner = INNER[name]
    target = np.zeros(inner(P).shape)
    with tracer.Tape() as tape:
        p, q = tracer.parameter(P, name="p"), tracer.parameter(ONES, name="q")
        output = inner(p) * np.sum(q)
        loss = np.sum((output - target) ** 2)
    ggn = tape.backward(loss, ("ggn",), outputs=output)["ggn"]
    jacobians = tracer.jacobian(lambda p, q: inner(p) * np.sum(q), (0, 1))(P, ONES)
    j = np.concatenate([np.reshape(each, (target.size, 2)) for each in jacobians], axis=1)
    order = [slice(0, 2), slice(2, 4)] if list(ggn.parameters) == ["p", "q"] else [
        slice(2, 4), slice(0, 2),
    ]  # fmt: skip
    j = np.concatenate([j[:, each] for each in order], axis=1)
    np.testing.assert_allclose(ggn @ np.eye(4), 2 * j.T @ j, rtol=1e-10)


def test_a_parameter_that_the_user_makes_inside_counts():
    with tracer.Tape() as tape:
        p = tracer.parameter(P, name="p")
        loss = np.sum(swept_inside(p) ** 2)
    assert set(tape.backward(loss)["grad"]) == {"p", "own"}
