"""The Hessian's diagonal against the explicit Hessian of each sample."""

import tracemalloc

import numpy as np
import pytest
from brute_force import Problem
from explicit import Curvature, assert_close, hessian_of, spans
from hypothesis import given, settings
from random_graphs import random_problems
from zoo import MODELS, draw

import tracer
import tracer_layers as nn
from tracer.curvature.signed_parameters import cheaper_by_rows
from tracer.record.following import follow
from tracer_layers.activations.operations import Rectify
from tracer_layers.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
)
from tracer_layers.linear_maps.operations import LinearMap

DIAGONALS = ("diag_h", "diag_h_batch")


def assert_diagonals(results, hessians, parameters):
    """`hessians [N, P, P]` of all parameters."""
    for name, span in spans(parameters).items():
        shares = np.diagonal(hessians, axis1=1, axis2=2)[:, span]
        shares = shares.reshape(-1, *parameters[name].shape)
        if name not in results["diag_h"]:  # used nowhere
            assert not shares.any()
            continue
        assert_close(results["diag_h_batch"][name], shares, f"diag_h_batch of {name}")
        assert_close(results["diag_h"][name], shares.sum(0), f"diag_h of {name}")


def assert_problem(problem):
    assert_diagonals(problem.backward(DIAGONALS), Curvature(problem).hessians, problem.parameters)


# -- models whose loss is a sum over samples -------------------------------------------------------


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("name", MODELS)
def test_every_way_to_use_a_parameter(name, kind):
    function, parameters, inputs, axes = draw(name, np.random.default_rng(0))
    reduction = "mean" if kind == "squared" else "sum"
    assert_problem(Problem(function, parameters, inputs, axes, kind, reduction))


def weights(**shapes):
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


ACTIVATIONS = [
    getattr(nn, name)()
    for name in "ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Softplus "
    "LogSigmoid Hardtanh Hardsigmoid Hardswish Softsign Softshrink Hardshrink Tanhshrink".split()
] + [nn.GELU("tanh"), nn.Threshold(0.1, 2.0), nn.Softmax(1), nn.LogSoftmax(1), nn.Softmin(1)]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_activations(activation):
    """Twice, so that the curvature of the first passes through the second."""

    def model(p, inputs):
        h = activation(inputs[0] @ p["w"] + p["b"])
        return activation(h @ p["u"]) @ p["v"]

    x = np.random.default_rng(0).standard_normal((3, 3))
    assert_problem(Problem(model, weights(w=(3, 4), b=(4,), u=(4, 3), v=(3, 2)), [x]))


CONVOLUTIONS = {
    "one axis": (
        lambda p, h: nn.functional.conv1d(h, p["w"], p["b"], stride=2, padding=1),
        {"w": (3, 2, 2), "b": (3,)},
        (3, 2, 5),
    ),
    "two axes, pooled": (
        lambda p, h: nn.MaxPool2d(2)(nn.functional.conv2d(h, p["w"], p["b"], padding=1)),
        {"w": (2, 2, 2, 2), "b": (2,)},
        (3, 2, 3, 3),
    ),
    "three axes, averaged": (
        lambda p, h: nn.AvgPool3d(2, padding=1)(nn.functional.conv3d(h, p["w"])),
        {"w": (2, 2, 1, 2, 2)},
        (2, 2, 2, 3, 3),
    ),
    "in groups": (
        lambda p, h: nn.functional.conv1d(h, p["w"], p["b"], groups=2, dilation=2),
        {"w": (4, 1, 2), "b": (4,)},
        (3, 2, 4),
    ),
    "twice the same weight": (
        lambda p, h: nn.functional.conv1d(
            np.tanh(nn.functional.conv1d(h, p["w"], padding=1)), p["w"]
        ),
        {"w": (2, 2, 2)},
        (3, 2, 4),
    ),
    "channels scaled": (
        lambda p, h: nn.functional.prelu(h * p["g"], p["a"]),
        {"g": (2, 1), "a": (2,)},
        (3, 2, 4),
    ),
}


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, kind):
    front, shapes, shape = CONVOLUTIONS[name]
    x = np.random.default_rng(0).standard_normal(shape)
    parameters = weights(**shapes)
    features = front(parameters, x)[0].size

    def model(p, inputs):
        h = np.tanh(front(p, inputs[0]))
        return h.reshape(h.shape[0], -1) @ p["v"]

    assert_problem(Problem(model, parameters | weights(v=(features, 3)), [x], kind=kind))


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
def test_extra_axes(kind):
    def model(p, inputs):
        h = np.tanh(inputs[0] @ p["w"] + p["b"])
        return np.swapaxes(h @ p["v"], 1, -1)

    x = np.random.default_rng(0).standard_normal((3, 2, 2, 3))
    assert_problem(Problem(model, weights(w=(3, 4), b=(4,), v=(4, 3)), [x], kind=kind))


# -- random graphs ---------------------------------------------------------------------------------


@settings(max_examples=60, derandomize=True)
@given(problem=random_problems())
def test_random_graphs(problem):
    assert_problem(problem)


# -- objectives ------------------------------------------------------------------------------------

X = np.random.default_rng(3).standard_normal((4, 3))
Y = np.random.default_rng(4).standard_normal((4, 2))
LABELS = np.array([0, 1, 1, 0])
P = weights(w=(3, 2), v=(2, 2))


def network(p, x):
    return np.tanh(x @ p["w"]) @ p["v"]


#: objectives that are sums over samples: a function of (parameters, x, y, labels)
SEPARABLE = {
    "two losses": lambda p, x, y, t: (
        mse_loss(network(p, x), y, reduction="sum")
        + 0.3 * cross_entropy(network(p, x), t, reduction="sum")
    ),
    "a negative weight": lambda p, x, y, t: (
        mse_loss(network(p, x), y, reduction="sum")
        - 2 * cross_entropy(network(p, x), t, reduction="sum")
    ),
    "weights of either sign": lambda p, x, y, t: np.sum(
        np.array([1.0, -2.0]) * mse_loss(network(p, x), y, reduction="none")
    ),
    "losses at two depths": lambda p, x, y, t: (
        mse_loss(np.tanh(x @ p["w"]), y, reduction="sum")
        + cross_entropy(network(p, x), t, reduction="sum")
    ),
    "plain, squared": lambda p, x, y, t: np.sum((network(p, x) - y) ** 2),
    "plain, not convex": lambda p, x, y, t: np.sum(np.cos(network(p, x)) * y),
    "plain, of all outputs": lambda p, x, y, t: np.sum(
        np.sqrt(np.sum((network(p, x) - y) ** 2, axis=1) + 0.1)
    ),
    "a function of a sample's loss": lambda p, x, y, t: np.sum(
        np.exp(0.1 * cross_entropy(network(p, x), t, reduction="none"))
    ),
    "huber": lambda p, x, y, t: huber_loss(network(p, x), y, delta=0.4, reduction="sum"),
    "absolute": lambda p, x, y, t: l1_loss(network(p, x), y, reduction="sum"),
    "binary": lambda p, x, y, t: binary_cross_entropy_with_logits(
        network(p, x), (y > 0).astype(float), reduction="sum"
    ),
    "poisson": lambda p, x, y, t: poisson_nll_loss(network(p, x), abs(y), reduction="sum"),
    "gaussian": lambda p, x, y, t: gaussian_nll_loss(
        network(p, x), y, np.full_like(y, 0.5), reduction="sum"
    ),
    "smoothed labels": lambda p, x, y, t: cross_entropy(
        network(p, x), t, label_smoothing=0.2, reduction="sum"
    ),
}


@pytest.mark.parametrize("name", SEPARABLE)
def test_objectives_that_are_sums_over_samples(name):
    function = SEPARABLE[name]
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = function(leaves, tracer.batch(X), Y, LABELS)
    hessians = np.stack([
        hessian_of(lambda p, n=n: function(p, X[n : n + 1], Y[n : n + 1], LABELS[n : n + 1]), P)
        for n in range(len(X))
    ])  # fmt: skip
    assert_diagonals(tape.backward(loss, DIAGONALS), hessians, P)


#: objectives with terms of no sample, or of several at once
WHOLE = {
    "a penalty": lambda p, x: (
        mse_loss(network(p, x), Y) + 0.1 * np.sum(p["w"] ** 2) + np.sum(np.sin(p["v"]))
    ),
    "a penalty of a product": lambda p, x: (
        mse_loss(network(p, x), Y) + 0.1 * np.sum((p["w"] @ p["v"]) ** 2)
    ),
    "a cubed penalty of one parameter alone": lambda p, x: (
        mse_loss(np.tanh(x @ p["w"]), Y) + np.sum(p["v"] ** 3)
    ),
    "a function of the mean loss": lambda p, x: np.exp(0.3 * mse_loss(network(p, x), Y)),
    "a product of losses": lambda p, x: (
        mse_loss(network(p, x), Y) * cross_entropy(network(p, x), LABELS)
    ),
    "a function of the mean output": lambda p, x: np.sum(np.mean(network(p, x), axis=0) ** 4),
}

COUPLED = {
    "normalised over the batch": lambda p, x: mse_loss(normalised(x @ p["w"]) @ p["v"], Y),
    "normalised twice": lambda p, x: cross_entropy(
        normalised(np.tanh(normalised(x @ p["w"]) @ p["v"])), LABELS
    ),
    "centred": lambda p, x: mse_loss(np.tanh(x @ p["w"] - np.mean(x @ p["w"], axis=0)) @ p["v"], Y),
}


def normalised(h):
    return (h - np.mean(h, axis=0)) / np.sqrt(np.var(h, axis=0) + 0.1)


def assert_whole_diagonal(function, quantities=("diag_h",), **options):
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = function(leaves, tracer.batch(X))
    diagonal = np.diag(hessian_of(lambda p: function(p, X), P))
    results = tape.backward(loss, quantities, **options)["diag_h"]
    for name, span in spans(P).items():
        assert_close(results[name], diagonal[span].reshape(P[name].shape), name)


@pytest.mark.parametrize("name", WHOLE | COUPLED)
def test_objectives_that_are_no_sums_over_samples(name):
    assert_whole_diagonal((WHOLE | COUPLED)[name])


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_samples_have_no_share_of_their_own(name):
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = COUPLED[name](leaves, tracer.batch(X))
    with pytest.raises(tracer.BatchError, match=r"diag_h_batch.*mixes samples"):
        tape.backward(loss, ("diag_h_batch",))


def test_terms_of_no_sample_are_in_no_share():
    def shares(penalty):
        with tracer.Tape() as tape:
            leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
            loss = mse_loss(network(leaves, tracer.batch(X)), Y) + penalty * np.sum(
                leaves["w"] ** 2
            )
        return tape.backward(loss, ("diag_h_batch",))["diag_h_batch"]

    for name, value in shares(0.0).items():
        assert_close(shares(0.7)[name], value, name)


# -- options ---------------------------------------------------------------------------------------


def recorded():
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        p = leaves | {"v": leaves["v"] * np.exp(leaves["v"])}
        loss = cross_entropy(np.tanh(network(p, tracer.batch(X))), LABELS)
    return tape, loss


@pytest.mark.parametrize("budget", [1, 300, 5_000, 1 << 30])
def test_a_budget_changes_no_result(budget):
    tape, loss = recorded()
    expected = tape.backward(loss, DIAGONALS)
    results = tape.backward(loss, DIAGONALS, memory_budget=budget)
    for quantity in DIAGONALS:
        for name, value in expected[quantity].items():
            assert_close(results[quantity][name], value, name)


def test_with_other_quantities_in_one_call():
    tape, loss = recorded()
    tape.backward(loss)  # frees what was saved
    others = ("grad", "grad_batch", "diag_ggn_exact")
    together = tape.backward(loss, (*others, *DIAGONALS, "hmp"))
    for alone in (tape.backward(loss, DIAGONALS), tape.backward(loss, others)):
        for quantity, values in alone.items():
            for name, value in values.items():
                assert_close(together[quantity][name], value, f"{quantity} of {name}")


def test_of_some_samples():
    tape, loss = recorded()
    every = tape.backward(loss, DIAGONALS)
    some = tape.backward(loss, DIAGONALS, samples=[2, 0])
    for name in P:
        assert_close(some["diag_h_batch"][name], every["diag_h_batch"][name][[2, 0]], name)
        assert_close(some["diag_h"][name], every["diag_h"][name], name)


def test_without_a_batch():
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = np.sum(np.sin(network(leaves, X)))
    diagonal = np.diag(hessian_of(lambda p: np.sum(np.sin(network(p, X))), P))
    results = tape.backward(loss, ("diag_h",))["diag_h"]
    for name, span in spans(P).items():
        assert_close(results[name], diagonal[span].reshape(P[name].shape), name)


def test_of_a_parameter_that_the_objective_does_not_depend_on():
    with tracer.Tape() as tape:
        w, u = tracer.parameter(P["w"], name="w"), tracer.parameter(P["v"], name="u")
        np.sin(u)
        loss = mse_loss(tracer.batch(X) @ w, Y)
    results = tape.backward(loss, DIAGONALS)
    assert_close(results["diag_h"]["u"], np.zeros((2, 2)), "diag_h")
    assert_close(results["diag_h_batch"]["u"], np.zeros((4, 2, 2)), "diag_h_batch")


def test_in_single_precision():
    with tracer.Tape() as tape:
        w = tracer.parameter(P["w"].astype("f4"), name="w")
        loss = mse_loss(np.tanh(tracer.batch(X.astype("f4")) @ w), Y.astype("f4"))
    results = tape.backward(loss, DIAGONALS)
    assert results["diag_h"]["w"].dtype == results["diag_h_batch"]["w"].dtype == np.float32
    with tracer.Tape() as tape:
        w = tracer.parameter(P["w"], name="w")
        loss = mse_loss(np.tanh(tracer.batch(X) @ w), Y)
    expected = tape.backward(loss, DIAGONALS)["diag_h"]["w"]
    np.testing.assert_allclose(results["diag_h"]["w"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantity", [*DIAGONALS, "hmp", "ggn", "pchmp", "kfra"])
def test_inside_another_tape(quantity):
    """Where rows are not recorded, a derivative of them would be wrong."""

    def function(scale):
        with tracer.Tape() as tape:
            w = tracer.parameter(P["w"], name="w")
            loss = mse_loss(np.tanh(tracer.batch(X) @ w) * scale, Y)
        return np.sum(tape.backward(loss, (quantity,))[quantity]["w"])

    with pytest.raises(tracer.QuantityError, match=rf"{quantity} inside another tape"):
        tracer.grad(function)(np.array(2.0))


def test_the_budget_bounds_the_rows_of_many_elements():
    """The 200 signed rows of a hidden layer of 16 samples take 200 x 16 x 200 x 8 = 5 MB."""
    rng = np.random.default_rng(0)

    def peak(budget):
        with tracer.Tape() as tape:
            w = tracer.parameter(rng.standard_normal((3, 200)), name="w")
            h = np.tanh(tracer.batch(rng.standard_normal((16, 3))) @ w)
            loss = np.sum(h * np.sin(h))
        tracemalloc.start()
        try:
            tape.backward(loss, DIAGONALS, memory_budget=budget)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(None) > 10e6
    assert peak(1 << 20) < 3e6


@tracer.operation("test_untracked_cosine")
class UntrackedCosine(tracer.Operation):
    """An operation that does not say where samples go."""

    saves = ("inputs",)

    def forward(x):
        return np.cos(x)

    def vjp(node, g):
        return (-g * np.sin(node.inputs[0]),)


def test_where_the_samples_cannot_be_followed():
    def objective(p, x, y):
        mixed = UntrackedCosine(np.tanh(x @ p["w"]))
        return mse_loss(np.tanh(mixed @ p["v"]), y, reduction="sum")

    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = objective(leaves, tracer.batch(X), Y)
    with pytest.warns(UserWarning, match="could not be followed through test_untracked_cosine"):
        results = tape.backward(loss, DIAGONALS)
    hessians = np.stack([
        hessian_of(lambda p, n=n: objective(p, X[n : n + 1], Y[n : n + 1]), P)
        for n in range(len(X))
    ])  # fmt: skip
    assert_diagonals(results, hessians, P)


@pytest.mark.parametrize(("steps", "by_rows"), [(1, {"w", "v"}), (60, {"v"})])
def test_rows_and_products_are_weighed_against_each_other(steps, by_rows):
    """Rows of `w` start at every step of a loop and go through all below; `v` has the loss's."""
    rng = np.random.default_rng(0)
    w = tracer.parameter(rng.standard_normal((2, 3)), "w")
    v = tracer.parameter(rng.standard_normal((3, 40)), "v")
    with tracer.Tape() as tape:
        h = tracer.batch(rng.standard_normal((4, 2))) @ w
        for _ in range(steps):
            h = np.sin(h)
        mse_loss(h @ v, np.zeros((4, 40)))
    nodes, leaves = tape.recorded(), {w.node: "w", v.node: "v"}
    chosen = cheaper_by_rows(nodes, leaves, follow(nodes), products=1)
    assert {leaves[leaf] for leaf in chosen} == by_rows


# -- what the rows cost ----------------------------------------------------------------------------


def count_calls(monkeypatch, rule):
    """A list that takes the name of a linear map or ReLU whenever this rule of it runs."""
    names = []
    for op in (LinearMap, Rectify):
        original = getattr(op, rule)

        def spy(*given, _name=op.name, _original=original, **params):
            names.append(_name)
            return _original(*given, **params)

        monkeypatch.setattr(op, rule, spy)
    return names


def recorded_loss(*between):
    """The loss of linear layers of 3 units with these activations between them, and its tape."""
    rng = np.random.default_rng(0)
    layers = [layer for activation in between for layer in (nn.Linear(3, 3), activation)]
    model = nn.Sequential(*layers, nn.Linear(3, 3))
    with tracer.Tape() as tape:
        loss = cross_entropy(model(rng.standard_normal((5, 3))), np.arange(5) % 3)
    return tape, loss


def test_straight_operations_are_neither_run_again_nor_swept_for_a_gradient(monkeypatch):
    tape, loss = recorded_loss(nn.ReLU(), nn.ReLU())
    again, back = count_calls(monkeypatch, "forward"), count_calls(monkeypatch, "vjp")
    tape.backward(loss, "diag_h")
    assert again == []
    assert back.count("relu") == 2  # the rows of the loss, at each


def test_the_gradient_goes_no_further_than_to_what_bends_first(monkeypatch):
    tape, loss = recorded_loss(nn.ReLU(), nn.ReLU(), nn.Tanh())
    back = count_calls(monkeypatch, "vjp")
    tape.backward(loss, "diag_h")
    assert back.count("relu") == 4  # the rows of the loss and those of tanh, at each
