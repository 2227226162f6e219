"""Sparse matrices of a constant pattern times tensors, and systems with them."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import tracer
from tracer.scipy import sparse
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
DENSE = RNG.random((4, 5)) * (RNG.random((4, 5)) < 0.5)
SQUARE = DENSE[:, :4] + 3 * np.eye(4)
X, ROW = RNG.random((5, 2)), RNG.random(5)
FORMATS = [
    getattr(scipy.sparse, f"{kind}_{form}")
    for kind in ("csr", "csc", "coo")
    for form in ("array", "matrix")
]
PRODUCTS = {
    "A @ t": (lambda a, t: a @ t, X),
    "A @ a vector": (lambda a, t: a @ t, ROW),
    "A.dot(t)": (lambda a, t: a.dot(t), X),
    "A.T @ t": (lambda a, t: a.T @ t, RNG.random((4, 3))),
    "t @ A": (lambda a, t: t @ a, RNG.random((3, 4))),
    "a vector @ A": (lambda a, t: t @ a, RNG.random(4)),
    "t @ A.T": (lambda a, t: t @ a.T, RNG.random((3, 5))),
    "A.T @ A @ t": (lambda a, t: a.T @ (a @ t), X),
}


def same(found, expected, dtype=np.float64):
    assert isinstance(found, tracer.Tensor)
    assert found.dtype == dtype
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found.data, expected, rtol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("make", FORMATS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", PRODUCTS)
def test_scipys_matrices_times_tensors(name, make):
    function, t = PRODUCTS[name]
    matrix = make(DENSE)
    if name == "A.dot(t)" and matrix.format == "coo":
        return  # whose own method takes arrays alone
    with tracer.Tape():
        same(function(matrix, tracer.parameter(t)), function(DENSE, t))
    same(function(matrix, tracer.parameter(t)), function(DENSE, t))
    check_gradients(lambda t: function(matrix, t), order=2)(t)
    single = function(make(DENSE.astype(np.float32)), tracer.parameter(t.astype(np.float32)))
    same(single, function(DENSE, t), np.float32)


def entries_of(kind):
    """The arguments of `kind` but for the entries, and the entries."""
    matrix = scipy.sparse.csr_array(DENSE).asformat(kind)
    if kind == "coo":
        shuffled = RNG.permutation(matrix.nnz)
        rows, columns = matrix.row[shuffled], matrix.col[shuffled]
        return ((rows, columns),), matrix.data[shuffled]
    return (matrix.indices, matrix.indptr), matrix.data


@pytest.mark.parametrize("form", ["array", "matrix"])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_entries_that_are_a_tensor(name, kind, form):
    function, t = PRODUCTS[name]
    places, entries = entries_of(kind)
    make = getattr(sparse, f"{kind}_{form}")

    def of_both(entries, t):
        return function(make((entries, *places), shape=DENSE.shape), t)

    same(of_both(tracer.parameter(entries), t), function(DENSE, t))
    np.testing.assert_allclose(of_both(entries, t), function(DENSE, t))  # SciPy's
    check_gradients(of_both, (0, 1), order=2)(entries, t)
    assert of_both(tracer.parameter(entries.astype("f")), t.astype("f")).dtype == np.float32


def test_entries_in_coordinates_for_csr():
    places, entries = entries_of("coo")
    for make in (sparse.csr_matrix, sparse.csc_array):
        made = make((tracer.parameter(entries), *places), shape=DENSE.shape)
        same(made.toarray(), DENSE)
        same(made.T.toarray(), DENSE.T)
        assert (made.shape, made.T.shape, made.nnz) == ((4, 5), (5, 4), len(entries))
        assert "4, 5" in repr(made)


def test_entries_for_the_same_place_are_added():
    def product(entries):
        rows, columns = np.array([0, 1, 0]), np.array([1, 0, 1])
        made = sparse.coo_array((entries, (rows, columns)), shape=(2, 2))
        return made @ np.array([1.0, 2.0]) + made.toarray()[0]

    check_gradients(product, order=2)(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(product(tracer.parameter(np.array([1.0, 2.0, 3.0]))).data, [8, 6])


@pytest.mark.parametrize("make", FORMATS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("b", [ROW[:4], X[:4]], ids=np.shape)
def test_systems(make, b):
    matrix = make(SQUARE)
    same(sparse.linalg.spsolve(matrix, tracer.parameter(b)), np.linalg.solve(SQUARE, b))
    np.testing.assert_allclose(sparse.linalg.spsolve(matrix, b), np.linalg.solve(SQUARE, b))
    check_gradients(lambda b: sparse.linalg.spsolve(matrix, b), order=2)(b)
    csc = scipy.sparse.csc_array(SQUARE)

    def of_both(entries, b):
        made = sparse.csc_array((entries, csc.indices, csc.indptr), shape=SQUARE.shape)
        return sparse.linalg.spsolve(made, b)

    check_gradients(of_both, (0, 1), order=2)(csc.data, b)


def test_samples_are_followed_through_products():
    """Rows of `x @ A`, and entries as a parameter of a model."""
    x, csr = RNG.random((6, 4)), scipy.sparse.csr_array(DENSE)
    with tracer.Tape() as tape:
        w = tracer.parameter(csr.data, name="w")
        v = tracer.parameter(np.ones(4), name="v")
        batch = tracer.batch(x)
        weight = sparse.csr_array((w, csr.indices, csr.indptr), shape=csr.shape)
        loss = np.sum(np.tanh((batch * v) @ weight) ** 2) + np.sum(np.sin(batch * v) @ csr)
    found = tape.backward(loss, quantities=("grad", "grad_batch", "batch_l2"))

    def alone(w, v, x):
        dense = sparse.csr_array((w, csr.indices, csr.indptr), shape=csr.shape).toarray()
        return np.sum(np.tanh((x * v) @ dense) ** 2) + np.sum(np.sin(x * v) @ DENSE)

    rows = [tracer.grad(alone, (0, 1))(csr.data, np.ones(4), one) for one in x]
    for name, each in zip("wv", zip(*rows, strict=True), strict=True):
        np.testing.assert_allclose(found["grad_batch"][name], np.stack(each), rtol=1e-10)
        np.testing.assert_allclose(found["grad"][name], sum(each), rtol=1e-10)


def test_entries_that_change_later_do_not_change_the_record():
    matrix = scipy.sparse.csr_array(DENSE)
    with tracer.Tape() as tape:
        t = tracer.parameter(X, name="t")
        loss = np.sum((matrix @ t) ** 2)
    matrix.indices[:] = 0
    matrix.indptr[:] = 0
    gradient = tape.backward(loss)["grad"]["t"]
    np.testing.assert_allclose(gradient, 2 * DENSE.T @ DENSE @ X)


def test_matrices_without_entries_and_without_columns():
    empty = scipy.sparse.csr_array((3, 5))
    np.testing.assert_array_equal(tracer.grad(lambda x: np.sum(empty @ x))(X), np.zeros_like(X))
    np.testing.assert_array_equal(
        (scipy.sparse.csr_array(DENSE) @ tracer.parameter(X[:, :0])).shape, (4, 0)
    )
    nothing = sparse.csr_array((tracer.parameter(np.zeros(0)), [], [0, 0, 0]), shape=(2, 5))
    np.testing.assert_array_equal((nothing @ X).data, np.zeros((2, 2)))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.bool_])
def test_entries_of_other_dtypes_decide_nothing(dtype):
    matrix = scipy.sparse.csr_array((DENSE > 0).astype(dtype if dtype != np.float16 else np.int8))
    found = tracer.grad(lambda x: np.sum((matrix @ x) ** 2))(X)
    dense = (DENSE > 0).astype(float)
    np.testing.assert_allclose(found, 2 * dense.T @ dense @ X)


def refused(function, words, error=tracer.TracerError):
    with pytest.raises(error, match=words):
        tracer.grad(lambda x: np.sum(function(x)))(X)


def test_refusals():
    csr = scipy.sparse.csr_array(DENSE)
    refused(lambda x: csr @ x[:3], "vector or a matrix of 5 rows")
    refused(lambda x: csr @ x[None], "vector or a matrix of 5 rows")
    refused(lambda x: x @ csr, "of 4 columns")
    refused(lambda x: csr + x[:4, :1], "in products alone: write A @ t")
    refused(lambda x: scipy.sparse.csr_matrix(DENSE) * x, "in products alone: write A @ t")
    refused(lambda x: csr @ list(x), "plain NumPy array of a tensor")
    refused(lambda x: scipy.sparse.csr_array(x), "unrecognized csr_", ValueError)
    refused(lambda x: scipy.sparse.linalg.spsolve(csr[:, :4], x[:4]), r"sparse\.linalg\.spsolve")
    refused(lambda x: sparse.linalg.spsolve(DENSE, x), "np.linalg.solve takes a dense")
    refused(lambda x: sparse.linalg.spsolve(csr, x), "takes a square matrix")
    singular = scipy.sparse.csr_array(np.diag([1.0, 1, 1, 1, 0]))
    refused(lambda x: sparse.linalg.spsolve(singular, x), "takes regular matrices")
    made = (csr.indices, csr.indptr)
    refused(
        lambda x: sparse.csr_array((x[:, 0], *made), shape=(4, 5)) @ X, "an index for each of 5"
    )
    refused(lambda x: sparse.csr_array((x[:, 0], *made)) @ X, "the shape of a matrix, got")
    wrong = (np.arange(5), np.arange(5))
    refused(lambda x: sparse.coo_array((x[:, 0], wrong), shape=(4, 5)) @ X, "a row and a column")
    refused(lambda x: sparse.coo_array((x[:, 0], wrong), shape=(5, 5)) @ csr.T, "of its own")
    refused(
        lambda x: sparse.coo_array((x[:, 0], wrong), shape=(5, 5)).sum(), "toarray", AttributeError
    )
    assert isinstance(sparse.csr_array(DENSE), scipy.sparse.csr_array)
