"""Every registered quantity under a memory budget: the same values, and a bounded peak.

Counted are the bytes of arrays and objects that exist at the peak of a call and not after it:
temporaries beyond inputs, the record with what it saved, and the values returned. Beside the budget
there may be what `allowed` names.
"""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.curvature.rows import GGNExact, Hessian

BUDGET = 600_000
SAMPLES, CLASSES = 8, 56


def perceptron():
    """A hidden layer whose 128 signed rows take 1 MB, and a softmax of 64."""
    return (8,), nn.Sequential(
        nn.Linear(8, 128), nn.Sigmoid(), nn.Linear(128, 64), nn.Softmax(1), nn.Linear(64, CLASSES)
    )


def convolutional():
    """A layer normalisation, whose curvature takes 3 MB, and a softmax of channels."""
    return (2, 8, 8), nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.LayerNorm([3, 6, 6]),
        nn.Softmax(1),
        nn.Flatten(),
        nn.Linear(108, CLASSES),
    )


def recorded(make):
    tracer.seed(0)
    rng = np.random.default_rng(0)
    shape, model = make()
    model.double()
    x, labels = rng.standard_normal((SAMPLES, *shape)), rng.integers(0, CLASSES, SAMPLES)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), labels)
    return tape, loss


def measured(function):
    """What a function returns, and the most bytes in use at once beyond what it leaves in use."""
    tracemalloc.start()
    try:
        out = function()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return out, peak - kept


def products(values, count):
    """The functions among the values with the shape of `count` vectors: calling them takes memory.

    `pchmp` takes vectors one by one.
    """
    if hasattr(values, "matmat"):
        return {"matrix": (values.matmat, (values.shape[1], count))}
    return {
        name: (value, (count, *value.shape)) for name, value in values.items() if callable(value)
    }


@cache
def run(make, name, budget):
    """(arrays by name, peak of temporary bytes) of a quantity; products are taken of vectors."""
    tape, loss = recorded(make)
    rng = np.random.default_rng(1)
    results, peak = measured(lambda: tape.backward(loss, (name,), rng=rng, memory_budget=budget))
    values = results[name]
    arrays = {}
    for key, (product, shape) in products(values, 3 if name == "pchmp" else 96).items():
        vectors = np.random.default_rng(2).standard_normal(shape)
        product(vectors[:1] if key != "matrix" else vectors[:, :1])  # keeps what it records
        arrays[key], of_product = measured(lambda: product(vectors))  # noqa: B023
        peak = max(peak, of_product)
    if not arrays:
        for key, value in values.items():
            parts = value.factors if isinstance(value, tracer.Kronecker) else (value,)
            arrays |= {f"{key} {i}": part for i, part in enumerate(parts)}
    return arrays, peak


def allowed(name, arrays):
    """The bytes beside the budget that may be in use: what a quantity cannot do without.

    Where rows come in chunks, the values of one chunk and their sum with those before exist beside
    these, for one parameter at a time. The averages of `kfra` are D x D for the D elements of a
    sample's tensor, up to 128 here: one is factored while the next is summed. `pchmp` reads the
    eigenvectors of what each operation adds, `[N, D, D]` for D elements of its inputs.
    """
    rows = registry.quantities[name].rows
    of_chunks = isinstance(rows, GGNExact | Hessian)
    bytes_of_one = max(array.nbytes for array in arrays.values())
    needed = {"kfra": 4 * 128**2 * 8, "pchmp": SAMPLES * 216**2 * 8}
    return needed.get(name, 0) + of_chunks * 2 * bytes_of_one


MODELS = pytest.mark.parametrize(
    "make", [perceptron, pytest.param(convolutional, marks=pytest.mark.slow)]
)
EVERY = pytest.mark.parametrize("name", sorted(registry.quantities))


@pytest.mark.slow
@MODELS
@EVERY
def test_values_are_the_same(make, name):
    expected, _ = run(make, name, None)
    values, _ = run(make, name, BUDGET)
    assert list(values) == list(expected)
    for key, value in values.items():
        assert_close(value, expected[key], f"{name} of {key}", rtol=1e-10)


@MODELS
@EVERY
def test_the_peak_stays_within_the_budget(make, name):
    arrays, peak = run(make, name, BUDGET)
    assert peak <= BUDGET + allowed(name, arrays)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (convolutional, "kfra"),
        *(
            (make, name)
            for make in (perceptron, convolutional)
            for name in ["diag_h", "diag_ggn_exact", "hmp", "ggnmp", "hessian", "ggn", "fisher_mc"]
        ),
    ],
)
def test_without_a_budget_they_take_more(make, name):
    """Else the test above could not fail."""
    arrays, peak = run(make, name, None)
    assert peak > BUDGET + allowed(name, arrays)


# -- rows in pairs, where eigenvectors do not fit --------------------------------------------------


def scaled_softmax(dtype, budget):
    """Diagonals where columns of R, and what they are mapped to, differ by orders of magnitude."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((5, 6)) * np.logspace(-4, 2, 6)
    v = rng.standard_normal((6, 4)) * np.logspace(3, -3, 6)[:, None]
    x, labels = rng.standard_normal((7, 5)), rng.integers(0, 4, 7)
    with tracer.Tape() as tape:
        w, v = (tracer.parameter(a.astype(dtype), name=name) for a, name in ((w, "w"), (v, "v")))
        hidden = nn.Softmax(1)(tracer.batch(x.astype(dtype)) @ w)
        loss = nn.cross_entropy(hidden @ v, labels)
    return tape.backward(loss, ("diag_h", "diag_h_batch"), memory_budget=budget)


@pytest.mark.parametrize("quantity", ["diag_h", "diag_h_batch"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-4)])
def test_pairs_of_rows_cancel_to_rounding(quantity, dtype, tolerance):
    expected = scaled_softmax(np.float64, None)[quantity]
    for name, value in scaled_softmax(dtype, 1)[quantity].items():
        error = np.abs(value - expected[name]).max() / np.abs(expected[name]).max()
        assert error < tolerance


def test_positive_curvature_reads_eigenvectors_whatever_the_budget():
    """Signs of rows in pairs say nothing about the curvature's."""
    expected, _ = run(perceptron, "pchmp", None)
    values, _ = run(perceptron, "pchmp", 1)
    for key, value in values.items():
        assert_close(value, expected[key], key, rtol=1e-10)


# -- averaged rows ---------------------------------------------------------------------------------


def shared_in_depth(budget):
    rng = np.random.default_rng(0)
    with tracer.Tape() as tape:
        w = tracer.parameter(rng.standard_normal((6, 6)), name="w")
        h = tracer.batch(rng.standard_normal((5, 6)))
        for _ in range(2):
            h = np.tanh(h @ w)
        loss = nn.mse_loss(h, np.zeros((5, 6)))
    return tape.backward(loss, ("kfra",), memory_budget=budget)["kfra"]["w"]


def test_averaged_rows_of_a_parameter_shared_by_segments_are_not_chunked():
    expected = shared_in_depth(None)
    for mine, factor in zip(shared_in_depth(1 << 20).factors, expected.factors, strict=True):
        assert_close(mine, factor, "kfra")
    with pytest.raises(
        tracer.QuantityError, match=r"'w': .* 5760 bytes, and memory_budget is 100:"
    ):
        shared_in_depth(100)


@pytest.mark.parametrize("budget", [1, 10_000])
def test_averaged_rows_between_the_ends_of_residual_blocks(budget):
    def kfra(budget):
        rng = np.random.default_rng(0)
        with tracer.Tape() as tape:
            w, v, g = (tracer.parameter(rng.standard_normal(shape), name=name)
                       for name, shape in (("w", (6, 6)), ("v", (6, 4)), ("g", (6,))))  # fmt: skip
            h = tracer.batch(rng.standard_normal((5, 6))) * np.exp(g)
            h = h + np.tanh(h @ w.T)
            loss = nn.cross_entropy(h @ v, np.arange(5) % 4)
        return tape.backward(loss, ("kfra",), memory_budget=budget)["kfra"]

    expected = kfra(None)
    for name, value in kfra(budget).items():
        assert_close(value.dense(), expected[name].dense(), name)


# -- products with unit vectors --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["diag_h", "diag_h_batch"])
def test_unit_vectors_come_in_chunks_where_a_parameter_is_used_nonlinearly(name):
    """Those of 600 elements, which no signed rows are exact for, take 3 MB."""

    def diagonal(budget):
        rng = np.random.default_rng(0)
        with tracer.Tape() as tape:
            w = tracer.parameter(rng.standard_normal((20, 30)), name="w")
            loss = np.sum(np.sin(tracer.batch(rng.standard_normal((6, 20))) @ np.exp(w)))
        results, peak = measured(lambda: tape.backward(loss, (name,), memory_budget=budget))
        return results[name]["w"], peak

    expected, _ = diagonal(None)
    value, peak = diagonal(BUDGET)
    assert_close(value, expected, name)
    assert peak <= BUDGET
