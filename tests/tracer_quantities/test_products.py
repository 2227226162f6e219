"""Products with curvature matrices, block by block and as SciPy operators; KFRA."""

import gc

import numpy as np
import pytest
import scipy
from brute_force import Problem
from explicit import Curvature, assert_close, flat, hessian_of, ordered, placed, spans
from hypothesis import given, settings
from random_graphs import random_problems
from scipy.sparse.linalg import LinearOperator, cg, eigsh
from zoo import MODELS, draw

import tracer
import tracer_layers as nn
from tracer_layers.functional import cross_entropy, mse_loss
from tracer_quantities import PCHMP, FisherMC

MATRICES = ("hessian", "ggn", "fisher_empirical")


def dense(operator):
    return operator.matmat(np.eye(operator.shape[0]))


def block(product, shape):
    """A block product as a matrix."""
    eye = np.eye(int(np.prod(shape)))
    return product(eye.reshape(-1, *shape)).reshape(eye.shape)


# -- against explicit matrices ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("name", MODELS)
def test_every_way_to_use_a_parameter(name, kind):
    function, parameters, inputs, axes = draw(name, np.random.default_rng(0))
    reduction = "mean" if kind == "squared" else "sum"
    problem = Problem(function, parameters, inputs, axes, kind, reduction)
    assert_products(problem)


@settings(max_examples=40, derandomize=True)
@given(problem=random_problems())
def test_random_graphs(problem):
    assert_products(problem)


def assert_products(problem):
    explicit = Curvature(problem)
    results = problem.backward((*MATRICES, "hmp", "ggnmp"))
    expected = {
        "hessian": explicit.hessians.sum(0),
        "ggn": explicit.ggns.sum(0),
        "fisher_empirical": explicit.gradients.T @ explicit.gradients / problem.weight,
    }
    for quantity, matrix in expected.items():
        operator = results[quantity]
        assert_close(dense(operator), ordered(matrix, problem.parameters, operator), quantity)
    for quantity, matrix in (("hmp", "hessian"), ("ggnmp", "ggn")):
        blocks = explicit.blocks(expected[matrix])
        for key, product in results[quantity].items():
            mine = block(product, problem.parameters[key].shape)
            assert_close(mine, blocks[key], f"{quantity} of {key}")


X = np.random.default_rng(3).standard_normal((5, 3))
Y = np.random.default_rng(4).standard_normal((5, 2))
LABELS = np.array([0, 1, 1, 0, 1])
P = {
    name: np.random.default_rng(i).standard_normal(shape)
    for i, (name, shape) in enumerate({"w": (3, 4), "b": (4,), "v": (4, 2)}.items())
}


def network(p, x):
    return np.tanh(x @ p["w"] + p["b"]) @ p["v"]


def run(objective, quantities, model=network, outputs=False, x=X, **options):
    """`objective(output, parameters)` of the network at `x`."""
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        output = model(leaves, tracer.batch(x))
        loss = objective(output, leaves)
    if outputs:
        options["outputs"] = output
    return tape.backward(loss, quantities, **options)


def gauss_newton_of(losses, model=network):
    """`J^T H J` of the whole batch's output, for losses of the output alone."""
    jacobian = tracer.jacobian(lambda v: model(placed(P, v), X).reshape(-1))(flat(P))
    output = model(P, X)
    inner = tracer.hessian(lambda f: losses(f.reshape(output.shape)))(output.reshape(-1))
    return jacobian.T @ inner @ jacobian


def both(f, p=None):
    return 2 * mse_loss(f, Y) + 0.3 * cross_entropy(f, LABELS)


def test_several_losses():
    results = run(both, ("ggn", "hessian"))
    assert_close(dense(results["ggn"]), gauss_newton_of(both), "ggn")
    hessian = hessian_of(lambda p: both(network(p, X)), P)
    assert_close(dense(results["hessian"]), hessian, "hessian")


def test_a_negative_weight():
    def objective(f, p=None):
        return mse_loss(f, Y) - 0.5 * cross_entropy(f, LABELS)

    operator = run(objective, ("hessian",))["hessian"]
    assert_close(dense(operator), hessian_of(lambda p: objective(network(p, X)), P), "hessian")
    with pytest.raises(tracer.QuantityError, match=r"ggn is undefined.*negative weight"):
        dense(run(objective, ("ggn",))["ggn"])


def test_a_penalty_in_plain_code():
    def objective(f, p):
        return mse_loss(f, Y) + 0.1 * np.sum(p["w"] ** 4) + np.sum(np.sin(p["b"]) * p["b"])

    operator = run(objective, ("hessian",))["hessian"]
    hessian = hessian_of(lambda p: objective(network(p, X), p), P)
    assert_close(dense(operator), hessian, "hessian")
    with pytest.warns(UserWarning, match=r"sum.*multiply.*'w', 'b'"):
        operator = run(objective, ("ggn",))["ggn"]
    assert_close(dense(operator), gauss_newton_of(lambda f: mse_loss(f, Y)), "ggn")


def test_a_registered_loss_of_parameters_counts_in_the_gauss_newton_matrix():
    def objective(f, p):
        return mse_loss(f, Y) + 0.1 * mse_loss(p["w"], np.zeros((3, 4)), reduction="sum")

    penalty = np.zeros(len(flat(P)))
    penalty[spans(P)["w"]] = 0.2
    expected = gauss_newton_of(lambda f: mse_loss(f, Y)) + np.diag(penalty)
    assert_close(dense(run(objective, ("ggn",))["ggn"]), expected, "ggn")


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, p=None: np.mean((f - Y) ** 2),
        lambda f, p=None: np.sum(np.sqrt(np.sum((f - Y) ** 2, axis=1) + 1)),
    ],
    ids=["squared", "distance"],
)
def test_a_loss_in_plain_code_split_at_the_outputs(loss):
    operator = run(loss, ("ggn",), outputs=True)["ggn"]
    assert_close(dense(operator), gauss_newton_of(loss), "ggn")


def normalised(p, x):
    h = x @ p["w"] + p["b"]
    h = (h - np.mean(h, axis=0)) / np.sqrt(np.var(h, axis=0) + 0.1)
    return np.tanh(h) @ p["v"]


def test_statistics_of_the_whole_batch():
    results = run(both, ("ggn", "hessian", "ggnmp", "hmp"), normalised)
    ggn = gauss_newton_of(both, normalised)
    hessian = hessian_of(lambda p: both(normalised(p, X)), P)
    assert_close(dense(results["ggn"]), ggn, "ggn")
    assert_close(dense(results["hessian"]), hessian, "hessian")
    for name, span in spans(P).items():
        shape = P[name].shape
        assert_close(block(results["ggnmp"][name], shape), ggn[span, span], "ggnmp")
        assert_close(block(results["hmp"][name], shape), hessian[span, span], "hmp")


def test_a_convolutional_network():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 2, padding=1, groups=1),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 3),
    ).double()
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((4, 2, 3, 3)), rng.integers(0, 3, 4)
    with tracer.Tape() as tape:
        loss = cross_entropy(net(x), labels)
    results = tape.backward(loss, ("hessian", "ggn", "diag_h", "diag_ggn_exact", "sqrt_ggn_exact"))
    for matrix, diagonal in (("hessian", "diag_h"), ("ggn", "diag_ggn_exact")):
        entries = np.diag(dense(results[matrix]))
        for name, span in results[matrix].parameters.items():
            assert_close(entries[span], results[diagonal][name].ravel(), name)
    roots = np.concatenate(
        [u.reshape(*u.shape[:2], -1) for u in results["sqrt_ggn_exact"].values()], axis=-1
    )
    assert_close(dense(results["ggn"]), np.einsum("cnp,cnq->pq", roots, roots), "ggn")


def test_without_a_batch():
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = np.sum(np.sin(network(leaves, X)))
    hessian = hessian_of(lambda p: np.sum(np.sin(network(p, X))), P)
    assert_close(dense(tape.backward(loss, ("hessian",))["hessian"]), hessian, "hessian")


# -- as operators ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MATRICES, "fisher_mc"])
def test_an_operator_is_symmetric_and_takes_vectors_and_matrices(name):
    operator = run(both, (name,), rng=np.random.default_rng(0))[name]
    size = len(flat(P))
    assert isinstance(operator, LinearOperator)
    assert operator.shape == (size, size)
    assert operator.dtype == np.float64
    assert operator.parameters == spans(P)
    matrix = dense(operator)
    assert_close(matrix, matrix.T, "symmetry")
    columns = np.random.default_rng(0).standard_normal((size, 3))
    for product in (operator.matmat, operator.rmatmat, operator.T.matmat, operator.H.matmat):
        assert_close(product(columns), matrix @ columns, "matmat")
    for product in (operator.matvec, operator.rmatvec):
        assert_close(product(columns[:, 0]), matrix @ columns[:, 0], "matvec")
    for right in (columns, columns[:, :1], columns[:, 0]):
        assert_close(operator @ right, matrix @ right, "@")
        assert_close(right.T @ operator, right.T @ matrix, "@ from the left")
    if name != "hessian":
        assert np.linalg.eigvalsh(matrix).min() > -1e-12


def test_an_operator_multiplies_complex_vectors():
    operator = run(both, ("hessian",))["hessian"]
    matrix, rng = dense(operator), np.random.default_rng(0)
    columns = rng.standard_normal((len(matrix), 3)) + 1j * rng.standard_normal((len(matrix), 3))
    assert_close(operator.matmat(columns), matrix @ columns, "matmat")
    assert_close(operator @ columns[:, 0], matrix @ columns[:, 0], "a vector")
    assert_close((1j * operator) @ columns, 1j * matrix @ columns, "a complex multiple")


@pytest.mark.skipif(
    tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 18),
    reason="SciPy before 1.18 refuses stacks itself",
)
@pytest.mark.parametrize("count", [1, 3, 24])
def test_an_operator_multiplies_stacks_of_vectors_and_of_matrices(count):
    operator = run(both, ("ggn",))["ggn"]
    matrix, rng = dense(operator), np.random.default_rng(0)
    vectors = rng.standard_normal((count, len(matrix)))
    matrices = rng.standard_normal((2, len(matrix), count))
    for product, right, expected in (
        (operator.matvec, vectors, vectors @ matrix),
        (operator.rmatvec, vectors, vectors @ matrix),
        (operator.matvec, vectors[None], vectors[None] @ matrix),
        (operator.matmat, matrices, matrix @ matrices),
        (operator.rmatmat, matrices, matrix @ matrices),
    ):
        assert_close(product(right), expected, f"{product.__name__} of {list(right.shape)}")


def test_scipy_solves_with_an_operator():
    operator = run(both, ("ggn",))["ggn"]
    matrix = dense(operator)
    assert_close(
        np.sort(eigsh(operator, k=3, v0=np.ones(len(matrix)))[0]),
        np.linalg.eigvalsh(matrix)[-3:],
        "the largest eigenvalues",
    )
    damped = operator + LinearOperator(matrix.shape, matvec=lambda v: 0.1 * v, dtype=matrix.dtype)
    right = np.arange(len(matrix), dtype=float)
    solution, failed = cg(damped, right, rtol=1e-12)
    assert not failed
    expected = np.linalg.solve(matrix + 0.1 * np.eye(len(matrix)), right)
    np.testing.assert_allclose(solution, expected, rtol=1e-8)


def test_products_outlive_their_tape_and_its_names():
    def results():
        with tracer.Tape() as tape:
            leaves = {key: tracer.parameter(value.copy(), name=key) for key, value in P.items()}
            loss = both(network(leaves, tracer.batch(X.copy())))
        return tape.backward(loss, ("hessian", "ggn", "hmp", "ggnmp", "pchmp", "grad"))

    found = results()
    gc.collect()
    hessian = hessian_of(lambda p: both(network(p, X)), P)
    for _ in range(2):
        assert_close(dense(found["hessian"]), hessian, "hessian")
        assert_close(dense(found["ggn"]), gauss_newton_of(both), "ggn")
    w = spans(P)["w"]
    assert_close(block(found["hmp"]["w"], (3, 4)), hessian[w, w], "hmp")


def test_in_single_precision():
    with tracer.Tape() as tape:
        leaves = {k: tracer.parameter(v.astype("f4"), name=k) for k, v in P.items()}
        loss = mse_loss(network(leaves, tracer.batch(X.astype("f4"))), Y.astype("f4"))
    results = tape.backward(loss, ("hessian", "ggn", "ggnmp", "pchmp"))
    expected = {
        "hessian": hessian_of(lambda p: mse_loss(network(p, X), Y), P),
        "ggn": gauss_newton_of(lambda f: mse_loss(f, Y)),
    }
    for name, matrix in expected.items():
        mine = results[name].matmat(np.eye(len(matrix), dtype="f4"))
        assert results[name].dtype == mine.dtype == np.float32
        np.testing.assert_allclose(mine, matrix, rtol=1e-3, atol=1e-4)
    for quantity in ("ggnmp", "pchmp"):
        assert results[quantity]["w"](np.ones((3, 4), "f4")).dtype == np.float32


@pytest.mark.parametrize("quantity", ["hmp", "ggnmp", "pchmp"])
def test_a_block_product_takes_one_vector_or_a_stack(quantity):
    product = run(both, (quantity,))[quantity]["w"]
    stack = np.random.default_rng(0).standard_normal((4, 3, 4))
    moved = product(stack)
    assert moved.shape == stack.shape
    for v, expected in zip(stack, moved, strict=True):
        assert_close(product(v), expected, quantity)
    with pytest.raises(tracer.ShapeError, match=r"\[V, 3, 4\].*got \[4, 3\]"):
        product(np.ones((4, 3)))


def test_a_parameter_that_the_objective_does_not_depend_on():
    with tracer.Tape() as tape:
        w, u = tracer.parameter(P["w"], name="w"), tracer.parameter(P["v"], name="u")
        np.sin(u)
        loss = mse_loss(tracer.batch(X) @ w, np.zeros((5, 4)))
    results = tape.backward(loss, ("hessian", "ggn", "hmp", "ggnmp", "pchmp"))
    for name in ("hmp", "ggnmp", "pchmp"):
        assert not results[name]["u"](np.ones((2, 4, 2))).any()
    span = results["hessian"].parameters["u"]
    for name in ("hessian", "ggn"):
        assert not dense(results[name])[span].any()


# -- sampled ---------------------------------------------------------------------------------------


def test_a_seed_reproduces_the_sampled_fisher_matrix():
    matrices = [
        dense(run(both, ("fisher_mc",), rng=np.random.default_rng(seed))["fisher_mc"])
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(matrices[0], matrices[1])
    assert not np.allclose(matrices[0], matrices[2])


def test_the_rank_of_the_sampled_fisher_matrix():
    """One row per sample of the batch, of the likelihood and per loss."""
    operator = run(lambda f, p: mse_loss(f, Y), ("fisher_mc",))["fisher_mc"]
    assert np.linalg.matrix_rank(dense(operator)) == len(X)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [lambda f, p=None: mse_loss(f, Y), lambda f, p=None: cross_entropy(f, LABELS), both],
    ids=["squared", "cross-entropy", "both"],
)
def test_the_sampled_fisher_matrix_converges(loss):
    """The error falls with the root of the number of samples."""
    exact = gauss_newton_of(loss)

    def error(samples):
        rng = np.random.default_rng(0)
        errors = [
            dense(run(loss, (FisherMC(mc_samples=samples),), rng=rng)["fisher_mc"]) - exact
            for _ in range(20)
        ]
        return np.sqrt(np.mean(np.square(errors))) / np.sqrt(np.mean(exact**2))

    few, many = error(10), error(1000)
    assert 7 < few / many < 14
    assert many < 0.1


# -- positive curvature ----------------------------------------------------------------------------


def test_positive_curvature_products():
    """Taking negative rows as positive adds, to the Hessian, twice what leaving them out adds."""
    absolute = run(both, (PCHMP(modify="abs"), "hmp", "ggnmp"))
    clipped = run(both, (PCHMP(modify="clip"),))["pchmp"]
    for name in P:
        shape = P[name].shape
        a, h = (block(absolute[q][name], shape) for q in ("pchmp", "hmp"))
        c = block(clipped[name], shape)
        assert_close(a + h, 2 * c, name)
        assert np.linalg.eigvalsh(c).min() > -1e-12
        assert np.linalg.eigvalsh(a - c).min() > -1e-12
    bias = block(absolute["hmp"]["b"], (4,))
    assert np.linalg.eigvalsh(bias).min() < 0, "the Hessian is not positive here"


def test_positive_curvature_of_what_does_not_bend_is_the_gauss_newton_matrix():
    def linear(p, x):
        return np.maximum(x @ p["w"] + p["b"], 0) @ p["v"]

    results = run(both, ("pchmp", "ggnmp", "hmp"), linear)
    for name in P:
        blocks = [block(results[q][name], P[name].shape) for q in ("pchmp", "ggnmp", "hmp")]
        assert_close(blocks[0], blocks[1], name)
        assert_close(blocks[0], blocks[2], name)


def test_positive_curvature_is_undefined_for_what_the_model_bends_in():
    with pytest.raises(tracer.QuantityError, match=r"linear in.*use ggnmp or hmp"):
        run(
            both,
            ("pchmp",),
            lambda p, x: network(p | {"w": p["w"] ** 2}, x),
            undefined="raise",
        )


@pytest.mark.parametrize("modify", ["absolute", None])
def test_positive_curvature_has_two_ways(modify):
    with pytest.raises(tracer.QuantityError, match='"abs" or "clip"'):
        PCHMP(modify=modify)


# -- the averaged Gauss-Newton matrix --------------------------------------------------------------


def chain(activation):
    return lambda p, x: activation(x @ p["w"] + p["b"]) @ p["v"]


def assert_factors(mine, expected):
    assert list(mine) == list(expected)
    for name, kronecker in mine.items():
        for a, b in zip(kronecker.factors, expected[name].factors, strict=True):
            assert_close(a, b, name)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_kfra_of_a_linear_chain_with_squared_error_is_kflr(reduction):
    """There the Gauss-Newton matrix of every sample is the same."""
    results = run(
        lambda f, p: mse_loss(f, Y, reduction=reduction), ("kfra", "kflr"), chain(lambda h: h)
    )
    assert_factors(results["kfra"], results["kflr"])


def test_kfra_of_one_sample_is_kflr():
    with tracer.Tape() as tape:
        leaves = {key: tracer.parameter(value, name=key) for key, value in P.items()}
        loss = cross_entropy(network(leaves, tracer.batch(X[:1])), LABELS[:1])
    results = tape.backward(loss, ("kfra", "kflr"))
    assert_factors(results["kfra"], results["kflr"])


def test_kfra_averages_after_each_operation():
    """Botev, Ritter and Barber 2017, equation 20, written out for one hidden layer."""
    results = run(lambda f, p: cross_entropy(f, LABELS, reduction="sum"), ("kfra",))["kfra"]
    hidden = np.tanh(X @ P["w"] + P["b"])
    z = np.exp(hidden @ P["v"])
    q = z / z.sum(1, keepdims=True)
    output = np.einsum("ni,ij->nij", q, np.eye(2)) - q[:, :, None] * q[:, None, :]
    output = output.sum(0)
    slope = 1 - hidden**2
    inner = (P["v"] @ output @ P["v"].T) * (slope.T @ slope / len(X))
    assert_close(results["v"].factors[1], hidden.T @ hidden / len(X), "the inputs of v")
    assert_close(results["v"].factors[0], output, "the outputs of v")
    assert_close(results["b"].factors[0], inner, "the outputs of b")


def test_kfra_averages_before_and_after_a_residual_block():
    """Inside of a block rows are exact; at its two ends they are averaged."""
    results = run(
        lambda f, p: cross_entropy(f, LABELS, reduction="sum"),
        ("kfra",),
        chain(lambda h: h + np.tanh(h)),
    )["kfra"]
    linear = X @ P["w"] + P["b"]
    z = np.exp((linear + np.tanh(linear)) @ P["v"])
    q = z / z.sum(1, keepdims=True)
    output = np.einsum("ni,ij->nij", q, np.eye(2)) - q[:, :, None] * q[:, None, :]
    slope = 2 - np.tanh(linear) ** 2
    inner = (P["v"] @ output.sum(0) @ P["v"].T) * (slope.T @ slope / len(X))
    assert_close(results["b"].factors[0], inner, "the outputs of b")


def test_kfra_of_branches_that_never_meet_again_is_kflr():
    results = run(
        lambda f, p: mse_loss(f, Y),
        ("kfra", "kflr"),
        lambda p, x: x @ p["w"] @ p["v"] + np.sin(x @ p["w"]) @ p["v"],
    )
    assert_close(results["kfra"]["v"].factors[0], results["kflr"]["v"].factors[0], "v")


def test_kfra_is_of_samples():
    with pytest.raises(tracer.QuantityError, match=r"judges none: use kflr"):
        run(lambda f, p: mse_loss(f, Y) + mse_loss(p["w"], np.zeros((3, 4))), ("kfra",))


# -- two shards --------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_products_and_operators_of_two_shards_merge(reduction):
    names = ("hmp", "ggnmp", "pchmp", "ggn", "hessian", "fisher_empirical")
    registered = tracer.registry.quantities

    def results(chosen):
        return run(
            lambda f, p: cross_entropy(f, LABELS[chosen], reduction=reduction), names, x=X[chosen]
        )

    count, half = len(X), len(X) // 2
    first, second = results(slice(0, half)), results(slice(half, None))
    union = results(slice(None))
    weights = (half / count, 1 - half / count) if reduction == "mean" else (1, 1)
    shards = tuple(map(tracer.Shard, (half, count - half), weights))
    for name in ("ggn", "hessian", "fisher_empirical"):
        merged = registered[name]().merge(first[name], second[name], shards)
        eye = np.eye(merged.shape[0])
        assert_close(merged @ eye, union[name] @ eye, name)
    for name in ("hmp", "ggnmp"):
        merged = registered[name]().merge(first[name]["w"], second[name]["w"], shards)
        vectors = np.random.default_rng(0).standard_normal((2, *P["w"].shape))
        assert_close(merged(vectors), union[name]["w"](vectors), name)


def test_products_of_no_vectors_and_of_vectors_of_another_size():
    w = tracer.parameter(np.array([1.0, 2.0]), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(w**3)
    results = tape.backward(loss, ("hmp", "hessian"))
    assert results["hmp"][w](np.zeros((0, 2))).shape == (0, 2)
    operator = results["hessian"]
    np.testing.assert_array_equal(operator.rmatvec(np.ones(2)), [6.0, 12.0])
    np.testing.assert_array_equal(operator.rmatmat(np.eye(2)), np.diag([6.0, 12.0]))
    for product in (operator.rmatvec, operator.rmatmat):
        with pytest.raises(tracer.ShapeError, match="2 elements"):
            product(np.ones((3, 3)))
