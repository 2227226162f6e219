"""What is asked for together is what it is alone: every pair of quantities, and all at once."""

import itertools
import warnings

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer import registry
from tracer_layers.functional import cross_entropy, l2_penalty, mse_loss
from tracer_quantities.curvature import KFAC, DiagGGNMC

rng = np.random.default_rng(0)
X, T, LABELS = rng.standard_normal((4, 3)), rng.standard_normal((4, 2)), np.array([0, 1, 1, 0])
W, B = rng.standard_normal((3, 2)), rng.standard_normal(2)
SEQUENCE = rng.standard_normal((4, 3, 3))

OBJECTIVES = {}


def objective(function):
    """Register `f(w, b) -> loss`, or `(loss, outputs)`."""
    OBJECTIVES[function.__name__] = function
    return function


@tracer.operation("test_untracked_cube")
class UntrackedCube(tracer.Operation):
    """Does not say where the samples are."""

    saves = ("inputs",)

    def forward(x):
        return x**3

    def vjp(node, g):
        return (3 * g * node.inputs[0] ** 2,)


def network(w, b, x):
    return np.tanh(x @ w + b)


@objective
def plain_parameters(w, b):
    return np.sum(np.sin(w @ b) ** 2)


@objective
def plain_parameters_split(w, b):
    outputs = w @ b
    return np.sum(np.exp(outputs)), outputs


@objective
def registered_loss_of_parameters(w, b):
    return mse_loss(np.tanh(w @ b), np.ones(3))


@objective
def marked_batch(w, b):
    return cross_entropy(network(w, b, tracer.batch(X)), LABELS)


@objective
def marked_batch_and_plain_penalty(w, b):
    return mse_loss(network(w, b, tracer.batch(X)), T) + 0.1 * np.sum(w**4)


@objective
def marked_batch_and_registered_penalty(w, b):
    return mse_loss(network(w, b, tracer.batch(X)), T) + 0.1 * l2_penalty(w, b)


@objective
def several_losses(w, b):
    f = network(w, b, tracer.batch(X))
    return mse_loss(f, T) + 0.3 * cross_entropy(2 * f, LABELS)


@objective
def split_at_the_outputs(w, b):
    outputs = network(w, b, tracer.batch(X))
    return np.mean(np.logaddexp(0, outputs)), outputs


@objective
def split_at_the_outputs_beside_a_penalty(w, b):
    outputs = network(w, b, tracer.batch(X))
    return np.mean((outputs - T) ** 2) + np.sum(np.cosh(b)), outputs


@objective
def unmarked_batch(w, b):
    return mse_loss(network(w, b, X), T)


@objective
def unmarked_batch_and_plain_penalty(w, b):
    return mse_loss(network(w, b, X), T) + 0.1 * np.sum(w**2)


@objective
def unmarked_batch_split(w, b):
    outputs = network(w, b, X)
    return np.mean((outputs - T) ** 2), outputs


@objective
def negative_weight(w, b):
    f = network(w, b, tracer.batch(X))
    return mse_loss(f, T) - 0.3 * cross_entropy(f, LABELS)


@objective
def plain_loss_without_split(w, b):
    return np.mean((network(w, b, tracer.batch(X)) - T) ** 2)


@objective
def recurrent(w, b):
    x, h = tracer.batch(SEQUENCE), np.zeros((4, 2))
    for t in tracer.steps(3):
        h = np.tanh(x[:, t] @ w + h * b)
    return mse_loss(h, T)


@objective
def layered_recurrence(w, b):
    layer = nn.LSTM(3, 2, batch_first=True, rng=np.random.default_rng(4)).double()
    return mse_loss(layer(tracer.batch(SEQUENCE))[0][:, -1] @ W.T @ w * b, T)


@objective
def coupled_samples(w, b):
    h = network(w, b, tracer.batch(X))
    return mse_loss((h - h.mean(0)) @ W.T @ w, T)


@objective
def coupled_samples_and_plain_penalty(w, b):
    return coupled_samples(w, b) + np.sum(np.sin(b))


@objective
def lost_samples(w, b):
    return mse_loss(UntrackedCube(network(w, b, tracer.batch(X))), T)


@objective
def lost_samples_and_plain_penalty(w, b):
    return mse_loss(UntrackedCube(tracer.batch(X)) @ w + b, T) + np.sum(w**2)


@objective
def one_sample(w, b):
    return mse_loss(network(w, b, tracer.batch(X[:1])), T[:1]) + 0.1 * np.sum(w**2)


class MoreSamples(KFAC):
    name = "kfac_of_three"

    def __init__(self):
        super().__init__(mc_samples=3)


class TwoSamples(DiagGGNMC):
    name = "diag_ggn_mc_of_two"

    def __init__(self):
        super().__init__(mc_samples=2)


def quantities():
    return [*registry.quantities, MoreSamples(), TwoSamples()]


def name_of(quantity):
    return quantity if isinstance(quantity, str) else quantity.name


def run(name, asked, **options):
    with tracer.Tape() as tape:
        w, b = tracer.parameter(W, name="w"), tracer.parameter(B, name="b")
        loss = OBJECTIVES[name](w, b)
    loss, outputs = loss if isinstance(loss, tuple) else (loss, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = tape.backward(
            loss, asked, outputs=outputs, rng=np.random.default_rng(3), **options
        )
    return {quantity: arrays(values) for quantity, values in results.items()}


def arrays(values):
    """Values as arrays by name; square roots as what they are roots of, products as matrices."""
    if hasattr(values, "matmat"):
        return {"": values @ np.eye(values.shape[0])}
    return {name: array(value) for name, value in values.items()}


def array(value):
    if hasattr(value, "dense"):
        return value.dense()
    if callable(value):
        size = int(np.prod(value.shape))
        return value(np.eye(size).reshape(size, *value.shape))
    return value


def compared(quantity, value):
    if quantity.startswith("sqrt"):
        flat = value.reshape(*value.shape[:2], -1)
        return np.einsum("cnp,cnq->npq", flat, flat)
    return value


def assert_as_alone(results, alone, asked):
    for quantity, values in results.items():
        assert values.keys() == alone[quantity].keys(), f"{quantity} in {asked}"
        for name, value in values.items():
            mine, expected = (compared(quantity, v) for v in (value, alone[quantity][name]))
            assert_close(mine, expected, f"{quantity} of {name!r} in {asked}")


def each_alone(name):
    """The results of every quantity by itself, and the quantities that have some."""
    alone, working = {}, []
    for quantity in quantities():
        try:
            alone |= run(name, (quantity,))
        except tracer.TracerError:
            continue
        working.append(quantity)
    assert {"grad", "hessian", "hmp", "diag_h"} <= alone.keys()
    return alone, working


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_quantities_are_the_same_together_as_alone(name):
    alone, working = each_alone(name)
    for pair in itertools.combinations(working, 2):
        assert_as_alone(run(name, pair), alone, [name_of(quantity) for quantity in pair])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_quantities_are_the_same_together_as_alone(name):
    alone, working = each_alone(name)
    for quantity in working[1:]:
        assert_as_alone(run(name, (working[0], quantity)), alone, name_of(quantity))
    assert_as_alone(run(name, working), alone, "all")
    assert_as_alone(run(name, working[::-1]), alone, "all")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_quantity_that_is_refused_alone_is_refused_beside_the_gradient(name):
    for quantity in quantities():
        try:
            run(name, (quantity,))
        except tracer.TracerError as error:
            with pytest.raises(type(error)):
                run(name, ("grad", quantity))


def test_a_generator_moves_on_whatever_is_asked():
    with tracer.Tape() as tape:
        w, b = tracer.parameter(W, name="w"), tracer.parameter(B, name="b")
        loss = marked_batch(w, b)
    moved = []
    for asked in (("kfac",), ("fisher_mc", "kfac"), (MoreSamples(),), ("kfac", MoreSamples())):
        given = np.random.default_rng(0)
        tape.backward(loss, asked, rng=given)
        moved.append(given.random())
    assert moved[0] == moved[1] != moved[2] == moved[3] != np.random.default_rng(0).random()


@pytest.mark.parametrize("other", ["diag_h", "kfra", "grad"])
def test_what_no_rows_reach_has_as_many_as_there_were(other):
    """Whichever sweep was the last."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 4), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    with tracer.Tape() as tape:
        loss = nn.cross_entropy(Model()(np.ones((5, 3), np.float32)), np.array([0, 1, 2, 3, 0]))
    roots = tape.backward(loss, ("sqrt_ggn_exact", other))["sqrt_ggn_exact"]
    rows = len(roots["used.weight"])
    assert roots["unused.weight"].shape == (rows, 5, 2, 3)
