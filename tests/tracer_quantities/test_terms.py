"""Terms of parameters alone, of every form, beside a loss: plain ones, and registered ones.

A plain one counts in the gradient and in the Hessian, and in nothing else.
"""

import tracemalloc
import warnings

import numpy as np
import pytest
from brute_force import CURVATURE, FIRST_ORDER, REGISTERED, Problem, assert_close
from explicit import Curvature, flat, hessian_of, ordered, placed
from zoo import MODELS, draw

import tracer
from tracer_layers.functional import (
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    l2_penalty,
    linear,
    mse_loss,
)

PENALTIES = {
    "squares": lambda p: 0.1 * sum(np.sum(w**2) for w in p.values()),
    "absolute values": lambda p: 0.2 * sum(np.sum(np.abs(w)) for w in p.values()),
    "norms of groups": lambda p: sum(
        np.sum(np.linalg.norm(w.reshape(-1, 1), axis=1)) for w in all_of(p)
    ),
    "log-determinant": lambda p: sum(log_det(w.reshape(-1, 1)) for w in all_of(p)),
    "distance": lambda p: sum(np.mean((w - 0.3 * np.ones(w.shape)) ** 2) for w in all_of(p)),
    "a quartic of all": lambda p: sum(np.sum(w**2) for w in all_of(p)) ** 2,
    "sums": lambda p: sum(np.sum(w) for w in all_of(p)),
    "products of parameters": lambda p: np.exp(-0.1 * sum(np.sum(np.sin(w)) for w in all_of(p))),
    "one parameter": lambda p: np.sum(np.cosh(all_of(p)[-1])),
    "precisions": lambda p: sum(quadratic(w.reshape(-1)) for w in all_of(p)),
}


def all_of(p):
    return list(p.values())


def log_det(column):
    return np.linalg.slogdet(column.T @ column + np.eye(1))[1]


def quadratic(w):
    size = w.shape[0]
    return 0.5 * w @ (np.eye(size) + 0.1 * np.ones((size, size))) @ w


#: how loss and penalty combine, and the weight of either
COMBINATIONS = {
    "added": (lambda loss, penalty: loss + penalty, 1, 1),
    "under one weight": (lambda loss, penalty: 0.5 * (loss + 3 * penalty), 0.5, 1.5),
    "nested": (lambda loss, penalty: ((2 * loss - (-penalty)) / 4 + 1.0) * 2, 1, 0.5),
    "stacked": (lambda loss, penalty: np.mean(np.stack([loss, penalty])), 0.5, 0.5),
    "subtracted": (lambda loss, penalty: loss - 0.1 * penalty, 1, -0.1),
    "indexed": (lambda loss, penalty: np.sum(np.stack([penalty, loss])[::-1]), 1, 1),
}


def swept(problem, combine, penalty, quantities, **options):
    """Results of the combined objective, and the messages of warnings."""
    with tracer.Tape() as tape:
        leaves = {k: tracer.parameter(v, name=k) for k, v in problem.parameters.items()}
        inputs = [
            tracer.batch(x, axis=axis) for x, axis in zip(problem.inputs, problem.axes, strict=True)
        ]
        output = problem.model(leaves, inputs)
        loss = REGISTERED[problem.kind](output, problem.target, reduction=problem.reduction)
        total = combine(loss, penalty(leaves))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = tape.backward(total, quantities, **options)
    return results, [str(w.message) for w in caught if "leave out" in str(w.message)]


def dense(operator):
    return operator @ np.eye(operator.shape[0])


GAUSS_NEWTON = (*CURVATURE, "ggn", "fisher_mc", "fisher_empirical", "diag_ggn_mc", "ggnmp")


def assert_plain(problem, penalty, form):
    combine, weight, share = COMBINATIONS[form]
    expected = Curvature(problem)
    parameters = problem.parameters
    gradient = expected.gradients.sum(0) * weight
    hessian = expected.hessians.sum(0) * weight
    vector = flat(parameters)
    gradient = gradient + share * tracer.grad(lambda v: penalty(placed(parameters, v)))(vector)
    hessian = hessian + share * hessian_of(penalty, parameters)

    # what has the penalty in it
    asked = ("grad", "diag_h", "hmp", "hessian")
    results, said = swept(problem, combine, penalty, asked)
    assert not said
    assert_close(dense(results["hessian"]), ordered(hessian, parameters, results["hessian"]), "H")
    blocks = expected.blocks(hessian)
    for name, g in placed(parameters, gradient).items():
        assert_close(results["grad"][name], g, f"grad of {name}")
        diagonal = np.diagonal(blocks[name]).reshape(g.shape)
        assert_close(results["diag_h"][name], diagonal, f"diag_h of {name}")
        assert_close(results["hmp"][name](g).ravel(), blocks[name] @ g.ravel(), f"hmp of {name}")

    # what has not
    asked = (*FIRST_ORDER, *GAUSS_NEWTON)
    results, said = swept(problem, combine, penalty, asked, rng=np.random.default_rng(1))
    assert len(said) == 1
    assert "test_terms.py:" in said[0]
    assert all(repr(name) in said[0] for name in list(parameters)[-1:])
    bare, said = swept(
        problem, lambda loss, _: weight * loss, penalty, asked, rng=np.random.default_rng(1)
    )
    assert not said
    for quantity, values in bare.items():
        if quantity == "grad":
            values = placed(parameters, gradient)
        if hasattr(values, "matmat"):
            assert_close(dense(results[quantity]), dense(values), quantity)
            continue
        for name in parameters:
            mine, value = results[quantity][name], values[name]
            if callable(value):
                mine, value = mine(parameters[name]), value(parameters[name])
            assert_close(mine, value, f"{quantity} of {name}")


@pytest.mark.parametrize("number", range(len(MODELS)), ids=list(MODELS))
def test_plain_penalties_count_in_gradient_and_hessian_alone(number):
    function, parameters, inputs, axes = draw(list(MODELS)[number], np.random.default_rng(number))
    form = list(COMBINATIONS)[number % len(COMBINATIONS)]
    name = list(PENALTIES)[number % len(PENALTIES)]
    kind = ("squared", "cross_entropy")[number % 2]
    assert_plain(Problem(function, parameters, inputs, axes, kind), PENALTIES[name], form)


@pytest.mark.slow
@pytest.mark.parametrize("form", COMBINATIONS)
@pytest.mark.parametrize("name", PENALTIES)
def test_plain_penalties_of_every_form(name, form):
    function, parameters, inputs, axes = draw("mlp", np.random.default_rng(7))
    assert_plain(Problem(function, parameters, inputs, axes), PENALTIES[name], form)


REGISTERED_PENALTIES = {
    "squares": lambda p: l2_penalty(*p.values()),
    "squares of one": lambda p: 0.5 * l2_penalty(all_of(p)[0]),
    "distance": lambda p: mse_loss(all_of(p)[0], np.ones(all_of(p)[0].shape)),
    "Huber's": lambda p: huber_loss(all_of(p)[0], np.zeros(all_of(p)[0].shape), reduction="sum"),
    "absolute values": lambda p: l1_loss(all_of(p)[0], np.zeros(all_of(p)[0].shape)),
    "squares of a function": lambda p: l2_penalty(np.sin(all_of(p)[0])),
    "two": lambda p: l2_penalty(all_of(p)[0]) + 2 * l2_penalty(all_of(p)[0], all_of(p)[-1]),
}


def gauss_newton_of(name, p):
    """`[P, P]` of a registered penalty: its Hessian, or `J^T H J` for the one that bends."""
    if name != "squares of a function":
        return hessian_of(REGISTERED_PENALTIES[name], p)
    matrix = np.zeros((flat(p).size,) * 2)
    first = all_of(p)[0].ravel()
    matrix[np.arange(first.size), np.arange(first.size)] = 2 * np.cos(first) ** 2
    return matrix


@pytest.mark.parametrize("form", [form for form in COMBINATIONS if form != "subtracted"])
@pytest.mark.parametrize("name", REGISTERED_PENALTIES)
@pytest.mark.parametrize("budget", [None, 20_000])
def test_registered_penalties_count_in_the_gauss_newton_matrix(name, form, budget):
    function, parameters, inputs, axes = draw("mlp", np.random.default_rng(8))
    problem = Problem(function, parameters, inputs, axes)
    combine, weight, share = COMBINATIONS[form]
    asked = ("grad", "diag_ggn_exact", "diag_ggn_exact_batch", "ggn", "ggnmp", "hessian", "diag_h")
    penalty = REGISTERED_PENALTIES[name]
    results, said = swept(problem, combine, penalty, asked, memory_budget=budget)
    assert not said
    expected = Curvature(problem)
    samples = weight * expected.ggns
    ggn = samples.sum(0) + share * gauss_newton_of(name, parameters)
    hessian = weight * expected.hessians.sum(0) + share * hessian_of(penalty, parameters)
    assert_close(dense(results["ggn"]), ordered(ggn, parameters, results["ggn"]), "ggn")
    assert_close(dense(results["hessian"]), ordered(hessian, parameters, results["hessian"]), "H")
    for key, block in expected.blocks(ggn).items():
        shape = parameters[key].shape
        v = np.cos(np.arange(block.shape[0])).reshape(shape)
        assert_close(results["diag_ggn_exact"][key], np.diagonal(block).reshape(shape), key)
        assert_close(results["ggnmp"][key](v).ravel(), block @ v.ravel(), f"ggnmp of {key}")
    for key, block in expected.blocks(samples).items():
        each = np.diagonal(block, axis1=1, axis2=2).reshape(-1, *parameters[key].shape)
        assert_close(results["diag_ggn_exact_batch"][key], each, f"diag_ggn_exact_batch of {key}")
    for key, block in expected.blocks(hessian).items():
        assert_close(results["diag_h"][key].ravel(), np.diagonal(block), f"diag_h of {key}")


def test_a_registered_penalty_needs_no_row_for_each_element():
    """60,000 elements: their square would take 28 GB."""
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones((300, 200)), name="w")
        loss = mse_loss(tracer.batch(np.ones((2, 300))) @ w, np.ones((2, 200))) + l2_penalty(w)
    tracemalloc.start()
    results = tape.backward(loss, ("grad", "diag_ggn_mc", "ggn"))
    results["ggn"] @ np.ones(60_000)
    results = tape.backward(loss, ("grad", "ggnmp", "diag_ggn_exact"), memory_budget=20_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_close(results["diag_ggn_exact"]["w"], np.full((300, 200), 2 + 2 / 200), "diag_ggn_exact")
    assert peak < 200e6


def test_kronecker_factors_leave_registered_penalties_out_with_a_warning():
    with tracer.Tape() as tape:
        m = Traced()
        bare, loss = m.ce(), m.ce() + l2_penalty(m.w)
    with pytest.warns(
        UserWarning, match=r"kflr leaves out the penalty on 'w' \(test_terms.py:\d+\), a"
    ):
        results = tape.backward(loss, ("kflr", "diag_ggn_exact"))
    with pytest.warns(UserWarning, match=r"kflr and kfac leave out the penalty on 'w'"):
        tape.backward(loss, ("kflr", "kfac"))
    factors = tape.backward(bare, ("kflr",))["kflr"]
    for key in ("w", "v", "s"):
        assert_close(results["kflr"][key].dense(), factors[key].dense(), key)


@pytest.mark.parametrize("penalty", [l2_penalty, lambda w: np.sum(w**2)], ids=["l2", "plain"])
def test_many_penalties_are_told_of_in_few_words(penalty):
    with tracer.Tape() as tape:
        scales = [tracer.parameter(np.ones(2), name=f"s{i}") for i in range(9)]
        h = tracer.batch(np.ones((3, 2)))
        for s in scales:
            h = h * s
        loss = mse_loss(h, np.zeros((3, 2))) + sum(penalty(s) for s in scales)
    with pytest.warns(UserWarning, match="leaves? out") as told:
        tape.backward(loss, "kflr")
    (warning,) = told
    assert "'s0', 's1', 's2', 's3', ..." in str(warning.message)
    assert str(warning.message).count("test_terms.py") == 1


def test_objectives_of_registered_penalties_alone():
    """Rows of a marked batch that there is, and that nothing depends on, are none."""
    with tracer.Tape() as tape:
        m = Traced()
        loss = l2_penalty(m.w) + 3 * l2_penalty(m.w, m.v) + 0 * np.mean(m.f)
    with pytest.raises(tracer.QuantityError, match=r"multiply|mean"):
        tape.backward(loss, ("diag_ggn_exact",))
    with tracer.Tape() as tape:
        w = tracer.parameter(W, name="w")
        frozen = np.tanh(tracer.batch(X) @ np.ones((3, 2)))
        loss = l2_penalty(w) + 3 * l2_penalty(w) + mse_loss(frozen, T)
    results = tape.backward(loss, ("grad", "diag_ggn_exact", "ggn", "hessian"))
    assert_close(results["grad"]["w"], 8 * W, "grad")
    assert_close(results["diag_ggn_exact"]["w"], np.full(W.shape, 8.0), "diag_ggn_exact")
    assert_close(dense(results["ggn"]), dense(results["hessian"]), "ggn")


def test_sampled_curvature_of_a_registered_penalty():
    """Exact on a parameter itself, right in expectation of a function of one."""
    with tracer.Tape() as tape:
        w = tracer.parameter(W, name="w")
        idle = 0.0 * mse_loss(tracer.batch(X) @ w, T)
        exact, sampled = l2_penalty(w) + idle, l2_penalty(2 * w) + idle
    results = tape.backward(exact, ("diag_ggn_mc", "fisher_mc"))
    assert_close(results["diag_ggn_mc"]["w"], np.full(W.shape, 2.0), "diag_ggn_mc")
    assert_close(dense(results["fisher_mc"]), 2 * np.eye(W.size), "fisher_mc")
    drawn = [
        tape.backward(sampled, ("diag_ggn_mc",), rng=np.random.default_rng(i))["diag_ggn_mc"]["w"]
        for i in range(400)
    ]
    assert abs(np.mean(drawn) - 8) < 0.8


# -- terms that do not split -----------------------------------------------------------------------

rng = np.random.default_rng(3)
X, W, V = rng.standard_normal((5, 3)), rng.standard_normal((3, 2)), rng.standard_normal((2, 2))
T, LABELS, RAW = rng.standard_normal((5, 2)), np.array([0, 1, 1, 0, 1]), X[::-1].copy()


class Traced:
    """`f = tanh(x w) v + s`, marked or not, and the parameters."""

    def __init__(self, mark=tracer.batch):
        self.w, self.v = tracer.parameter(W, name="w"), tracer.parameter(V, name="v")
        self.s = tracer.parameter(np.array(0.3), name="s")
        self.x = mark(X)
        self.hidden = np.tanh(self.x @ self.w)
        self.f = self.hidden @ self.v + self.s

    def ce(self, **options):
        return cross_entropy(self.f, LABELS, **options)


#: objective -> the operation that the error names
REFUSED = {
    "an auxiliary loss": (lambda m: m.ce() + 0.3 * np.mean((m.hidden - T) ** 2), "multiply"),
    "a mean of the outputs": (lambda m: m.ce() + np.mean(m.f), "mean"),
    "beside a penalty": (lambda m: m.ce() + (np.sum(m.w**2) + np.mean(m.f**2)), "mean"),
    "raw data": (lambda m: m.ce() + np.mean((RAW @ m.w) ** 2), "mean"),
    "raw data in a layer": (lambda m: m.ce() + np.mean(linear(RAW, m.w.T) ** 2), "mean"),
    "raw targets": (lambda m: m.ce() + np.mean((np.sum(m.w) - T[:, 0]) ** 2), "mean"),
    "what was detached": (lambda m: m.ce() + np.mean((m.hidden.detach() @ m.v) ** 2), "mean"),
    "a learned weight": (lambda m: np.exp(-m.s) * m.ce() + m.s, "multiply"),
    "a divisor": (lambda m: m.ce() / m.s**2, "divide"),
    "learned weights": (
        lambda m: np.sum(np.stack([m.s, np.sum(m.v)]) * np.stack([m.ce(), mse_loss(m.f, T)])),
        "multiply",
    ),
    "weights of samples": (lambda m: np.mean(m.ce(reduction="none") * np.sum(m.v)), "multiply"),
    "a function of a loss": (lambda m: np.sqrt(m.ce()), "sqrt"),
    "a product of losses": (lambda m: m.ce() * mse_loss(m.f, T), "multiply"),
    "a choice": (lambda m: np.maximum(m.ce(), mse_loss(m.f, T)), "maximum"),
    "a penalty in a function": (lambda m: np.log(m.ce() + np.sum(m.w**2)), "log"),
    "a learned target": (lambda m: mse_loss(m.f, m.hidden * m.s), "squared_error"),
    "a learned variance": (
        lambda m: gaussian_nll_loss(m.f, T, np.exp(m.s) * np.ones((5, 2))),
        "gaussian_nll",
    ),
}
QUANTITIES = ("diag_ggn_exact", "kflr", "ggn", "ggnmp", "fisher_mc", "fisher_empirical", "kfac")


@pytest.mark.parametrize("mark", [tracer.batch, np.array], ids=["marked", "unmarked"])
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_term_of_samples_that_does_not_split_is_named(name, quantity, mark):
    objective, op = REFUSED[name]
    with tracer.Tape() as tape:
        loss = objective(Traced(mark))
    with pytest.raises(tracer.QuantityError, match=rf"{quantity} .*{op} \((test_terms|\w+).py:\d+"):
        tape.backward(loss, (quantity,))
    tape.backward(loss, ("grad", "hmp", "diag_h"))


@pytest.mark.parametrize("objective", [lambda m: np.sum(m.w**2), lambda m: m.s + np.exp(m.s)])
def test_a_penalty_alone_has_no_gauss_newton_matrix(objective):
    with tracer.Tape() as tape:
        loss = objective(Traced())
    for quantity in QUANTITIES:
        with pytest.raises(tracer.QuantityError, match=r"term made by \w+ .* of '[ws]'.*alone"):
            tape.backward(loss, (quantity,))
    tape.backward(loss, ("grad", "hessian", "diag_h", "hmp"))


def test_a_penalty_of_frozen_parameters_is_a_constant():
    frozen = tracer.parameter(W, name="frozen").detach()
    with tracer.Tape() as tape:
        m = Traced()
        loss = m.ce() + np.sum(frozen**2)
        bare = m.ce()
    value = tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]["w"]
    assert_close(value, tape.backward(bare, ("diag_ggn_exact",))["diag_ggn_exact"]["w"], "w")


# -- losses in plain code, split at `outputs` ------------------------------------------------------

PLAIN_OUTPUTS = {
    "added": (lambda f, m: np.mean((f - T) ** 2) + 0.1 * np.sum(m.w**2), True, 0),
    "weighed": (lambda f, m: 0.5 * (2 * np.mean((f - T) ** 2) + m.s), True, 0),
    "registered": (lambda f, m: np.mean((f - T) ** 2) + 0.1 * l2_penalty(m.w), False, 0.2),
    "both": (
        lambda f, m: np.mean((f - T) ** 2) + 0.1 * l2_penalty(m.w) + np.exp(m.s),
        True,
        0.2,
    ),
}


@pytest.mark.parametrize("name", PLAIN_OUTPUTS)
def test_what_goes_past_the_outputs(name):
    objective, warned, added = PLAIN_OUTPUTS[name]
    asked = ("grad", "diag_ggn_exact", "ggn", "hessian")
    with tracer.Tape() as tape:
        m = Traced()
        loss = objective(m.f, m)
        bare = mse_loss(m.f, T)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = tape.backward(loss, asked, outputs=m.f)
    assert len(caught) == warned
    expected = tape.backward(bare, asked)
    for key, value in expected["diag_ggn_exact"].items():
        more = added if key == "w" else 0
        assert_close(results["diag_ggn_exact"][key], value + more, key)
    places = results["ggn"].parameters
    diagonal = np.zeros(results["ggn"].shape[0])
    diagonal[places["w"]] = added
    assert list(places) == list(expected["ggn"].parameters)
    assert_close(dense(results["ggn"]), dense(expected["ggn"]) + np.diag(diagonal), "ggn")
    for key, value in tape.backward(loss)["grad"].items():
        assert_close(results["grad"][key], value, key)


def test_a_registered_loss_of_samples_past_the_outputs_counts():
    with tracer.Tape() as tape:
        m = Traced()
        split = np.mean((m.f - T) ** 2) + 0.3 * mse_loss(m.hidden, T)
        registered = mse_loss(m.f, T) + 0.3 * mse_loss(m.hidden, T)
    results = tape.backward(split, ("grad", "diag_ggn_exact", "ggn"), outputs=m.f)
    expected = tape.backward(registered, ("grad", "diag_ggn_exact", "ggn"))
    for quantity in ("grad", "diag_ggn_exact"):
        for key, value in expected[quantity].items():
            assert_close(results[quantity][key], value, f"{quantity} of {key}")
    assert_close(dense(results["ggn"]), dense(expected["ggn"]), "ggn")


REFUSED_PAST_OUTPUTS = {
    "a plain loss": (lambda f, m: np.mean(f * f) + np.mean(m.hidden**2), "mean"),
    "a learned weight": (lambda f, m: np.exp(-m.s) * np.mean(f * f) + m.s, "multiply"),
    "a penalty in a function": (lambda f, m: np.sqrt(np.mean(f * f) + np.sum(m.w**2)), "sqrt"),
    "a head": (lambda f, m: mse_loss(f @ m.v, T), "squared_error"),
}


@pytest.mark.parametrize("name", REFUSED_PAST_OUTPUTS)
def test_what_goes_past_the_outputs_and_does_not_split_is_named(name):
    objective, op = REFUSED_PAST_OUTPUTS[name]
    with tracer.Tape() as tape:
        m = Traced()
        loss = objective(m.f, m)
    for quantity in ("diag_ggn_exact", "ggn", "kflr"):
        with pytest.raises(tracer.QuantityError, match=rf"{op} \(\w+.py:\d+\).*outputs"):
            tape.backward(loss, (quantity,), outputs=m.f)


# -- numbers as predictions ------------------------------------------------------------------------


def test_terms_of_numbers():
    asked = ("grad", "diag_ggn_exact", "ggn", "diag_h")
    with tracer.Tape() as tape:
        m = Traced()
        loss, bare = m.ce() + l2_penalty(m.s), m.ce()
    results, expected = tape.backward(loss, asked), tape.backward(bare, asked)
    assert_close(results["diag_ggn_exact"]["s"], expected["diag_ggn_exact"]["s"] + 2, "s")
    assert_close(results["diag_h"]["s"], expected["diag_h"]["s"] + 2, "s")
    place = results["ggn"].parameters["s"]
    difference = dense(results["ggn"]) - dense(expected["ggn"])
    assert_close(difference[place, place], np.array([[2.0]]), "ggn")
    assert abs(difference).sum() == pytest.approx(2)


@pytest.mark.parametrize("split", [True, False])
def test_a_number_is_a_sample_where_nothing_is_marked(split):
    with tracer.Tape() as tape:
        w = tracer.parameter(W, name="w")
        f = np.sum(np.sin(w))
        loss = f**2 if split else l2_penalty(f)
    results = tape.backward(
        loss, ("grad", "sqrt_ggn_exact", "diag_ggn_exact", "ggn"), outputs=f if split else None
    )
    assert_close(results["diag_ggn_exact"]["w"], 2 * np.cos(W) ** 2, "diag_ggn_exact")
    assert_close(results["sqrt_ggn_exact"]["w"][0, 0] ** 2, 2 * np.cos(W) ** 2, "root")
    column = np.cos(W).reshape(-1, 1)
    assert_close(dense(results["ggn"]), 2 * column @ column.T, "ggn")


# -- weights ---------------------------------------------------------------------------------------


def test_a_weight_of_zero_and_a_loss_twice():
    with tracer.Tape() as tape:
        m = Traced()
        ce = m.ce()
        objectives = [ce + ce, 2 * ce, 2 * ce + 0.0 * mse_loss(m.f, T), m.ce() + m.ce()]
    asked = ("grad", "diag_ggn_exact", "ggn", "diag_h")
    first, *others = [tape.backward(loss, asked) for loss in objectives]
    for results in others:
        for quantity in ("grad", "diag_ggn_exact", "diag_h"):
            for key, value in first[quantity].items():
                assert_close(results[quantity][key], value, f"{quantity} of {key}")
        assert_close(dense(results["ggn"]), dense(first["ggn"]), "ggn")


def test_a_loss_of_a_losses_value():
    """Curvature of both: of the inner one, and of the outer one by the inner's value."""
    with tracer.Tape() as tape:
        m = Traced()
        inner = m.ce(reduction="none")
        loss = np.sum(inner) + mse_loss(inner, np.zeros(5), reduction="sum")
    with tracer.Tape() as split:
        n = Traced()
        outer = mse_loss(n.ce(reduction="none"), np.zeros(5), reduction="sum")
        first = n.ce(reduction="sum")
    results = tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]
    parts = [split.backward(part, ("diag_ggn_exact",))["diag_ggn_exact"] for part in (outer, first)]
    for key, value in results.items():
        assert_close(value, parts[0][key] + parts[1][key], key)


def test_the_quantity_that_is_undefined_is_named_among_others():
    def refused(loss, quantities):
        with tracer.Tape() as tape:
            m = Traced()
            objective = loss(m)
        with pytest.raises(tracer.QuantityError) as caught:
            tape.backward(objective, quantities)
        return str(caught.value)

    for quantities in (("diag_ggn_exact", "kfac"), ("grad", "kflr", "kfac"), ("kfac", "kflr")):
        said = refused(lambda m: huber_loss(m.f, np.zeros(m.f.shape)), quantities)
        assert said.startswith("kfac samples targets"), said
