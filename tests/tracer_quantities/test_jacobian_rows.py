"""Rows for the outputs' Jacobian: of a model's outputs, without a loss, or of what losses judge."""

import warnings

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer.extend import Quantity, ggn_exact, jacobian

X = np.random.default_rng(0).standard_normal((5, 3))
Y = np.array([0, 1, 1, 0, 1])


class Jacobians(Quantity):
    """`df_nc / dp`, `[C, N, *p]`."""

    name = "jacobians"
    rows = jacobian
    lists_samples = True

    def extract(self, cotangent, context):
        return cotangent.per_sample()

    def join(self, first, second):
        return np.concatenate([first, second])


def classifier():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def expected(model, x):
    """`[C, N, *p]` by name, an output at a time."""
    with tracer.Tape() as tape:
        by_sample = np.reshape(model(x), (len(x), -1))
        each = [[by_sample[n, c] for n in range(len(x))] for c in range(by_sample.shape[1])]
    rows = [[tape.backward(number)["grad"] for number in row] for row in each]
    return {name: np.array([[grad[name] for grad in row] for row in rows]) for name in rows[0][0]}


MODELS = {
    "linear": (classifier, (3,)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh()).double(), (1, 3, 3)),
    "coupled": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double(),
        (3,),
    ),
    "positions": (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.Flatten(0, 1), nn.Linear(2, 2)).double(),
        (4, 3),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_row_for_each_element_of_a_sample(name):
    make, shape = MODELS[name]
    model, x = make(), np.random.default_rng(1).standard_normal((4, *shape))
    reference = expected(model, x)
    with tracer.Tape() as tape:
        output = model(x)
    for budget in (None, 1, 2000):
        found = tape.backward(output, Jacobians(), memory_budget=budget)["jacobians"]
        assert list(found) == list(reference)
        for parameter, value in found.items():
            assert_close(value, reference[parameter], parameter)


def test_losses_and_their_weights_are_not_in_them():
    model = classifier()
    with tracer.Tape() as tape:
        output = model(X)
        loss = nn.cross_entropy(output, Y)
        penalised = 3 * loss + 0.1 * np.sum(model[0].weight ** 2) + nn.l2_penalty(model[2].weight)
        plain = np.mean(output**4)
    alone = tape.backward(output, Jacobians())["jacobians"]
    found = [
        tape.backward(loss, ("grad", Jacobians(), "grad_batch")),
        tape.backward(penalised, (Jacobians(), "grad")),
        tape.backward(plain, Jacobians(), outputs=output),
    ]
    for results in found:
        for name, value in results["jacobians"].items():
            assert_close(value, alone[name], name)


def test_predictions_of_several_losses_follow_each_other():
    model = classifier()
    with tracer.Tape() as tape:
        output = model(X)
        loss = nn.cross_entropy(output, Y) + nn.mse_loss(output[:, :1], np.zeros((5, 1)))
    alone = tape.backward(output, Jacobians())["jacobians"]["0.weight"]
    found = tape.backward(loss, Jacobians())["jacobians"]["0.weight"]
    assert_close(found, np.concatenate([alone, alone[:1]]), "two losses")


def test_a_loop_over_samples_has_a_row_for_each_element_of_one():
    model = classifier()
    with tracer.Tape() as tape:
        x = tracer.batch(X)
        loss = sum(nn.mse_loss(model[0](x[n]), np.zeros(4)) for n in range(5))
    with tracer.Tape() as other:
        at_once = model[0](X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = tape.backward(loss, Jacobians())["jacobians"]
    expected_rows = other.backward(at_once, Jacobians())["jacobians"]
    for name, value in found.items():
        assert_close(value, expected_rows[name], name)


@pytest.mark.parametrize("samples", [[3], [0, 4]])
def test_some_samples_and_parameters(samples):
    model = classifier()
    with tracer.Tape() as tape:
        output = model(X)
    alone = tape.backward(output, Jacobians())["jacobians"]
    found = tape.backward(output, Jacobians(), samples=samples, parameters=model[2])["jacobians"]
    assert list(found) == ["2.weight", "2.bias"]
    assert_close(found["2.weight"], alone["2.weight"][:, samples], "some samples")


def test_one_sample_with_one_output_is_an_output_too():
    layer = nn.Linear(3, 1).double()
    with tracer.Tape() as tape:
        output = layer(X[:1])
    assert_close(
        tape.backward(output, Jacobians())["jacobians"]["weight"], X[:1][None, None], "one number"
    )


def test_outputs_that_nobody_marked_have_samples_first():
    w = tracer.parameter(np.ones((3, 2)), name="w")
    with tracer.Tape() as tape:
        output = X @ w
    found = tape.backward(output, Jacobians())["jacobians"]["w"]
    assert_close(found, np.einsum("ni,oc->cnio", X, np.eye(2)), "unmarked")


def test_derivatives_of_them():
    w = tracer.parameter(np.random.default_rng(2).standard_normal((3, 2)), name="w")
    with tracer.Tape() as outer:
        with tracer.Tape() as tape:
            output = np.tanh(tracer.batch(X) @ w)
        rows = tape.backward(output, Jacobians())["jacobians"]["w"]
        norm = np.sum(rows * rows)
    found = outer.backward(norm)["grad"]["w"]
    slope = 1 - np.tanh(X @ w.data) ** 2
    # sum_nc slope_nc^2 |x_n|^2, where slope' = -2 tanh slope
    sizes = np.sum(X * X, 1)[:, None]
    assert_close(found, X.T @ (-4 * slope**2 * np.tanh(X @ w.data) * sizes), "outer")


def test_other_quantities_of_outputs_are_refused_and_told_apart():
    with tracer.Tape() as tape:
        output = classifier()(X)
        total = np.sum(output)
    with pytest.raises(tracer.TracingError, match=r"or ask for jacobians without grad, ggn$"):
        tape.backward(output, ("grad", Jacobians(), "ggn"))
    with pytest.raises(tracer.TracingError, match=r"one element, .*sum or average it$"):
        tape.backward(output, "grad")
    with pytest.raises(tracer.QuantityError, match="name the model's output"):
        tape.backward(total, Jacobians())


def test_rows_of_a_third_party_start_at_outputs_too():
    class Sketched(tracer.Rows):
        """One sum of the outputs with random signs."""

        name = "sketched"
        of_outputs = True

        def start(self, term, rng):
            every = term.identity()[:]
            return np.tensordot(rng.choice([-1.0, 1.0], (1, len(every))), every, 1)

    class SketchedJacobians(Jacobians):
        rows = Sketched()

    with tracer.Tape() as tape:
        output = classifier()(X)
    rng = np.random.default_rng(0)
    (row,) = tape.backward(output, SketchedJacobians(), rng=rng)["jacobians"]["2.bias"]
    assert_close(np.abs(row), np.ones((5, 2)), "signs")


def test_rows_of_the_gauss_newton_matrix_beside_them():
    class Trace(Quantity):
        name = "trace"
        rows = ggn_exact

        def extract(self, cotangent, context):
            return cotangent.squared_norms().sum()

    with tracer.Tape() as tape:
        output = classifier()(X)
        loss = nn.mse_loss(output, np.zeros((5, 2)), reduction="sum")
    results = tape.backward(loss, (Trace(), Jacobians()))
    for name, rows in results["jacobians"].items():
        assert_close(results["trace"][name], 2 * np.sum(rows * rows), name)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_outputs_that_several_losses_judge_have_rows_once(count):
    w = tracer.parameter(np.ones((1, 1)), name="w")
    with tracer.Tape() as tape:
        outputs = tracer.batch(np.ones((2, 1))) @ w
        loss = sum(nn.mse_loss(outputs, np.full((2, 1), float(i))) for i in range(count))
    found = tape.backward(loss, Jacobians())["jacobians"]["w"]
    np.testing.assert_array_equal(found, np.ones((1, 2, 1, 1)))
