"""Objectives of several terms, losses in plain code, losses of third parties."""

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer_layers.functional import cross_entropy, mse_loss

rng = np.random.default_rng(0)
X, Y, LABELS = rng.standard_normal((4, 3)), rng.standard_normal((4, 2)), rng.integers(0, 2, 4)
W, V = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
GGN = ("diag_ggn_exact", "diag_ggn_exact_batch", "sqrt_ggn_exact")


@tracer.operation("test_log_cosh")
class LogCosh(tracer.Operation):
    """A third party's loss without rules for its Hessian: `sum_i log(cosh(x_i - t_i))`."""

    loss = True
    saves = ("inputs",)

    def forward(x, t):
        return np.sum(np.log(np.cosh(x - t)), axis=-1)

    def vjp(node, g):
        x, t = node.inputs
        return g[..., None] * np.tanh(x - t), None

    def batch_axis(node, axes):
        return axes[0]


@tracer.operation("test_cosine_loss")
class CosineLoss(tracer.Operation):
    """Not convex in the prediction."""

    loss = True
    saves = ("inputs",)

    def forward(x):
        return np.sum(np.cos(x), axis=-1)

    def vjp(node, g):
        return (-g[..., None] * np.sin(node.inputs[0]),)

    def batch_axis(node, axes):
        return axes[0]


@tracer.operation("test_exponential_loss")
class ExponentialLoss(tracer.Operation):
    """Keeps its output alone: `sum_i exp(x_i) t_i` as unreduced terms."""

    loss = True
    saves = ("output",)

    def forward(x, t):
        return np.exp(x) * t

    def vjp(node, g):
        return g * node.output, None

    def batch_axis(node, axes):
        return axes[0]


@tracer.operation("test_ridge")
class Ridge(tracer.Operation):
    """A registered penalty `sum(w^2)`, of no sample."""

    loss = True
    saves = ("inputs",)

    def forward(w):
        return np.sum(w * w)

    def vjp(node, g):
        return (2 * g[..., None, None] * node.inputs[0],)

    def batch_axis(node, axes):
        return tracer.POOLED

    def sqrt_hessian(node, weight):
        w = node.inputs[0]
        return np.sqrt(2 * weight) * np.eye(w.size).reshape(w.size, *w.shape)


def run(objective, quantities, **options):
    """Results of `objective(output, w)` with `output = sin(x w) + x v`."""
    with tracer.Tape() as tape:
        x = tracer.batch(X)
        w, v = tracer.parameter(W, name="w"), tracer.parameter(V, name="v")
        loss = objective(np.sin(x @ w) + x @ v, w)
    return tape.backward(loss, quantities, **options)


def run_split(plain, quantities):
    """The same for a loss in plain code, split at the model's output."""
    with tracer.Tape() as tape:
        x = tracer.batch(X)
        w, v = tracer.parameter(W, name="w"), tracer.parameter(V, name="v")
        output = np.sin(x @ w) + x @ v
        loss = plain(output, w)
    return tape.backward(loss, quantities, outputs=output)


def assert_same(results, expected):
    """Equal results; square roots are compared by what they are roots of."""
    assert results.keys() == expected.keys()
    for quantity, values in expected.items():
        for name, value in values.items():
            mine = results[quantity][name]
            if quantity.startswith("sqrt"):
                mine, value = (
                    np.einsum("vna,vnb->nab", *(u.reshape(*u.shape[:2], -1),) * 2)
                    for u in (mine, value)
                )
            assert_close(mine, value, f"{quantity} of {name}")


COMBINATIONS = {
    "weighted": (lambda a, b: 2 * a + 0.3 * b, 2, 0.3),
    "nested": (lambda a, b: ((a * 3 - (-b)) / 4 + 1.0) * 2, 1.5, 0.5),
    "stacked and summed": (lambda a, b: np.sum(np.stack([a, b]) * np.array([0.5, 2.0])), 0.5, 2.0),
    "mean of a list": (lambda a, b: np.mean(np.stack([a, b, b])), 1 / 3, 2 / 3),
    "through shapes": (lambda a, b: (a.reshape(1, 1) + b)[0, 0], 1, 1),
    "one alone": (lambda a, b: a, 1, 0),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_losses_enter_with_the_square_root_of_their_weight(name):
    combine, a, b = COMBINATIONS[name]
    quantities = ("diag_ggn_exact", "diag_ggn_exact_batch", "grad", "grad_batch")
    results = run(lambda f, w: combine(mse_loss(f, Y), cross_entropy(f, LABELS)), quantities)
    first = run(lambda f, w: mse_loss(f, Y), quantities)
    second = run(lambda f, w: cross_entropy(f, LABELS), quantities)
    expected = {q: {p: a * first[q][p] + b * second[q][p] for p in ("w", "v")} for q in quantities}
    assert_same(results, expected)


def test_weights_of_single_samples():
    weights = np.array([0.0, 1.0, 2.0, 0.5])
    results = run(
        lambda f, w: np.sum(weights * cross_entropy(f, LABELS, reduction="none")),
        ("diag_ggn_exact_batch", "grad_batch"),
    )
    plain = run(lambda f, w: cross_entropy(f, LABELS, reduction="sum"),
                ("diag_ggn_exact_batch", "grad_batch"))  # fmt: skip
    expected = {
        q: {p: value * weights[:, None, None] for p, value in values.items()}
        for q, values in plain.items()
    }
    assert_same(results, expected)


def test_the_same_loss_twice():
    once = run(lambda f, w: mse_loss(f, Y), GGN[:2])
    twice = run(lambda f, w: mse_loss(f, Y) + mse_loss(f, Y), GGN[:2])
    assert_same(twice, {q: {p: 2 * v for p, v in once[q].items()} for q in once})


def test_losses_at_two_depths():
    """An auxiliary loss at a hidden tensor: blocks add."""

    def results(a, b):
        with tracer.Tape() as tape:
            x = tracer.batch(X)
            w, v = tracer.parameter(W, name="w"), tracer.parameter(V[:2], name="v")
            hidden = np.tanh(x @ w)
            loss = a * mse_loss(hidden, Y) + b * cross_entropy(hidden @ v, LABELS)
        return tape.backward(loss, ("diag_ggn_exact", "kflr"))["diag_ggn_exact"]

    both, first, second = results(0.5, 2.0), results(1.0, 0.0), results(0.0, 1.0)
    for name in ("w", "v"):
        assert_close(both[name], 0.5 * first[name] + 2 * second[name], name)


def test_a_negative_weight_has_no_square_root():
    def objective(f, w):
        return mse_loss(f, Y) - 0.1 * cross_entropy(f, LABELS)

    with pytest.raises(tracer.QuantityError, match=r"cross_entropy.*negative weight"):
        run(objective, ("diag_ggn_exact",))
    assert run(objective, ("grad_batch",))["grad_batch"]["w"].shape == (4, 3, 2)


@pytest.mark.parametrize(
    "objective",
    [
        lambda f, w: mse_loss(f, Y) + np.exp(np.mean(f)),
        lambda f, w: np.exp(mse_loss(f, Y)),
        lambda f, w: mse_loss(f, Y) * mse_loss(f, Y) + np.exp(np.sum(w)),
    ],
    ids=["a plain term", "a function of a loss", "a product of losses"],
)
def test_a_term_without_split_is_named(objective):
    with pytest.raises(tracer.QuantityError, match=r"(exp|multiply) \(test_objectives.py:\d+\)"):
        run(objective, ("diag_ggn_exact",))


# -- plain losses ----------------------------------------------------------------------------------


def plain_cross_entropy(f, w):
    picked = np.take_along_axis(f, LABELS[:, None], 1)[:, 0]
    return np.mean(tracer.logsumexp(f, axis=1) - picked)


@pytest.mark.parametrize(
    ("plain", "registered"),
    [
        (lambda f, w: np.mean((f - Y) ** 2), lambda f, w: mse_loss(f, Y)),
        (plain_cross_entropy, lambda f, w: cross_entropy(f, LABELS)),
        (
            lambda f, w: 0.3 * np.mean((f - Y) ** 2) + plain_cross_entropy(f, w),
            lambda f, w: 0.3 * mse_loss(f, Y) + cross_entropy(f, LABELS),
        ),
    ],
    ids=["squared error", "cross-entropy", "a sum of both"],
)
def test_a_plain_loss_split_at_the_outputs_is_the_registered_one(plain, registered):
    quantities = (*GGN, "kflr", "grad", "grad_batch")
    results, expected = run_split(plain, quantities), run(registered, quantities)
    for values in (results, expected):
        values["kflr"] = {k: block.dense() for k, block in values["kflr"].items()}
    assert_same(results, expected)


def test_outputs_whose_samples_lie_on_another_axis():
    target = Y.T.copy()
    with tracer.Tape() as tape:
        x, w = tracer.batch(X.T.copy(), axis=1), tracer.parameter(W, name="w")
        output = w.T @ x
        loss = np.sum(np.log(np.cosh((output - target)[0] + (output - target)[1])))
    results = tape.backward(loss, ("diag_ggn_exact",), outputs=output)
    with tracer.Tape() as tape:
        x, w = tracer.batch(X), tracer.parameter(W, name="w")
        output = x @ w
        loss = np.sum(np.log(np.cosh(np.sum(output - Y, axis=1))))
    assert_same(results, tape.backward(loss, ("diag_ggn_exact",), outputs=output))


def test_a_plain_loss_has_no_sampler():
    with pytest.raises(tracer.QuantityError, match=r"diag_ggn_mc.*exact"):
        run_split(lambda f, w: np.mean((f - Y) ** 2), ("diag_ggn_mc",))


def test_a_loss_that_is_not_convex_in_the_outputs_is_refused():
    with pytest.raises(tracer.QuantityError, match=r"not convex.*eigenvalue"):
        run_split(lambda f, w: np.sum(np.cos(f)), ("diag_ggn_exact",))


def test_outputs_that_the_loss_does_not_depend_on():
    with tracer.Tape() as tape:
        x, w = tracer.batch(X), tracer.parameter(W, name="w")
        output = x @ w
        unused = np.sin(output)
        loss = np.mean(output * output)
    with pytest.raises(tracer.TracerError, match="outputs"):
        tape.backward(loss, ("diag_ggn_exact",), outputs=unused)


# -- losses of third parties -----------------------------------------------------------------------


def test_a_loss_without_rules_gets_the_root_of_its_hessian():
    results = run(lambda f, w: np.mean(LogCosh(f, Y)), GGN)
    expected = run_split(lambda f, w: np.mean(np.sum(np.log(np.cosh(f - Y)), axis=-1)), GGN)
    assert_same(results, expected)


def test_a_loss_without_rules_that_keeps_no_input():
    weights = np.exp(Y)
    for scaled in (lambda t: t, lambda t: tracer.batch(t) * 1.0):
        results = run(lambda f, w, scaled=scaled: np.mean(ExponentialLoss(f, scaled(weights))), GGN)
        assert_same(results, run_split(lambda f, w: np.mean(np.exp(f) * weights), GGN))


def test_a_loss_without_rules_in_single_precision():
    with tracer.Tape() as tape:
        x, w = tracer.batch(X.astype("f4")), tracer.parameter(W.astype("f4"), name="w")
        loss = np.mean(LogCosh(x @ w, Y.astype("f4")))
    value = tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]["w"]
    assert value.dtype == np.float32


def test_a_loss_without_rules_that_is_not_convex_is_refused():
    with pytest.raises(tracer.QuantityError, match=r"not convex.*eigenvalue"):
        run(lambda f, w: np.mean(CosineLoss(f)), ("diag_ggn_exact",))


def test_a_loss_without_a_sampler_says_so():
    with pytest.raises(tracer.QuantityError, match=r"diag_ggn_mc.*test_log_cosh.*exact"):
        run(lambda f, w: np.mean(LogCosh(f, Y)), ("diag_ggn_mc",))


# -- terms of no sample ----------------------------------------------------------------------------


def test_a_plain_penalty_counts_in_the_gradient_and_in_no_sample():
    asked = ("grad", "grad_batch", "sum_grad_squared", "variance", "batch_l2")
    results = run(lambda f, w: mse_loss(f, Y) + 0.1 * np.sum(w * w), asked)
    expected = run(lambda f, w: mse_loss(f, Y), asked)
    expected["grad"]["w"] = expected["grad"]["w"] + 0.2 * W
    assert_same(results, expected)


def test_a_registered_penalty_counts_in_the_gauss_newton_matrix():
    asked = ("diag_ggn_exact", "diag_ggn_exact_batch")
    results = run(lambda f, w: mse_loss(f, Y) + 0.1 * Ridge(w), asked)
    expected = run(lambda f, w: mse_loss(f, Y), asked)
    expected["diag_ggn_exact"]["w"] = expected["diag_ggn_exact"]["w"] + 0.2
    assert_same(results, expected)


def test_a_parameter_of_the_penalty_alone():
    with tracer.Tape() as tape:
        x, w, u = tracer.batch(X), tracer.parameter(W, name="w"), tracer.parameter(V, name="u")
        loss = mse_loss(x @ w, Y) + 3 * np.sum(u * u)
    results = tape.backward(loss, ("grad", "grad_batch", "batch_l2", "variance"))
    assert_close(results["grad"]["u"], 6 * V, "grad")
    assert_close(results["grad_batch"]["u"], np.zeros((4, 3, 2)), "grad_batch")
    assert_close(results["batch_l2"]["u"], np.zeros(4), "batch_l2")
    assert_close(results["variance"]["u"], np.zeros((3, 2)), "variance")


def test_averages_of_a_layer_between_whose_uses_they_are_taken():
    """The second loss brings rows of two losses to the layer, and the first all of an average."""
    layer = nn.Linear(3, 3).double()
    x = tracer.batch(X)
    with tracer.Tape() as tape:
        loss = cross_entropy(layer(x), LABELS)
        loss = loss + cross_entropy(layer(x + 0.1 * np.sign(layer(x))), LABELS)
    with pytest.raises(tracer.QuantityError, match=r"kfra is undefined for 'weight'.*use kflr"):
        tape.backward(loss, "kfra")
