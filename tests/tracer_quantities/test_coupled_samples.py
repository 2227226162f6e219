"""Objectives that couple samples, or do not: quantities are as defined, or refused."""

import warnings

import numpy as np
import pytest
from explicit import assert_close, hessian_of, spans

import tracer
import tracer_layers as nn
from tracer.errors import UndefinedWarning

rng = np.random.default_rng(0)
N = 4
X, W, T = rng.standard_normal((N, 3)), rng.standard_normal((3, 2)), np.array([0.1, 0.2, 0.3, 0.4])
LABELS = np.array([0, 1, 1, 0])

#: functions of outputs `[N, 2]` that are sums over samples, with any of the samples left out
SEPARATE = {
    "squares": lambda z: np.sum(z**2),
    "a mean": lambda z: np.sum(np.log(np.cosh(z))) / N,
    "log-sum-exp of each": lambda z: np.sum(tracer.logsumexp(z, axis=1)),
    "norms of each": lambda z: np.sum(np.sqrt(1 + np.sum(z**2, axis=1))),
    "a product that contracts": lambda z: np.sum(np.diagonal(z.T @ z)),
    "a contraction": lambda z: np.einsum("ni,ni->", z, z),
    "largest of each": lambda z: np.sum(np.exp(np.max(z, axis=1))),
    "reversed": lambda z: np.sum(np.exp(z[::-1])),
    "merged": lambda z: np.sum(np.exp(z.reshape(-1))),
    "the distance of a mean": lambda z: abs(np.mean(z) - 3),
    "softmax of each": lambda z: -np.sum(nn.log_softmax(z, 1)),
}

#: and others that couple them
COUPLED = {
    "listwise": lambda z: -np.sum(T * nn.log_softmax(z[:, 0], 0)) + np.sum(z[:, 1] ** 2),
    "pairs": lambda z: np.sum((z[:, None] - z[None]) ** 2),
    "a squared mean": lambda z: np.sum(np.mean(z, 0) ** 2) + 0.1 * np.sum(z**2),
    "running sums": lambda z: np.sum(np.cumsum(z, 0) ** 2),
    "a Gram matrix": lambda z: 0.1 * np.sum((z @ z.T) ** 2) + np.sum(z**2),
    "logaddexp.reduce": lambda z: np.logaddexp.reduce(z[:, 0]),
    "log-sum-exp": lambda z: np.sum(tracer.logsumexp(z, axis=0)),
    "a product": lambda z: np.prod(1 + z[:, 0] ** 2),
    "products of columns": lambda z: np.sum(np.prod(z, axis=0)),
    "multiply.reduce": lambda z: np.multiply.reduce(z[:, 0]),
    "softmax over samples": lambda z: np.sum(nn.softmax(z, 0)[:, 0] * T),
    "normalised": lambda z: np.sum(nn.layer_norm(z.T, (N,)) ** 3 * T),
    "a root": lambda z: np.sqrt(np.mean(z**2)),
    "a logarithm": lambda z: np.log(np.sum(z**2)),
    "a square": lambda z: np.mean(z**2) ** 2,
    "the square of a mean": lambda z: np.mean(z) ** 2,
    "a norm": lambda z: np.linalg.norm(z),
    "weighted by itself": lambda z: np.average(z[:, 0] ** 2, weights=z[:, 1] ** 2),
    "largest ones": lambda z: np.sum(np.max(z, 0) ** 2),
    "the spread": lambda z: np.ptp(z[:, 0] ** 2) ** 2,
    "the variance": lambda z: np.var(z[:, 0]),
    "neighbours": lambda z: np.sum(z[1:] * z[:-1]),
    "rolled": lambda z: np.sum(np.roll(z, 1, 0) * z),
    "a product of sums": lambda z: np.einsum("ni,mi->", z, z),
    "a squared covariance": lambda z: np.sum((z.T @ z) ** 2),
    "the logarithm of a sum of exponentials": lambda z: np.log(np.sum(np.exp(z))),
    "the median": lambda z: np.median(z[:, 0]) ** 2,
}


#: of those, what takes as many samples as there are
NEEDING_ALL = {"listwise", "softmax over samples", "normalised"}


def recorded(function, marked=True):
    w = tracer.parameter(W, name="w")
    with tracer.Tape() as tape:
        outputs = (tracer.batch(X) if marked else X) @ w
        loss = function(outputs)
    return tape, loss, outputs


def given(tape, loss, quantity, **options):
    """A quantity, or several, or None where one is refused."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the samples' axis could not be followed")
            results = tape.backward(loss, quantity, **options)
            return results[quantity] if isinstance(quantity, str) else results
    except tracer.TracerError:
        return None


def hessian_by(function, value):
    return np.asarray(tracer.hessian(function)(value)).reshape(value.size, value.size)


# -- a loss of the model's output ------------------------------------------------------------------


def gauss_newton(function):
    """`J^T H J`, H being the Hessian by all outputs together."""
    jacobian = np.asarray(tracer.jacobian(lambda w: X @ w)(W)).reshape(-1, W.size)
    return jacobian.T @ hessian_by(function, X @ W) @ jacobian


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("name", SEPARATE | COUPLED)
def test_gauss_newton_matrices_of_plain_losses(name, marked):
    function = (SEPARATE | COUPLED)[name]
    ggn = gauss_newton(function)
    tape, loss, outputs = recorded(function, marked)
    diagonal = np.diagonal(ggn).reshape(W.shape)
    found = set()
    for quantity in ("diag_ggn_exact", "ggn", "ggnmp", "sqrt_ggn_exact", "diag_ggn_exact_batch"):
        value = given(tape, loss, quantity, outputs=outputs)
        if value is None:
            continue
        found.add(quantity)
        if quantity == "diag_ggn_exact":
            assert_close(value["w"], diagonal, quantity)
        elif quantity == "diag_ggn_exact_batch":
            assert name in SEPARATE
            assert_close(value["w"].sum(0), diagonal, quantity)
        elif quantity == "ggn":
            assert_close(value @ np.eye(W.size), ggn, quantity)
        elif quantity == "ggnmp":
            product = value["w"](np.eye(W.size).reshape(-1, *W.shape))
            assert_close(product.reshape(ggn.shape), ggn, quantity)
        else:
            rows = value["w"].reshape(-1, W.size)
            assert_close(rows.T @ rows, ggn, quantity)
    if name in SEPARATE and name != "softmax of each":
        assert found >= {"diag_ggn_exact", "ggn", "ggnmp"}


@pytest.mark.parametrize(
    ("name", "operation"),
    [("listwise", "log_softmax"), ("a squared mean", "square"), ("logaddexp.reduce", "logsumexp")],
)
def test_the_operation_that_couples_is_named(name, operation):
    tape, loss, outputs = recorded(COUPLED[name])
    message = rf"no sum over samples of `outputs`: {operation} \(test_coupled_samples.py:\d+\)"
    with pytest.raises(tracer.QuantityError, match=message):
        tape.backward(loss, "diag_ggn_exact", outputs=outputs)


def test_one_sample_is_not_coupled_to_itself():
    w = tracer.parameter(W, name="w")
    with tracer.Tape() as tape:
        outputs = tracer.batch(X[:1]) @ w
        loss = np.sum(np.mean(outputs, 0) ** 2)
    value = tape.backward(loss, "diag_ggn_exact", outputs=outputs)["diag_ggn_exact"]["w"]
    assert_close(value, np.repeat(2 * X[0, :, None] ** 2, 2, axis=1), "diag_ggn_exact")


@tracer.operation("test_loss_of_pairs")
class LossOfPairs(tracer.Operation):
    """A third party's loss that says that it is a sum over samples, and is not."""

    loss = True
    saves = ("inputs",)

    def forward(x):
        return x * np.sum(x)

    def vjp(node, g):
        (x,) = node.inputs
        return (g * np.sum(x) + np.sum(g * x, -1, keepdims=True),)

    def batch_axis(node, axes):
        return axes[0]


def test_a_registered_loss_that_couples_samples():
    w = tracer.parameter(W[:, 0], name="w")
    with tracer.Tape() as tape:
        loss = np.sum(LossOfPairs(tracer.batch(X) @ w))
    with pytest.raises(tracer.QuantityError, match=r"test_loss_of_pairs .* mixes them"):
        tape.backward(loss, "diag_ggn_exact")


# -- the Hessian's diagonal ------------------------------------------------------------------------


def tanh_model(p, x):
    return np.tanh(x @ p["w"]) @ p["v"] + p["b"]


P = {"w": W, "v": rng.standard_normal((2, 2)), "b": np.array([0.3, -0.2])}


def recorded_model(function):
    leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
    with tracer.Tape() as tape:
        loss = function(tanh_model(leaves, tracer.batch(X)))
    return tape, loss


@pytest.mark.parametrize("name", SEPARATE | COUPLED)
def test_the_diagonal_of_the_hessian(name):
    function = (SEPARATE | COUPLED)[name]
    hessian = hessian_of(lambda p: function(tanh_model(p, X)), P)
    tape, loss = recorded_model(function)
    results = given(tape, loss, "diag_h")
    for key, span in spans(P).items():
        assert_close(results[key].ravel(), np.diagonal(hessian)[span], key)


@pytest.mark.parametrize("name", SEPARATE | COUPLED)
def test_each_samples_share_of_it(name):
    """A share is of the objective with the other outputs held fixed, where it is a sum."""
    tape, loss = recorded_model((SEPARATE | COUPLED)[name])
    results = given(tape, loss, ("diag_h_batch", "diag_h"))
    if name in COUPLED:
        assert results is None
        return
    assert results is not None
    for n in range(N):
        others = tanh_model(P, X)

        def share(p, n=n, others=others):
            z = tanh_model(p, X[n : n + 1])
            return SEPARATE[name](np.concatenate([others[:n], z, others[n + 1 :]]))

        hessian = hessian_of(share, P)
        for key, span in spans(P).items():
            value = results["diag_h_batch"][key][n].ravel()
            assert_close(value, np.diagonal(hessian)[span], f"{key} of sample {n}")


#: of several operations, in which samples meet a statistic of the batch again
REFUSED = {name for name in COUPLED if given(*recorded_model(COUPLED[name]), "grad_batch") is None}


@pytest.mark.parametrize("name", sorted((SEPARATE | COUPLED).keys() - REFUSED))
def test_a_share_of_the_gradient_is_what_flows_through_the_sample(name):
    """Of the objective with the other outputs held fixed, whether or not it is a sum."""
    function, others = (SEPARATE | COUPLED)[name], tanh_model(P, X)
    tape, loss = recorded_model(function)
    found = tape.backward(loss, ("grad", "grad_batch"))
    for n in range(N):

        def share(p, n=n):
            z = tanh_model(p, X[n : n + 1])
            return function(np.concatenate([others[:n], z, others[n + 1 :]]))

        for key, value in tracer.grad(share)(P).items():
            assert_close(found["grad_batch"][key][n], value, f"{key} of sample {n}")
    for key, value in found["grad"].items():
        assert_close(found["grad_batch"][key].sum(0), value, key)


@pytest.mark.parametrize("name", sorted(COUPLED.keys() - NEEDING_ALL))
def test_of_one_sample_it_is_refused_or_the_diagonal(name):
    leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
    with tracer.Tape() as tape:
        loss = COUPLED[name](tanh_model(leaves, tracer.batch(X[:1])))
    results = given(tape, loss, ("diag_h_batch", "diag_h"))
    for key, value in (results or {"diag_h": {}})["diag_h"].items():
        assert_close(results["diag_h_batch"][key].sum(0), value, key)


#: contractions of the samples' axis
CONTRACTIONS = {
    "einsum": lambda z: np.einsum("ni,ni->", z, np.tanh(z)),
    "of chosen ones": lambda z: np.einsum("ni,ni->", z[[2, 0, 3, 1]], np.tanh(z[[2, 0, 3, 1]])),
    "a matrix product": lambda z: np.sum(np.tanh(z).T @ z),
    "vdot": lambda z: np.vdot(z, np.sin(z)),
}


@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_products_that_sum_over_samples(name, scale):
    """A parameter that enters by products with the Hessian has no share, or the right one."""

    def function(p, x):
        return CONTRACTIONS[name](tanh_model(p | {"w": p["w"] + scale * p["w"] ** 2}, x))

    leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
    with tracer.Tape() as tape:
        loss = function(leaves, tracer.batch(X))
    whole = given(tape, loss, "diag_h")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedWarning)
        shares = given(tape, loss, "diag_h_batch") or {}
    hessian = hessian_of(lambda p: function(p, X), P)
    for key, span in spans(P).items():
        assert_close(whole[key].ravel(), np.diagonal(hessian)[span], key)
        if key in shares:
            assert_close(shares[key].sum(0), whole[key], key)


SEQUENCES, STEPS = (
    rng.standard_normal((3, 4, 3)),
    np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]]),
)


def weighted(losses):
    return sum((1 + n) * loss for n, loss in enumerate(losses))


#: objectives of outputs `[N, T, C]` and targets `[N, T]`, whose samples are taken one by one
ONE_BY_ONE = {
    "losses": lambda z, y: weighted(nn.cross_entropy(z[n], y[n]) for n in range(len(z))),
    "plain code": lambda z, y: weighted(np.sum(np.exp(z[n])) for n in range(len(z))),
    "unreduced losses": lambda z, y: weighted(
        np.sum(each) for each in nn.cross_entropy(np.moveaxis(z, 2, 1), y, reduction="none")
    ),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_samples_that_are_taken_one_by_one(name):
    function, (x, y) = ONE_BY_ONE[name], (SEQUENCES, STEPS)
    leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
    with tracer.Tape() as tape:
        loss = function(tanh_model(leaves, tracer.batch(x)), y)
    results = given(tape, loss, ("diag_h_batch", "diag_h"))
    for n in range(len(x)):
        one = [n]
        hessian = (1 + n) * hessian_of(
            lambda p, one=one: function(tanh_model(p, x[one]), y[one]), P
        )  # fmt: skip
        for key, span in spans(P).items():
            value = results["diag_h_batch"][key][n].ravel()
            assert_close(value, np.diagonal(hessian)[span], f"{key} of sample {n}")
    for key, value in results["diag_h"].items():
        assert_close(value, results["diag_h_batch"][key].sum(0), key)


@pytest.mark.parametrize("others", [(), ("diag_h",), ("grad",), ("diag_ggn_exact",)])
@pytest.mark.parametrize("fits", [False, True])
@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
def test_contrastive_losses_have_no_shares(others, fits):
    """Whatever else is asked for, and where the gradient is zero, too."""
    w = tracer.parameter(W, name="w")
    with tracer.Tape() as tape:
        first, second = tracer.batch(X[:3]) @ w, tracer.batch(np.cos(X[:3])) @ w
        similar = first @ second.T
        if fits:
            loss = nn.mse_loss(similar, similar.data.copy())
        else:
            loss = nn.cross_entropy(similar, np.arange(3))
    message = "diag_h_batch is undefined here: matmul .* mixes different samples"
    with pytest.raises(tracer.BatchError, match=message):
        tape.backward(loss, ("diag_h_batch", *others))


# -- terms of data that nobody marked --------------------------------------------------------------

MODEL = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
PER_SAMPLE = (
    *("grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "variance"),
    *("sqrt_ggn_exact", "diag_ggn_exact_batch", "diag_h_batch"),
)


def adversarial(x, y):
    direction = np.sign(tracer.grad(lambda v: nn.cross_entropy(MODEL(v), y))(x))
    return nn.cross_entropy(MODEL(x), y) + nn.cross_entropy(MODEL(x + 0.1 * direction), y)


def physics_informed(x, y):
    slope = tracer.grad(lambda v: np.sum(MODEL(v)))(x)
    return nn.mse_loss(slope, np.ones(x.shape)) + nn.cross_entropy(MODEL(x), y)


def with_raw(term):
    return lambda x, y: nn.cross_entropy(MODEL(x), y) + term(x, MODEL[0].weight)


OF_DATA = {
    "adversarial": adversarial,
    "physics-informed": physics_informed,
    "a product": lambda x, y: (
        nn.cross_entropy(MODEL(x), y)
        + nn.mse_loss(tracer.jvp(MODEL, (x,), (np.ones(x.shape),))[1], np.ones(x.shape))
    ),
    "a raw loss": with_raw(lambda x, w: nn.mse_loss(np.tanh(np.asarray(x) @ w.T), x)),
}


def per_sample(loss, tape):
    """By quantity, values or None where refused."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gauss-Newton quantities leave out")
        return {quantity: given(tape, loss, quantity) for quantity in PER_SAMPLE}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("name", OF_DATA)
def test_a_term_of_unmarked_data_does_not_drop_out(name, count):
    y = LABELS[:count]
    with tracer.Tape() as tape:
        loss = OF_DATA[name](X[:count], y)
    assert set(per_sample(loss, tape).values()) == {None}
    with pytest.raises(tracer.BatchError, match=r"nobody marked.* x = tracer.batch\(x\)"):
        tape.backward(loss, "grad_batch")
    if name == "a raw loss":
        return
    with tracer.Tape() as tape:
        loss = OF_DATA[name](tracer.batch(X[:count]), y)
    results = given(tape, loss, ("grad", "grad_batch"))
    for key, value in results["grad"].items():
        assert_close(results["grad_batch"][key].sum(0), value, key)


@pytest.mark.parametrize(
    "term",
    [lambda h: nn.mse_loss(h, np.zeros((5, 3))), lambda h: np.mean(np.tanh(h) ** 2)],
    ids=["registered", "plain"],
)
def test_a_term_of_unmarked_data_of_another_length_is_told_of(term):
    """Of as many rows as a penalty may have, so that it is left out with a warning."""
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(MODEL(X), LABELS)
        loss = loss + term(np.ones((5, 3)) @ MODEL[0].weight)
    for quantity in ("grad_batch", "sum_grad_squared", "sqrt_ggn_exact"):
        with pytest.warns(UserWarning, match="leaves? out .*") as told:
            given(tape, loss, quantity)
        assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tape.backward(loss, "grad")


PENALTIES = {
    "squares": lambda w: 0.1 * np.sum(w**2),
    "masked": lambda w: 0.1 * np.sum(w**2 * np.eye(3)),
    "a distance": lambda w: nn.mse_loss(w, np.ones((3, 3))),
    "a registered one": lambda w: nn.l2_penalty(w),
    "orthogonality": lambda w: np.sum((w @ w.T - np.eye(3)) ** 2),
    "scaled rows": lambda w: np.sum(np.arange(3.0)[:, None] * abs(w)),
}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_of_parameters_alone_are_in_no_share(name, count):
    def shares(penalty):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(MODEL(X[:count]), LABELS[:count])
            loss = loss + penalty(MODEL[0].weight)
        return per_sample(loss, tape)

    without = shares(lambda w: 0.0)
    for quantity, values in shares(PENALTIES[name]).items():
        for key, value in without[quantity].items():
            assert_close(values[key], value, f"{quantity} of {key}")


def test_registered_penalties_where_values_were_read():
    """A parameter of as many rows as there are samples is none of what was read."""
    with tracer.Tape() as tape:
        h = MODEL(X[:3])
        chosen = np.array(np.asarray(np.argmax(h, 1)))
        loss = nn.cross_entropy(h, LABELS[:3])
        penalised = loss + nn.l2_penalty(MODEL[0].bias) + nn.mse_loss(MODEL[0].weight, np.eye(3))
        judged = loss + nn.mse_loss(MODEL[0].weight[chosen], np.eye(3))
    for key, value in tape.backward(loss, "grad_batch")["grad_batch"].items():
        assert_close(tape.backward(penalised, "grad_batch")["grad_batch"][key], value, key)
    with pytest.raises(tracer.BatchError, match="from no marked batch"):
        tape.backward(judged, "grad_batch")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_constants_that_every_sample_meets_are_no_data(count):
    """A table of as many rows as there are samples, whose projection all samples are added to."""
    places = np.cos(np.arange(3.0 * count)).reshape(count, 3)
    with tracer.Tape() as tape:
        table = np.tanh(places @ MODEL[0].weight)
        x = tracer.batch(X[:count])
        h = x[:, None] + table + np.mean(table, axis=0)
        loss = nn.cross_entropy(np.mean(MODEL(h), axis=1), LABELS[:count])
    results = tape.backward(loss, ("grad", "grad_batch"))
    for key, value in results["grad"].items():
        assert_close(results["grad_batch"][key].sum(0), value, key)
